// Private: how a momentum travels once the second moment is frozen, for 1-bit Adam and 1-bit LAMB.
#pragma once

#include <span>

#include "optim/adam_parameters.h"
#include "optim/adam_step.h"

namespace laconic::internal {

// out = b1 m + (1-b1) g, this rank's; in AdamSpace::kStep over the denominator, clipped to what Adam cannot exceed, and
// 0 where v is.  All spans have one length.
inline void FillMomentum(AdamSpace space, const AdamWOptions& options, const AdamCorrection& correction,
                         std::span<const float> gradient, std::span<const float> m, std::span<const float> v,
                         std::span<float> out) {
  if (space == AdamSpace::kPlain) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = FirstMoment(options.beta1, m[i], gradient[i]);
    return;
  }
  const float largest = LargestStep(options);
  for (size_t i = 0; i < out.size(); ++i) {
    const float step = FirstMoment(options.beta1, m[i], gradient[i]) / Denominator(v[i], correction, options.epsilon);
    out[i] = WhereAlive(v[i], Clip(step, largest));
  }
}

// The momentum that `received` stands for, 0 where v is.
inline float TakeMomentum(AdamSpace space, float received, float v, float denominator) {
  if (!(v > 0)) return 0;
  return space == AdamSpace::kStep ? received * denominator : received;
}

}  // namespace laconic::internal
