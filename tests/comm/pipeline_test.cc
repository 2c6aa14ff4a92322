#include "laconic/comm/collectives/pipeline.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "laconic/comm/collectives/cost_model.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

absl::StatusOr<Pipeline> Make(std::string_view spec) {
  absl::StatusOr<std::vector<SpecRule>> rules = ParseSpec(spec);
  if (!rules.ok()) return rules.status();
  return MakePipeline(rules->front().pipeline, CodecRegistry::BuiltIn());
}

std::string ErrorOf(std::string_view spec) {
  const absl::StatusOr<Pipeline> pipeline = Make(spec);
  EXPECT_EQ(pipeline.status().code(), absl::StatusCode::kInvalidArgument) << spec;
  return std::string(pipeline.status().message());
}

TEST(Pipeline, ThreeParts_InAnyOrder_AreTheSamePipeline) {
  const absl::StatusOr<Pipeline> a = Make("topk(ratio=0.01)+econtrol(eta=0.05)+gather");
  const absl::StatusOr<Pipeline> b = Make("gather+econtrol(eta=0.05)+topk(ratio=0.01)");
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(a->ToString(), b->ToString());
  EXPECT_EQ(a->strategy.kind, StrategyKind::kGather);
}

TEST(Pipeline, ToString_ParsesBackToItself) {
  for (const char* spec : {"dense", "sign", "sign+ef+scatter", "topk(k=3)+ef21+auto", "lowrank(rank=2)+ef",
                           "quantize(bits=4)+ef+hierarchical(local=2, across=scatter)"}) {
    const absl::StatusOr<Pipeline> once = Make(spec);
    ASSERT_TRUE(once.ok()) << once.status();
    const absl::StatusOr<Pipeline> twice = Make(once->ToString());
    ASSERT_TRUE(twice.ok()) << once->ToString() << ": " << twice.status();
    EXPECT_EQ(once->ToString(), twice->ToString());
  }
}

TEST(Pipeline, BiasedCodecWithoutControl_GetsEControl) {
  EXPECT_EQ(Make("topk(ratio=0.01)")->control.method, ControlMethod::kEControl);
  EXPECT_EQ(Make("sign")->control.method, ControlMethod::kEControl);
}

TEST(Pipeline, UnbiasedOrLosslessCodecWithoutControl_GetsNone) {
  EXPECT_EQ(Make("natural")->control.method, ControlMethod::kNone);
  EXPECT_EQ(Make("identity")->control.method, ControlMethod::kNone);
}

TEST(Pipeline, WithoutStrategy_NeverGoesDense) {
  EXPECT_FALSE(Make("topk(ratio=0.01)")->strategy.dense_allowed);
  EXPECT_TRUE(Make("topk(ratio=0.01)+auto")->strategy.dense_allowed);
}

TEST(Pipeline, UnknownName_IsAnErrorThatNamesColumnAndLists) {
  EXPECT_THAT(ErrorOf("topk(ratio=0.01)+gahter"), AllOf(HasSubstr("column 18"), HasSubstr("gahter"), HasSubstr("topk"),
                                                        HasSubstr("econtrol"), HasSubstr("gather")));
}

TEST(Pipeline, TwoOfAKind_IsAnErrorThatNamesBoth) {
  EXPECT_THAT(ErrorOf("topk(k=1)+sign"), AllOf(HasSubstr("second codec"), HasSubstr("sign"), HasSubstr("topk")));
  EXPECT_THAT(ErrorOf("sign+ef+ef21"), HasSubstr("second error control"));
  EXPECT_THAT(ErrorOf("sign+gather+scatter"), HasSubstr("second strategy"));
}

TEST(Pipeline, DenseWithACodec_IsRefused) { EXPECT_THAT(ErrorOf("topk(k=1)+dense"), HasSubstr("takes no codec")); }

TEST(Pipeline, HierarchicalAcrossHierarchical_IsRefused) {
  EXPECT_THAT(ErrorOf("sign+ef+hierarchical(across=hierarchical)"), HasSubstr("across"));
}

// --- cost model

constexpr LinkFigures kSlow{.bits_per_second = 100e6, .round_trip_seconds = 1e-4};
constexpr LinkFigures kFast{.bits_per_second = 400e9, .round_trip_seconds = 1e-6};

BucketFigures OnePercentTopK() {
  return {.elements = 1'000'000,
          .gather_bytes = 50'000,
          .scatter_bytes = 50'000,
          .encode_bytes_per_second = 1e9,
          .decode_bytes_per_second = 4e9};
}

TEST(CostModel, Dense_IsRingBytesOverTheLink) {
  // 4 ranks, 4 MB: 2 * 3/4 * 4e6 bytes * 8 / 1e8 = 0.48 s, and 1 + 2*2 messages of 50 us.
  EXPECT_NEAR(EstimateSeconds(StrategyKind::kDense, OnePercentTopK(), 4, kSlow), 0.48 + 5 * 50e-6, 1e-9);
}

TEST(CostModel, Gather_GrowsWithRanks_ScatterDoesNot) {
  const BucketFigures figures = OnePercentTopK();
  const double gather_8 = EstimateSeconds(StrategyKind::kGather, figures, 8, kSlow);
  const double gather_64 = EstimateSeconds(StrategyKind::kGather, figures, 64, kSlow);
  EXPECT_GT(gather_64, 7 * gather_8);
  const double scatter_8 = EstimateSeconds(StrategyKind::kScatter, figures, 8, kSlow);
  const double scatter_64 = EstimateSeconds(StrategyKind::kScatter, figures, 64, kSlow);
  EXPECT_LT(scatter_64, 1.2 * scatter_8);
}

TEST(ChooseStrategy, SlowLinkFewRanks_TakesGather) {
  EXPECT_EQ(ChooseStrategy(OnePercentTopK(), 2, kSlow, true), StrategyKind::kGather);
}

TEST(ChooseStrategy, FourRanks_TakesGatherAlthoughScatterSendsHalf) {
  // 3 b against 1.5 b: not the factor that a second compression must gain.
  EXPECT_EQ(ChooseStrategy(OnePercentTopK(), 4, kSlow, true), StrategyKind::kGather);
}

TEST(ChooseStrategy, SlowLinkManyRanks_TakesScatter) {
  EXPECT_EQ(ChooseStrategy(OnePercentTopK(), 64, kSlow, true), StrategyKind::kScatter);
}

TEST(ChooseStrategy, FastLink_TakesDenseIfAllowed) {
  EXPECT_EQ(ChooseStrategy(OnePercentTopK(), 8, kFast, true), StrategyKind::kDense);
  EXPECT_NE(ChooseStrategy(OnePercentTopK(), 8, kFast, false), StrategyKind::kDense);
}

TEST(ChooseStrategy, LinearCodec_TakesLinear) {
  const BucketFigures low_rank{
      .elements = 1'000'000, .gather_bytes = 16'000, .linear_floats = 4'000, .linear_rounds = 2};
  EXPECT_EQ(ChooseStrategy(low_rank, 16, kSlow, true), StrategyKind::kLinear);
}

TEST(ChooseStrategy, NothingButDense_IsNeverChosenWhenNotPossible) {
  const BucketFigures gather_only{.elements = 1000, .gather_bytes = 100};
  EXPECT_EQ(ChooseStrategy(gather_only, 64, kSlow, false), StrategyKind::kGather);
}

}  // namespace
}  // namespace laconic
