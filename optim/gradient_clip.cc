#include "optim/gradient_clip.h"

#include <cmath>

#include "laconic/base/status.h"
#include "laconic/comm/collectives/primitives.h"

namespace laconic {
namespace {

double SquaredNorm(std::span<const std::span<float>> gradients) {
  double norm2 = 0;
  for (const std::span<float> gradient : gradients) {
    for (const float value : gradient) norm2 += static_cast<double>(value) * value;
  }
  return norm2;
}

}  // namespace

absl::Status GradientClip::Apply(Communicator& comm, uint64_t step, std::span<const std::span<float>> gradients) {
  const double norm2 = SquaredNorm(gradients);
  comm.SetPhase({.name = "clip norm", .step = step});
  LACONIC_RETURN_IF_ERROR(
      Allgather(comm, std::as_bytes(std::span(&norm2, 1)), std::as_writable_bytes(std::span(rank_norms2_))));
  double sum = 0;
  for (const double rank_norm2 : rank_norms2_) sum += rank_norm2;
  Scale(std::sqrt(sum / comm.size()), gradients);
  return absl::OkStatus();
}

void GradientClip::ApplyAlone(std::span<const std::span<float>> gradients) const {
  Scale(std::sqrt(SquaredNorm(gradients)), gradients);
}

void GradientClip::Scale(double norm, std::span<const std::span<float>> gradients) const {
  if (!(norm > clip_norm_) || std::isinf(norm)) return;
  const float factor = static_cast<float>(clip_norm_ / norm);
  for (const std::span<float> gradient : gradients) {
    for (float& value : gradient) value *= factor;
  }
}

}  // namespace laconic
