// LAMB and 1-bit LAMB by hand and against each other.
#include <cmath>

#include "tests/base/matchers.h"
#include "tests/optim/distributed_optimizers.h"

namespace laconic {
namespace {

using ::testing::FloatNear;
using ::testing::HasSubstr;
using testing::OnRanks;
using testing::SmallBuckets;
using testing::ToyTrainer;

TEST(Lamb, Step_HasTheLengthOfAShareOfTheWeights) {
  // First step, b1 = b2 = 1/2: u = sign(g), so |u| = sqrt(2); |w| = 5; trust = 5 / sqrt(2) = 3.5355.
  std::vector<float> w = {3, 4}, g = {1, -1};
  const std::vector<Parameter> parameters = {{"w", Shape({2}), w, g}};
  const auto lamb = MakeLamb({.adam = {.beta1 = 0.5f, .beta2 = 0.5f}}, parameters);
  lamb->Step(TensorId{0}, g, {.step = 0, .learning_rate = 0.1}, w);
  EXPECT_THAT(w, ::testing::ElementsAre(FloatNear(3 - 0.35355f, 1e-5f), FloatNear(4 + 0.35355f, 1e-5f)));
}

TEST(Lamb, TrustRatio_IsClippedAndOneForWeightsOfZero) {
  const auto step = [](std::vector<float> w, const LambOptions& options) {
    const std::vector<float> start = w;
    std::vector<float> g(w.size(), 1);
    const std::vector<Parameter> parameters = {{"w", Shape({w.size()}), w, g}};
    MakeLamb(options, parameters)->Step(TensorId{0}, g, {.step = 0, .learning_rate = 1}, w);
    return start[0] - w[0];  // trust, as u is 1 in each element
  };
  EXPECT_NEAR(step({0, 0}, {}), 1, 1e-6);
  EXPECT_NEAR(step({100, 0}, {}), 10, 1e-5);
  EXPECT_NEAR(step({0.001f, 0}, {}), 0.01, 1e-6);
  EXPECT_NEAR(step({100, 0}, {.largest_ratio = 2}), 2, 1e-5);
}

TEST(OneBitLamb, BeforeTheFreeze_IsLambBitForBit) {
  OnRanks(3, [&](Communicator& comm) -> absl::Status {
    ToyTrainer lamb(comm.rank()), onebit(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(auto first, DistributedOptimizer::Create(&comm, lamb.parameters, "lamb(weight_decay=0.1)",
                                                                      "dense", SmallBuckets()));
    LACONIC_ASSIGN_OR_RETURN(auto second, DistributedOptimizer::Create(&comm, onebit.parameters,
                                                                       "onebit-lamb(freeze_step=15, weight_decay=0.1)",
                                                                       "sign(scale=rms)+ef+scatter", SmallBuckets()));
    for (uint64_t t = 0; t < 15; ++t) {
      LACONIC_RETURN_IF_ERROR(lamb.Step(*first, t, 0.01));
      LACONIC_RETURN_IF_ERROR(onebit.Step(*second, t, 0.01));
    }
    EXPECT_EQ(lamb.AllWeights(), onebit.AllWeights());
    return absl::OkStatus();
  });
}

// One element on one rank, nothing compressed, no decay, b1 = b2 = 1/2, ratio_beta = 0 (c is the last trust),
// published. Step 1: g = 2, m = 1, v = 2, u = 1/sqrt(2), w = 8: trust = 8 sqrt(2) > 10, clipped to 10; w = 8 - 0.1 * 10
// / sqrt(2). Frozen. Step 2: g = 4: m = 2.5, v' = (2 + 16)/2 = 9, f = sqrt(2/9) = 0.471, clipped to 0.5 and then to 0.9
// of 1: w falls by 0.1 * 10 * 0.9 * 2.5 / sqrt(2).
TEST(OneBitLamb, AfterTheFreeze_StepsByTheFrozenRatioAndItsCorrection) {
  float weight = 8, gradient = 0;
  const std::vector<Parameter> parameters = {{"w", Shape({1}), std::span(&weight, 1), std::span(&gradient, 1)}};
  OnRanks(1, [&](Communicator& comm) -> absl::Status {
    LACONIC_ASSIGN_OR_RETURN(
        auto method,
        DistributedOptimizer::Create(
            &comm, parameters,
            "onebit-lamb(beta1=0.5, beta2=0.5, form=published, space=plain, freeze_step=1, ratio_beta=0)", "dense"));
    for (const auto& [step, g] : {std::pair{0, 2.0f}, {1, 4.0f}}) {
      method->Begin({.step = static_cast<uint64_t>(step), .learning_rate = 0.1});
      gradient = g;
      LACONIC_RETURN_IF_ERROR(method->Finish());
    }
    return absl::OkStatus();
  });
  EXPECT_NEAR(weight, 8 - 1 / std::sqrt(2.0) - 0.9 * 2.5 / std::sqrt(2.0), 1e-5);
}

TEST(OneBitLamb, PublishedForm_NeedsAsManyStepsAsItsRatiosAreAveragedOver) {
  EXPECT_THAT(CanonicalOptimizer("onebit-lamb(form=published, freeze_step=5)").status(),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("freeze_step = 5")));
  EXPECT_TRUE(CanonicalOptimizer("onebit-lamb(form=published, freeze_step=10)").ok());
  EXPECT_TRUE(CanonicalOptimizer("onebit-lamb(freeze_step=5)").ok());
}

}  // namespace
}  // namespace laconic
