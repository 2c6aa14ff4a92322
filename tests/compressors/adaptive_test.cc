#include "laconic/compressors/adaptive.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/base/matchers.h"

namespace laconic {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<AdaptiveSpec> Parse(std::string_view text) {
  const absl::StatusOr<SpecCall> call = ParseSpecCall(text);
  return call.ok() ? ParseAdaptive(*call, CodecRegistry::BuiltIn()) : call.status();
}

std::vector<double> Levels(std::string_view text) { return MakeFamily(*Parse(text), CodecRegistry::BuiltIn())->levels; }

TEST(Adaptive, ToString_HasAllDefaultsAndReadsBackToItself) {
  for (const char* text :
       {"adaptive(family=topk, budget=uniform:0.01)", "adaptive(family=topk(values=bf16), budget=uniform(0.01))",
        "adaptive(family=lowrank, budget=uniform:4, objective=time, every=100, speed=model)",
        "adaptive(budget=uniform:4, family=quantize(block=128), alpha=0.5, error=squared, warmup=7)"}) {
    const absl::StatusOr<AdaptiveSpec> spec = Parse(text);
    ASSERT_THAT(spec, IsOk()) << text;
    EXPECT_EQ(Parse(spec->ToString())->ToString(), spec->ToString());
  }
  EXPECT_EQ(Parse("adaptive(family=topk, budget=uniform(0.01), every=50)")->ToString(),
            "adaptive(family=topk, budget=uniform:0.01, objective=bytes, every=50, warmup=50, window=50, alpha=1, "
            "error=l2, span=8, speed=measured)");
}

TEST(Adaptive, Levels_AreThoseWithinTheSpanThatTheCodecTakes) {
  EXPECT_THAT(Levels("adaptive(family=quantize, budget=uniform:4)"), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_THAT(Levels("adaptive(family=quantize, budget=uniform:4, span=1.5)"), ElementsAre(3, 4, 5, 6));
  // One bit has no l2 norm.
  EXPECT_THAT(Levels("adaptive(family=quantize(norm=l2, rounding=stochastic), budget=uniform:3)"),
              ElementsAre(2, 3, 4, 5, 6, 7, 8));
  EXPECT_THAT(Levels("adaptive(family=topk, budget=uniform:0.25, span=8)"),
              ElementsAre(0.03125, 0.0625, 0.125, 0.25, 0.5, 1));
  EXPECT_THAT(Levels("adaptive(family=lowrank, budget=uniform:3)"), ElementsAre(2, 3, 4, 5, 6));
  EXPECT_THAT(Levels("adaptive(family=lowrank, budget=uniform:1)"), ElementsAre(1, 2));
}

TEST(Adaptive, Family_HasTheUniformSettingAmongItsCodecs) {
  const CodecFamily family =
      *MakeFamily(*Parse("adaptive(family=topk(values=fp16), budget=uniform:0.01)"), CodecRegistry::BuiltIn());
  EXPECT_EQ(family.codecs[family.uniform]->ToString(), "topk(ratio=0.01, values=fp16)");
  EXPECT_EQ(family.levels[family.uniform], 0.01);
  ASSERT_EQ(family.codecs.size(), family.levels.size());
}

TEST(Adaptive, BadSpecs_AreRefusedWithColumnAndWhatIsAccepted) {
  const auto refuses = [](std::string_view text, std::string_view column, std::string_view why) {
    const absl::Status status = Parse(text).status();
    EXPECT_THAT(std::string(status.message()),
                ::testing::AllOf(HasSubstr(std::string(column)), HasSubstr(std::string(why))))
        << text;
  };
  refuses("adaptive(family=sign, budget=uniform:4)", "column 17", "quantize, topk or lowrank");
  refuses("adaptive(budget=uniform:4)", "column 1", "needs family");
  refuses("adaptive(family=topk)", "column 1", "needs budget=uniform:<ratio of topk>");
  refuses("adaptive(family=topk, budget=4)", "column 30", "not 4");
  refuses("adaptive(family=topk, budget=uniform:2)", "column 30", "uniform:2");
  refuses("adaptive(family=quantize, budget=uniform:2.5)", "column 34", "uniform:4");
  refuses("adaptive(family=topk(ratio=0.1), budget=uniform:0.1)", "column 22", "budget=uniform:0.1");
  refuses("adaptive(family=topk, budget=uniform:0.1, every=0)", "column 49", "every");
  refuses("adaptive(family=topk(values=fp8), budget=uniform:0.1)", "column 29", "fp16");
  refuses("adaptive(family=topk, budget=uniform:0.1, often=1)", "column 43", "every");
}

TEST(Adaptive, InACodecsPlaceElsewhere_IsRefusedWithTheReason) {
  EXPECT_THAT(CodecRegistry::BuiltIn().Create("scaled(adaptive(family=topk, budget=uniform:0.1))").status(),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("no codec but a choice among codecs")));
}

}  // namespace
}  // namespace laconic
