#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/optim/federated/method.h"

namespace laconic {
namespace {

struct StepOperands {
  std::span<const float> gradient, correction, start;
  float rate = 0, proximity = 0;
};

// d = gradient + correction + proximity (y - start);  y <- y - rate d;  sum <- sum + d. One pass. Whether all of y is
// finite.
template <bool kCorrected, bool kProximal>
bool StepPass(const StepOperands& step, std::span<float> weights, std::span<float> sum) {
  constexpr uint32_t kExponent = 0x7f800000;
  const float* __restrict gradient = step.gradient.data();
  const float* __restrict correction = step.correction.data();
  const float* __restrict start = step.start.data();
  float* __restrict y = weights.data();
  float* __restrict total = sum.data();
  const float rate = step.rate, proximity = step.proximity;
  uint32_t not_finite = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    float d = gradient[i];
    if constexpr (kCorrected) d += correction[i];
    if constexpr (kProximal) d += proximity * (y[i] - start[i]);
    y[i] -= rate * d;
    total[i] += d;
    not_finite |= (std::bit_cast<uint32_t>(y[i]) & kExponent) == kExponent ? 1u : 0u;
  }
  return not_finite == 0;
}

absl::Status Diverged(const MinibatchKey& key, const char* what) {
  return absl::InvalidArgumentError(
      fmt::format("client {}, round {}, local step {}: {} not finite; a smaller learning rate may help", key.client,
                  key.round, key.step, what));
}

}  // namespace

absl::Status TakeLocalSteps(ClientRound& round, const LocalSteps& options) {
  const std::span<float> y = round.objective->weights();
  assert(y.size() == round.model.size() && round.gradient.size() == y.size());
  assert(options.correction.empty() || options.correction.size() == y.size());
  std::copy(round.model.begin(), round.model.end(), y.begin());
  std::fill(round.gradient.begin(), round.gradient.end(), 0.0f);

  const bool corrected = !options.correction.empty(), proximal = options.proximity != 0;
  const auto pass = corrected ? (proximal ? StepPass<true, true> : StepPass<true, false>)
                              : (proximal ? StepPass<false, true> : StepPass<false, false>);
  StepOperands operands{.correction = options.correction,
                        .start = round.model,
                        .rate = static_cast<float>(round.work.learning_rate),
                        .proximity = static_cast<float>(options.proximity)};
  double losses = 0;
  for (uint32_t k = 0; k < round.work.steps; ++k) {
    const MinibatchKey key{.client = round.client, .round = round.round, .step = k};
    LACONIC_ASSIGN_OR_RETURN(const double loss, round.objective->Evaluate(key));
    if (!std::isfinite(loss)) return Diverged(key, "the loss is");
    operands.gradient = round.objective->gradient();
    if (!pass(operands, y, round.gradient)) return Diverged(key, "the weights are");
    losses += loss;
  }
  const float steps = static_cast<float>(round.work.steps);
  for (float& mean : round.gradient) mean /= steps;
  round.loss = losses / round.work.steps;
  return absl::OkStatus();
}

}  // namespace laconic
