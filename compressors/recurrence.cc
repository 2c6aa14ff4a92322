#include "laconic/compressors/recurrence.h"

#include <cassert>
#include <type_traits>

namespace laconic {
namespace {

// Calls pass(keeps_error, keeps_shift, keeps_momentum, masks_momentum) with compile-time booleans, so that each pass is
// a straight loop.
template <typename T, typename Pass>
void WithKept(const RecurrenceState<T>& state, bool masked, Pass&& pass) {
  auto choose = [](bool value, auto&& next) { value ? next(std::true_type{}) : next(std::false_type{}); };
  choose(!state.error.empty(), [&](auto error) {
    choose(!state.shift.empty(), [&](auto shift) {
      choose(!state.momentum.empty(),
             [&](auto momentum) { choose(masked, [&](auto masks) { pass(error, shift, momentum, masks); }); });
    });
  });
}

template <typename T>
T ErrorScale(const ControlOptions& options, T error_scale) {
  return error_scale * static_cast<T>(options.decay);
}

}  // namespace

template <typename T>
BasicMessage<T> FormMessage(const ControlOptions& options, std::span<const T> gradient, const RecurrenceState<T>& state,
                            T error_scale) {
  BasicMessage<T> message(gradient);
  message.momentum = state.momentum;
  message.shift = state.shift;
  message.error = state.error;
  message.momentum_weight = static_cast<T>(options.momentum.keep);
  message.gradient_weight = static_cast<T>(options.momentum.weight);
  message.error_weight = static_cast<T>(options.eta) * ErrorScale(options, error_scale);
  message.kappa = static_cast<T>(options.kappa);
  return message;
}

template <typename T>
void MoveState(const ControlOptions& options, std::span<const T> gradient, std::span<const T> residual,
               std::span<const T> sent, const RecurrenceState<T>& state, T error_scale) {
  assert(state.error.empty() || residual.size() == state.error.size());
  assert(!options.needs_sent() || sent.size() == gradient.size());
  const T kept = (1 - static_cast<T>(options.eta)) * ErrorScale(options, error_scale);
  const T alpha = static_cast<T>(options.alpha);
  const T keep = static_cast<T>(options.momentum.keep);
  const T take = static_cast<T>(options.momentum.take);
  const T* g = gradient.data();
  const T* s = sent.data();
  const T* r = residual.data();
  T* e = state.error.data();
  T* h = state.shift.data();
  T* v = state.momentum.data();
  WithKept(state, options.momentum.masked,
           [&](auto keeps_error, auto keeps_shift, auto keeps_momentum, auto masks_momentum) {
             if constexpr (!keeps_error && !keeps_shift && !keeps_momentum) return;
             for (size_t i = 0; i < gradient.size(); ++i) {
               if constexpr (keeps_error) e[i] = r[i] + kept * e[i];  // e <- r + (1 - eta) e  =  e + g - h - s
               if constexpr (keeps_shift) h[i] += alpha * s[i];       // h <- h + alpha s
               if constexpr (keeps_momentum) v[i] = keep * v[i] + take * g[i];  // v <- keep v + take g
               if constexpr (keeps_momentum && masks_momentum) v[i] = s[i] != 0 ? 0 : v[i];
             }
           });
}

template <typename T>
void FormDirection(std::span<T> mean_sent_to_direction, std::span<T> shift_average, T rate, StepAlong along) {
  assert(mean_sent_to_direction.size() == shift_average.size());
  const size_t elements = shift_average.size();
  T* d = mean_sent_to_direction.data();
  T* average = shift_average.data();
  if (along == StepAlong::kNewAverage) {
    for (size_t i = 0; i < elements; ++i) {
      average[i] += rate * d[i];
      d[i] = average[i];  // d = H + rate mean(s)
    }
  } else {
    for (size_t i = 0; i < elements; ++i) {
      const T mean = d[i];
      d[i] = average[i] + mean;   // d = H + mean(s)
      average[i] += rate * mean;  // H <- H + rate mean(s)
    }
  }
}

// For float, the library's type, and double, in which the golden tests run.
template BasicMessage<float> FormMessage(const ControlOptions&, std::span<const float>, const RecurrenceState<float>&,
                                         float);
template BasicMessage<double> FormMessage(const ControlOptions&, std::span<const double>,
                                          const RecurrenceState<double>&, double);
template void MoveState(const ControlOptions&, std::span<const float>, std::span<const float>, std::span<const float>,
                        const RecurrenceState<float>&, float);
template void MoveState(const ControlOptions&, std::span<const double>, std::span<const double>,
                        std::span<const double>, const RecurrenceState<double>&, double);
template void FormDirection(std::span<float>, std::span<float>, float, StepAlong);
template void FormDirection(std::span<double>, std::span<double>, double, StepAlong);

}  // namespace laconic
