#include "laconic/compressors/error_control.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "laconic/base/status.h"

namespace laconic {
namespace {

// Calls pass(keeps_error, keeps_shift, keeps_momentum, masks_momentum) with compile-time booleans, so that each pass is
// a straight loop.
template <typename Pass>
void WithKept(const ControlOptions& options, Pass&& pass) {
  auto choose = [](bool value, auto&& next) { value ? next(std::true_type{}) : next(std::false_type{}); };
  choose(options.keeps_error(), [&](auto error) {
    choose(options.keeps_shift(), [&](auto shift) {
      choose(options.keeps_momentum(), [&](auto momentum) {
        choose(options.momentum.masked, [&](auto masked) { pass(error, shift, momentum, masked); });
      });
    });
  });
}

}  // namespace

template <typename T>
BasicErrorControl<T>::BasicErrorControl(const ControlOptions& options, size_t elements)
    : options_(options),
      elements_(elements),
      error_(options.keeps_error() ? elements : 0),
      shift_(options.keeps_shift() ? elements : 0),
      shift_average_(options.keeps_shift_average() ? elements : 0),
      momentum_(options.keeps_momentum() ? elements : 0) {
  assert(!options.keeps_error() || options.kappa == 1);  // else m - s is not the residual of g - h + eta e
}

template <typename T>
BasicMessage<T> BasicErrorControl<T>::Prepare(std::span<const T> gradient, T error_scale) {
  assert(gradient.size() == elements_);
  error_scale_ = error_scale * static_cast<T>(options_.decay);
  BasicMessage<T> message(gradient);
  message.momentum = momentum_;
  message.shift = shift_;
  message.error = error_;
  message.momentum_weight = static_cast<T>(options_.momentum.keep);
  message.gradient_weight = static_cast<T>(options_.momentum.weight);
  message.error_weight = static_cast<T>(options_.eta) * error_scale_;
  message.kappa = static_cast<T>(options_.kappa);
  return message;
}

template <typename T>
std::span<T> BasicErrorControl<T>::residual() {
  residual_.resize(elements_);
  return residual_;
}

template <typename T>
void BasicErrorControl<T>::Commit(std::span<const T> gradient, std::span<const T> sent) {
  assert(gradient.size() == elements_);
  assert(!options_.needs_sent() || sent.size() == elements_);
  // At eta = 1 the residual is the new error: no arithmetic, no pass.
  const bool error_is_residual = options_.eta == 1;
  if (error_is_residual) std::swap(residual_, error_);

  const T kept = (1 - static_cast<T>(options_.eta)) * error_scale_;
  const T alpha = static_cast<T>(options_.alpha);
  const T keep = static_cast<T>(options_.momentum.keep);
  const T take = static_cast<T>(options_.momentum.take);
  const T* g = gradient.data();
  const T* s = sent.data();
  const T* r = residual_.data();
  T* e = error_.data();
  T* h = shift_.data();
  T* v = momentum_.data();
  ControlOptions pass = options_;
  if (error_is_residual) pass.eta = 0;
  WithKept(pass, [&](auto updates_error, auto keeps_shift, auto keeps_momentum, auto masks_momentum) {
    if constexpr (!updates_error && !keeps_shift && !keeps_momentum) return;
    for (size_t i = 0; i < elements_; ++i) {
      if constexpr (updates_error) e[i] = r[i] + kept * e[i];          // e <- r + (1 - eta) e  =  e + g - h - s
      if constexpr (keeps_shift) h[i] += alpha * s[i];                 // h <- h + alpha s
      if constexpr (keeps_momentum) v[i] = keep * v[i] + take * g[i];  // v <- keep v + take g
      if constexpr (keeps_momentum && masks_momentum) v[i] = s[i] != 0 ? 0 : v[i];
    }
  });
}

template <typename T>
void BasicErrorControl<T>::Direction(std::span<T> mean_sent_to_direction, T participation) {
  assert(mean_sent_to_direction.size() == elements_);
  if (!options_.keeps_shift_average()) return;  // d = mean(s)
  const T rate = static_cast<T>(options_.alpha) * participation;
  const bool new_average = options_.alpha == 1 && participation != 1;
  T* d = mean_sent_to_direction.data();
  T* average = shift_average_.data();
  if (new_average) {
    for (size_t i = 0; i < elements_; ++i) {
      average[i] += rate * d[i];
      d[i] = average[i];  // d = H + p mean(s)
    }
  } else {
    for (size_t i = 0; i < elements_; ++i) {
      const T mean = d[i];
      d[i] = average[i] + mean;   // d = H + mean(s)
      average[i] += rate * mean;  // H <- H + alpha p mean(s)
    }
  }
}

template <typename T>
void BasicErrorControl<T>::SetShift(std::span<const T> shift, std::span<const T> shift_average) {
  assert(shift.size() == shift_.size());
  std::copy(shift.begin(), shift.end(), shift_.begin());
  if (!options_.keeps_shift_average()) return;
  assert(shift_average.size() == shift_average_.size());
  std::copy(shift_average.begin(), shift_average.end(), shift_average_.begin());
}

template <typename T>
void BasicErrorControl<T>::SetMomentum(std::span<const T> momentum) {
  assert(momentum.size() == momentum_.size());
  std::copy(momentum.begin(), momentum.end(), momentum_.begin());
}

template <typename T>
void BasicErrorControl<T>::Save(StateWriter& out) const {
  if (options_.keeps_error()) out.Floats("error", error_);
  if (options_.keeps_shift()) out.Floats("shift", shift_);
  if (options_.keeps_shift_average()) out.Floats("shift_average", shift_average_);
  if (options_.keeps_momentum()) out.Floats("momentum", momentum_);
}

template <typename T>
absl::Status BasicErrorControl<T>::Load(const StateReader& in) {
  BasicErrorControl loaded(options_, elements_);
  if (options_.keeps_error()) LACONIC_RETURN_IF_ERROR(in.Floats("error", std::span<float>(loaded.error_)));
  if (options_.keeps_shift()) LACONIC_RETURN_IF_ERROR(in.Floats("shift", std::span<float>(loaded.shift_)));
  if (options_.keeps_shift_average())
    LACONIC_RETURN_IF_ERROR(in.Floats("shift_average", std::span<float>(loaded.shift_average_)));
  if (options_.keeps_momentum()) LACONIC_RETURN_IF_ERROR(in.Floats("momentum", std::span<float>(loaded.momentum_)));
  *this = std::move(loaded);
  return absl::OkStatus();
}

template class BasicErrorControl<float>;
template class BasicErrorControl<double>;

}  // namespace laconic
