#include "laconic/optim/optimizer.h"

#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <vector>

#include "tests/base/matchers.h"

namespace laconic {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr TensorId kFirst{0}, kSecond{1};

// Two tensors, "a" of two elements and "b" of one.
class Weights {
 public:
  Weights() : parameters_{{"a", {2}, a_, gradient_a_}, {"b", {1}, b_, gradient_b_}} {}
  std::span<const Parameter> parameters() const { return parameters_; }
  std::vector<float>& a() { return a_; }
  std::vector<float>& b() { return b_; }

 private:
  std::vector<float> a_ = {1, 2}, b_ = {3}, gradient_a_ = {0, 0}, gradient_b_ = {0};
  std::vector<Parameter> parameters_;
};

TEST(Sgd, WithoutMomentum_SubtractsLearningRateTimesDirection) {
  Weights w;
  const auto sgd = MakeSgd({}, w.parameters());
  sgd->Step(kFirst, std::vector<float>{4, -8}, {.step = 0, .learning_rate = 0.25}, w.a());
  EXPECT_THAT(w.a(), ElementsAre(0, 4));
}

TEST(Sgd, Momentum_VelocityIsTheDirectionFirstAndAccumulatesThen) {
  Weights w;
  const auto sgd = MakeSgd({.momentum = 0.5f}, w.parameters());
  const std::vector<float> direction = {1, -2};
  sgd->Step(kFirst, direction, {.step = 0, .learning_rate = 1}, w.a());
  EXPECT_THAT(w.a(), ElementsAre(0, 4));  // v = (1, -2)
  sgd->Step(kFirst, direction, {.step = 1, .learning_rate = 1}, w.a());
  EXPECT_THAT(w.a(), ElementsAre(-1.5f, 7));  // v = (1.5, -3)
  sgd->Step(kSecond, std::vector<float>{1}, {.step = 1, .learning_rate = 1}, w.b());
  EXPECT_THAT(w.b(), ElementsAre(2));  // a velocity of its own
}

TEST(Sgd, Nesterov_StepsAlongDirectionPlusMomentumTimesVelocity) {
  Weights w;
  const auto sgd = MakeSgd({.momentum = 0.5f, .nesterov = true}, w.parameters());
  sgd->Step(kSecond, std::vector<float>{1}, {.step = 0, .learning_rate = 1}, w.b());
  EXPECT_THAT(w.b(), ElementsAre(1.5f));  // v = 1, step 1 + 0.5
  sgd->Step(kSecond, std::vector<float>{1}, {.step = 1, .learning_rate = 1}, w.b());
  EXPECT_THAT(w.b(), ElementsAre(-0.25f));  // v = 1.5, step 1 + 0.75
}

TEST(Sgd, WeightDecay_IsAddedToTheDirection) {
  Weights w;
  const auto sgd = MakeSgd({.weight_decay = 0.5f}, w.parameters());
  sgd->Step(kFirst, std::vector<float>{0, 0}, {.step = 0, .learning_rate = 0.5}, w.a());
  EXPECT_THAT(w.a(), ElementsAre(0.75f, 1.5f));
}

TEST(AdamW, FirstStep_MovesEachWeightByTheLearningRate) {
  // Bias correction makes m / (1 - b1) = d and v / (1 - b2) = d^2, so the step is lr * d / (|d| + eps), up to the
  // roundings of seven float operations, each at most 2^-24 relative; eps = 1e-8 is below that for |d| >= 1.
  Weights w;
  const auto adam = MakeAdamW({}, w.parameters());
  adam->Step(kFirst, std::vector<float>{4, -1000}, {.step = 0, .learning_rate = 0.5}, w.a());
  EXPECT_NEAR(w.a()[0], 0.5f, 8 * 0x1p-24);
  EXPECT_NEAR(w.a()[1], 2.5f, 8 * 0x1p-24 * 2.5);
}

TEST(AdamW, ManySteps_FollowTheFormulaInDouble) {
  // Algorithm 2 of Loshchilov and Hutter 2019, in double. Each float step makes about 16 roundings of at most 2^-24
  // relative in terms no larger than max(|w|, lr) <= 4; 20 steps add up.
  Weights w;
  const AdamWOptions options = {.beta1 = 0.5f, .beta2 = 0.75f, .epsilon = 0x1p-10f, .weight_decay = 0.125f};
  const auto adam = MakeAdamW(options, w.parameters());
  double weight = 3, m = 0, v = 0;
  for (uint64_t t = 1; t <= 20; ++t) {
    const double d = t % 3 == 0 ? -2 : 1, rate = 0.25;
    adam->Step(kSecond, std::vector<float>{static_cast<float>(d)}, {.step = t, .learning_rate = rate}, w.b());
    m = 0.5 * m + 0.5 * d;
    v = 0.75 * v + 0.25 * d * d;
    const double corrected_m = m / (1 - std::pow(0.5, t)), corrected_v = v / (1 - std::pow(0.75, t));
    weight -= rate * (corrected_m / (std::sqrt(corrected_v) + 0x1p-10) + 0.125 * weight);
    ASSERT_NEAR(w.b()[0], weight, 20 * 16 * 0x1p-24 * 4) << "step " << t;
  }
}

TEST(AdamW, WeightDecay_IsDecoupledFromTheMoments) {
  Weights w;
  const auto adam = MakeAdamW({.weight_decay = 0.5f}, w.parameters());
  adam->Step(kFirst, std::vector<float>{0, 0}, {.step = 0, .learning_rate = 0.5}, w.a());
  EXPECT_THAT(w.a(), ElementsAre(0.75f, 1.5f));
}

TEST(MakeOptimizer, Specs_PrintBackCanonically) {
  const auto canonical = [](std::string_view spec) { return (*MakeOptimizer(spec, {}))->ToString(); };
  EXPECT_EQ(canonical("sgd"), "sgd(momentum=0, nesterov=false, weight_decay=0)");
  EXPECT_EQ(canonical("sgd(momentum=0.9,nesterov=true,weight_decay=1e-4)"),
            "sgd(momentum=0.9, nesterov=true, weight_decay=0.0001)");
  EXPECT_EQ(canonical("adamw"), "adamw(beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0)");
  EXPECT_EQ(canonical("adamw(weight_decay=0.01)"), "adamw(beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.01)");
  for (const char* spec : {"sgd(momentum=0.3)", "adamw(beta1=0.7, eps=1e-5)"}) {
    EXPECT_EQ(canonical(canonical(spec)), canonical(spec));
  }
}

TEST(MakeOptimizer, BadSpecs_NameColumnAndWhatIsAccepted) {
  const auto message = [](std::string_view spec) { return std::string(MakeOptimizer(spec, {}).status().message()); };
  EXPECT_THAT(message("adam"), HasSubstr("known are sgd, adamw, lamb"));
  EXPECT_THAT(message("sgd(momentun=0.9)"), HasSubstr("column 5"));
  EXPECT_THAT(message("sgd(momentun=0.9)"), HasSubstr("momentum"));
  for (const char* spec : {"sgd(momentum=1)", "sgd(momentum=-0.1)", "sgd(momentum=0.99999999999)", "sgd(nesterov=yes)",
                           "sgd(weight_decay=-1)", "adamw(beta1=1)", "adamw(eps=0)", "sgd+adamw", ""}) {
    EXPECT_THAT(MakeOptimizer(spec, {}), HasStatus(absl::StatusCode::kInvalidArgument, testing::_)) << spec;
  }
}

// Saved after any number of steps and loaded into another one, an optimizer goes on bit for bit.
RC_GTEST_PROP(Optimizer, SaveLoadContinue_EqualsContinue, ()) {
  const std::string spec = *rc::gen::element<std::string>("sgd", "sgd(momentum=0.9, nesterov=true, weight_decay=0.1)",
                                                          "adamw(beta2=0.99, weight_decay=0.1)");
  const auto steps = *rc::gen::container<std::vector<int>>(rc::gen::inRange(-100, 100));
  const size_t saved_after = *rc::gen::inRange<size_t>(0, steps.size() + 1);
  Weights straight, broken;
  auto optimizer = *MakeOptimizer(spec, straight.parameters());
  auto other = *MakeOptimizer(spec, broken.parameters());
  for (size_t t = 0; t <= steps.size(); ++t) {
    if (t == saved_after) {
      StateArchive archive;
      StateWriter writer(&archive, "optimizer/");
      other->Save(writer);
      other = *MakeOptimizer(spec, broken.parameters());
      RC_ASSERT(other->Load(StateReader(&archive, "optimizer/")).ok());
    }
    if (t == steps.size()) break;
    const std::vector<float> direction = {steps[t] * 0.1f, steps[t] * -0.3f};
    optimizer->Step(kFirst, direction, {.step = t, .learning_rate = 0.1}, straight.a());
    other->Step(kFirst, direction, {.step = t, .learning_rate = 0.1}, broken.a());
  }
  RC_ASSERT(straight.a() == broken.a());
}

TEST(Optimizer, LoadOfAnotherShape_IsDataLossNamingTheTensor) {
  Weights w;
  std::vector<float> longer(3);
  const std::vector<Parameter> others = {{"a", {3}, longer, longer}, {"b", {1}, w.b(), w.b()}};
  StateArchive archive;
  StateWriter writer(&archive);
  MakeSgd({.momentum = 0.5f}, others)->Save(writer);
  EXPECT_THAT(MakeSgd({.momentum = 0.5f}, w.parameters())->Load(StateReader(&archive)),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("a/velocity")));
  EXPECT_THAT(MakeAdamW({}, w.parameters())->Load(StateReader(&archive)), HasStatus(absl::StatusCode::kNotFound, testing::_));
}

}  // namespace
}  // namespace laconic
