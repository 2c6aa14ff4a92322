// Private: the elementwise arithmetic of Adam and of all that is made from it, written once, so that methods that are
// equal on paper are equal bit for bit.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>

#include "laconic/optim/optimizer.h"
#include "optim/integer_power.h"

namespace laconic::internal {

// What multiplies m and v: the bias corrections after `steps` steps, or 1 in the published form.
struct AdamCorrection {
  float first = 1, second = 1;

  static AdamCorrection After(AdamForm form, const AdamWOptions& options, uint64_t first_steps, uint64_t second_steps) {
    if (form == AdamForm::kPublished) return {};
    return {.first = static_cast<float>(1 / (1 - IntegerPower(options.beta1, first_steps))),
            .second = static_cast<float>(1 / (1 - IntegerPower(options.beta2, second_steps)))};
  }
};

// b1 m + (1-b1) g, and b2 v + (1-b2) g^2.
inline float FirstMoment(float b1, float m, float g) { return b1 * m + (1 - b1) * g; }
inline float SecondMoment(float b2, float v, float g) { return b2 * v + (1 - b2) * (g * g); }

// u of AdamForm.
inline float Adaptive(float m, float v, const AdamCorrection& correction, float epsilon) {
  return (m * correction.first) / (std::sqrt(v * correction.second) + epsilon);
}

// One step along gradient g: moments and weights move.  All spans have one length.
inline void AdamStep(const AdamWOptions& options, const AdamCorrection& correction, double learning_rate,
                     std::span<const float> gradient, std::span<float> first, std::span<float> second,
                     std::span<float> weights) {
  const float rate = static_cast<float>(learning_rate);
  for (size_t i = 0; i < weights.size(); ++i) {
    const float m = first[i] = FirstMoment(options.beta1, first[i], gradient[i]);
    const float v = second[i] = SecondMoment(options.beta2, second[i], gradient[i]);
    weights[i] -= rate * (Adaptive(m, v, correction, options.epsilon) + options.weight_decay * weights[i]);
  }
}

}  // namespace laconic::internal
