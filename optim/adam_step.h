// Private: the elementwise arithmetic of Adam and of all that is made from it, written once, so that methods that are
// equal on paper are equal bit for bit.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
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

// The denominator of u.
inline float Denominator(float v, const AdamCorrection& correction, float epsilon) {
  return std::sqrt(v * correction.second) + epsilon;
}

// What |m| / sqrt(v) cannot exceed while v follows the gradients, by Cauchy and Schwarz over the two averages' weights:
// (1-b1) / sqrt((1-b2) (1-b1^2/b2)), 7.3 for 0.9 and 0.999; infinite where b1^2 >= b2. And what |g| / sqrt(v) cannot.
inline float LargestStep(const AdamWOptions& options) {
  const double b1 = options.beta1, b2 = options.beta2;
  if (b1 * b1 >= b2) return std::numeric_limits<float>::infinity();
  return static_cast<float>((1 - b1) / std::sqrt((1 - b2) * (1 - b1 * b1 / b2)));
}
inline float LargestGradient(const AdamWOptions& options) {
  return static_cast<float>(1 / std::sqrt(1 - static_cast<double>(options.beta2)));
}

// x, or the nearest number within +-largest. What is not finite stays, for the non-finite policy to find.
inline float Clip(float x, float largest) {
  if (!std::isfinite(x)) return x;
  return x > largest ? largest : x < -largest ? -largest : x;
}

// `x` where v is not 0, else 0: an element that never had a gradient does not move. Not finite, it stays.
inline float WhereAlive(float v, float x) { return v > 0 || !std::isfinite(x) ? x : 0; }

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
