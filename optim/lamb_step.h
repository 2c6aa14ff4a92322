// Private: the arithmetic of LAMB, for LAMB itself and the warm-up of 1-bit LAMB.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

#include "laconic/optim/optimizer.h"
#include "optim/adam_step.h"

namespace laconic::internal {

inline double Norm(std::span<const float> x) {
  double sum = 0;
  for (const float value : x) sum += static_cast<double>(value) * value;
  return std::sqrt(sum);
}

// clip(|w| / |update|, least, most), or 1 where one of them is zero.
inline float TrustRatio(const LambOptions& options, double weight_norm, double update_norm) {
  if (!(weight_norm > 0) || !(update_norm > 0)) return 1;
  return static_cast<float>(std::clamp<double>(weight_norm / update_norm, options.least_ratio, options.largest_ratio));
}

// One step along gradient g:  m, v as Adam;  update = u(m, v) + weight_decay w;  w <- w - lr trust update.
// Gives trust.  update: work memory.  All spans have one length.
inline float LambStep(const LambOptions& options, const AdamCorrection& correction, double learning_rate,
                      std::span<const float> gradient, std::span<float> first, std::span<float> second,
                      std::span<float> update, std::span<float> weights) {
  const AdamWOptions& adam = options.adam;
  for (size_t i = 0; i < weights.size(); ++i) {
    const float m = first[i] = FirstMoment(adam.beta1, first[i], gradient[i]);
    const float v = second[i] = SecondMoment(adam.beta2, second[i], gradient[i]);
    update[i] = Adaptive(m, v, correction, adam.epsilon) + adam.weight_decay * weights[i];
  }
  const float trust = TrustRatio(options, Norm(weights), Norm(update));
  const float rate = static_cast<float>(learning_rate) * trust;
  for (size_t i = 0; i < weights.size(); ++i) weights[i] -= rate * update[i];
  return trust;
}

}  // namespace laconic::internal
