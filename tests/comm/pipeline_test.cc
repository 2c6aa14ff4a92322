#include "laconic/comm/collectives/pipeline.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

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
  for (const char* spec : {"dense", "sign", "sign+ef+scatter", "sign+ef+scatter(owners=1)", "topk(k=3)+ef21+auto",
                           "lowrank(rank=2)+ef", "quantize(bits=4)+ef+hierarchical(local=2, across=scatter)"}) {
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

TEST(Pipeline, CodecThatContractsInTheLargestElementOnly_GetsErrorFeedback) {
  EXPECT_EQ(Make("sign(scale=rms)")->control.method, ControlMethod::kEf);
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

TEST(Pipeline, EntropyStage_WrapsTheCodecAndPrintsBack) {
  for (const char* spec : {"cast(to=bf16)+entropy", "entropy+ef+cast(to=bf16)", "natural+entropy(coder=zstd)+gather",
                           "sign+entropy(coder=auto)", "entropy"}) {
    const absl::StatusOr<Pipeline> once = Make(spec);
    ASSERT_TRUE(once.ok()) << once.status();
    EXPECT_EQ(once->codec->id(), CodecId::kEntropy) << spec;
    const absl::StatusOr<Pipeline> twice = Make(once->ToString());
    ASSERT_TRUE(twice.ok()) << once->ToString() << ": " << twice.status();
    EXPECT_EQ(once->ToString(), twice->ToString());
    EXPECT_EQ(once->codec->ToString(), twice->codec->ToString());
  }
  EXPECT_EQ(Make("entropy+cast(to=bf16)")->ToString(), "cast(to=bf16, scale=auto)+entropy+econtrol");
}

TEST(Pipeline, EntropyStage_TakesTheCodecsControl) {
  EXPECT_EQ(Make("topk(k=3)+entropy")->control.method, ControlMethod::kEControl);
  EXPECT_EQ(Make("natural+entropy")->control.method, ControlMethod::kNone);
}

TEST(Pipeline, EntropyThatNamesACodec_IsACodecItself) {
  EXPECT_FALSE(Make("entropy(natural)")->has_entropy());
  EXPECT_THAT(ErrorOf("natural+entropy(natural)"), HasSubstr("second codec"));
  EXPECT_THAT(ErrorOf("natural+entropy+entropy(coder=zstd)"), HasSubstr("second lossless stage"));
  EXPECT_THAT(ErrorOf("sign+entropy(coder=exponent)"), HasSubstr("column 6: coder=exponent needs floats"));
  EXPECT_THAT(ErrorOf("dense+entropy"), HasSubstr("takes no codec"));
}

TEST(Pipeline, WithoutEntropy_IsThePlainPipeline) {
  EXPECT_EQ(Make("natural+entropy+gather")->WithoutEntropy().ToString(), Make("natural+gather")->ToString());
  EXPECT_EQ(Make("natural+gather")->WithoutEntropy().ToString(), Make("natural+gather")->ToString());
}

TEST(Pipeline, DenseWithACodec_IsRefused) { EXPECT_THAT(ErrorOf("topk(k=1)+dense"), HasSubstr("takes no codec")); }

TEST(Pipeline, HierarchicalAcrossHierarchical_IsRefused) {
  EXPECT_THAT(ErrorOf("sign+ef+hierarchical(across=hierarchical)"), HasSubstr("across"));
}

TEST(Pipeline, ScattersOwners_TakeACodecAndAReplyOfTheirOwn) {
  const std::string spec =
      "topk(k=3, values=fp32)+ef21+scatter(owners=1, down=sign(block=64, zeros=exact, scale=l1), reply=direction)";
  EXPECT_EQ(Make(spec)->ToString(), Make(Make(spec)->ToString())->ToString());
  EXPECT_EQ(Make(spec)->strategy.reply, OwnerSends::kDirection);
  EXPECT_EQ(Make(spec)->strategy.down->id(), CodecId::kSign);
  EXPECT_EQ(Make("sign+ef+scatter(reply=mean)")->strategy.ToString(), "scatter");
  EXPECT_THAT(ErrorOf("sign+ef+scatter(down=tpok(k=1))"), HasSubstr("tpok"));
  EXPECT_THAT(ErrorOf("sign+ef+scatter(reply=model)"), HasSubstr("mean|direction"));
}

}  // namespace
}  // namespace laconic
