#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <limits>

#include "laconic/optim/optimizer.h"
#include "tests/base/matchers.h"

namespace laconic {
namespace {

using testing::HasSubstr;

LearningRateSchedule Schedule(std::string_view spec, double base) {
  const auto schedule = LearningRateSchedule::Parse(spec, base);
  EXPECT_THAT(schedule.status(), IsOk()) << spec;
  return *schedule;
}

TEST(LearningRate, Constant_IsTheBaseAtEveryStep) {
  EXPECT_EQ(Schedule("constant", 0.5).At(0), 0.5);
  EXPECT_EQ(Schedule("constant", 0.5).At(std::numeric_limits<uint64_t>::max()), 0.5);
}

TEST(LearningRate, Warmup_RisesLinearlyFromBaseOverWarmupToBase) {
  const LearningRateSchedule schedule = Schedule("constant(warmup=4)", 8);
  EXPECT_EQ(schedule.At(0), 2);
  EXPECT_EQ(schedule.At(1), 4);
  EXPECT_EQ(schedule.At(3), 8);
  EXPECT_EQ(schedule.At(4), 8);
}

TEST(LearningRate, Step_MultipliesByFactorAtMultiplesOfEvery) {
  const LearningRateSchedule schedule = Schedule("step(every=10, factor=0.5)", 8);
  EXPECT_EQ(schedule.At(9), 8);
  EXPECT_EQ(schedule.At(10), 4);
  EXPECT_EQ(schedule.At(39), 1);
  EXPECT_EQ(schedule.At(1'000'000'000'000), 0);  // in bounded time
}

TEST(LearningRate, Linear_ReachesFinalAtTotalAndStays) {
  const LearningRateSchedule schedule = Schedule("linear(total=10, final=1, warmup=2)", 5);
  EXPECT_EQ(schedule.At(0), 2.5);
  EXPECT_EQ(schedule.At(2), 5);
  EXPECT_EQ(schedule.At(6), 3);
  EXPECT_EQ(schedule.At(10), 1);
  EXPECT_EQ(schedule.At(1000), 1);
}

TEST(LearningRate, Cosine_IsHalfWayAtHalfTime) {
  // cos has at most 1 ulp of error, the sum and product round a few times more.
  constexpr double kTolerance = 8 * std::numeric_limits<double>::epsilon();
  const LearningRateSchedule schedule = Schedule("cosine(total=100)", 4);
  EXPECT_EQ(schedule.At(0), 4);
  EXPECT_NEAR(schedule.At(50), 2, 4 * kTolerance);
  EXPECT_NEAR(schedule.At(25), 2 * (1 + std::sqrt(0.5)), 4 * kTolerance);
  EXPECT_NEAR(schedule.At(100), 0, 4 * kTolerance);
  EXPECT_GT(schedule.At(99), 0);
}

TEST(LearningRate, ToString_ParsesBackToTheSameRates) {
  for (const char* spec :
       {"constant", "constant(warmup=3)", "step(every=7, factor=0.3)", "step(every=7, factor=0.1, warmup=2)",
        "linear(total=9, final=0.5)", "cosine(total=20, final=0.001, warmup=5)"}) {
    EXPECT_EQ(Schedule(spec, 2).ToString(), spec);
    for (uint64_t t = 0; t < 30; ++t)
      EXPECT_EQ(Schedule(Schedule(spec, 2).ToString(), 2).At(t), Schedule(spec, 2).At(t));
  }
}

// linear and cosine never leave [final, base], and never rise once the warm-up is over.
RC_GTEST_PROP(LearningRate, Decay_IsMonotoneBetweenBaseAndFinal, ()) {
  const std::string kind = *rc::gen::element<std::string>("linear", "cosine");
  const int warmup = *rc::gen::inRange(0, 20), total = warmup + *rc::gen::inRange(1, 200);
  const auto schedule = *LearningRateSchedule::Parse(
      kind + "(total=" + std::to_string(total) + ", final=0.25, warmup=" + std::to_string(warmup) + ")", 1);
  double previous = 1;
  for (uint64_t t = warmup; t <= static_cast<uint64_t>(total) + 5; ++t) {
    const double rate = schedule.At(t);
    RC_ASSERT(rate <= previous && rate >= 0.25);
    previous = rate;
  }
  RC_ASSERT(previous == 0.25);
}

TEST(LearningRate, BadSpecs_NameWhatIsWrong) {
  const auto message = [](std::string_view spec) {
    return std::string(LearningRateSchedule::Parse(spec, 1).status().message());
  };
  EXPECT_THAT(message("exponential"), HasSubstr("known are constant, step, linear and cosine"));
  EXPECT_THAT(message("cosine"), HasSubstr("cosine needs total=<steps>"));
  EXPECT_THAT(message("step(factor=0.5)"), HasSubstr("step needs every=<steps>"));
  EXPECT_THAT(message("linear(total=10, warmup=10)"), HasSubstr("warmup=10 leaves nothing of total=10"));
  EXPECT_THAT(message("constant(total=3)"), HasSubstr("total"));
  for (const char* spec : {"step(every=0)", "step(every=1.5)", "linear(total=0)", "cosine(total=5, final=-1)", ""}) {
    EXPECT_THAT(LearningRateSchedule::Parse(spec, 1).status(), HasStatus(absl::StatusCode::kInvalidArgument, testing::_)) << spec;
  }
}

TEST(LearningRate, BaseThatIsNoPositiveNumber_IsInvalid) {
  for (const double base :
       {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    EXPECT_THAT(LearningRateSchedule::Parse("constant", base).status(), HasStatus(absl::StatusCode::kInvalidArgument, testing::_));
  }
}

}  // namespace
}  // namespace laconic
