#include "laconic/compressors/error_control.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "laconic/base/status.h"
#include "laconic/compressors/recurrence.h"

namespace laconic {

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
  error_scale_ = error_scale;
  return FormMessage<T>(options_, gradient, {error_, shift_, momentum_}, error_scale);
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
  const std::span<T> error = error_is_residual ? std::span<T>() : std::span<T>(error_);
  MoveState<T>(options_, gradient, residual_, sent, {error, shift_, momentum_}, error_scale_);
}

template <typename T>
void BasicErrorControl<T>::Direction(std::span<T> mean_sent_to_direction, T participation) {
  assert(mean_sent_to_direction.size() == elements_);
  if (!options_.keeps_shift_average()) return;  // d = mean(s)
  const bool along_new_average = options_.alpha == 1 && participation != 1;
  FormDirection<T>(mean_sent_to_direction, shift_average_, static_cast<T>(options_.alpha) * participation,
                   along_new_average ? StepAlong::kNewAverage : StepAlong::kAveragePlusMean);
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
