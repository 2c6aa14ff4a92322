// Private: scales gradients so that the mean over ranks has at most a given norm.
#pragma once

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "laconic/base/shape.h"
#include "laconic/comm/communicator.h"

namespace laconic {

// The factor min(1, clip_norm / r), r the root mean square over ranks of their global norms. Since the norm of the mean
// gradient is at most r, the mean of the scaled gradients has norm at most clip_norm; and the factor is the same on all
// ranks, so it does not turn the mean. One thread at a time.
class GradientClip {
 public:
  // clip_norm: 0 clips nothing.
  GradientClip(double clip_norm, int ranks) : clip_norm_(clip_norm), rank_norms2_(ranks) {}

  bool active() const { return clip_norm_ > 0; }
  // Collective, one Allgather of 8 bytes a rank. Norms that are not finite clip nothing: they are the non-finite
  // policy's business.
  absl::Status Apply(Communicator& comm, uint64_t step, std::span<const std::span<float>> gradients);
  // By this rank's own norm.
  void ApplyAlone(std::span<const std::span<float>> gradients) const;

 private:
  void Scale(double norm, std::span<const std::span<float>> gradients) const;

  const double clip_norm_;
  std::vector<double> rank_norms2_;
};

}  // namespace laconic
