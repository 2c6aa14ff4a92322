#include <gmock/gmock.h>

#include <vector>

#include "examples/train/options.h"
#include "tests/base/matchers.h"

namespace laconic::train {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ParsedOptions Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "train");
  return ParseOptions(static_cast<int>(arguments.size()), arguments.data());
}

TEST(TrainOptions, NothingGiven_IsOneRunOfTheDefaultSpec) {
  const ParsedOptions parsed = Parse({});
  ASSERT_TRUE(parsed.options.has_value());
  EXPECT_THAT(parsed.options->specs, ElementsAre("topk(ratio=0.01)+econtrol"));
  EXPECT_THAT(parsed.options->hidden, ElementsAre(256, 128));
  EXPECT_FALSE(parsed.options->ranks.has_value());
}

TEST(TrainOptions, Quickstart_ComparesFiveSpecsAndYieldsToWhatIsGiven) {
  const ParsedOptions preset = Parse({"--quickstart"});
  ASSERT_TRUE(preset.options.has_value());
  EXPECT_EQ(preset.options->specs.size(), 5u);
  EXPECT_EQ(preset.options->specs[0], "dense");
  EXPECT_EQ(preset.options->link->bits_per_second, 1e8);

  const ParsedOptions changed =
      Parse({"--quickstart", "--link", "1Gbit", "--steps", "7", "--compare", "dense", "sign+ef"});
  ASSERT_TRUE(changed.options.has_value());
  EXPECT_THAT(changed.options->specs, ElementsAre("dense", "sign+ef"));
  EXPECT_EQ(changed.options->link->bits_per_second, 1e9);
  EXPECT_EQ(changed.options->steps, 7u);
}

TEST(TrainOptions, Values_ArriveWhereTheyBelong) {
  const ParsedOptions parsed = Parse({"--model",
                                      "cnn",
                                      "--split",
                                      "dirichlet=0.5",
                                      "--non-finite",
                                      "zero",
                                      "--overlap",
                                      "off",
                                      "--bucket-bytes",
                                      "64K",
                                      "--reshard",
                                      "mean",
                                      "--checkpoint",
                                      "run",
                                      "--resume",
                                      "--timeout",
                                      "2.5",
                                      "--clip",
                                      "1",
                                      "--encode-threads",
                                      "2",
                                      "--inject-nan",
                                      "12,3",
                                      "--die-at",
                                      "50",
                                      "--ranks",
                                      "2",
                                      "--seed",
                                      "9"});
  ASSERT_TRUE(parsed.options.has_value());
  const Options& options = *parsed.options;
  EXPECT_EQ(options.model, nn::ModelKind::kCnn);
  EXPECT_THAT(options.hidden, ElementsAre(128));
  EXPECT_EQ(options.split.parameter, 0.5);
  EXPECT_EQ(options.sync.non_finite, NonFinitePolicy::kZero);
  EXPECT_FALSE(options.sync.overlap);
  EXPECT_EQ(options.sync.bucket_bytes, 65536u);
  EXPECT_EQ(options.sync.clip_norm, 1);
  EXPECT_EQ(options.sync.encode_threads, 2);
  EXPECT_EQ(options.sync.seed, 9u);
  EXPECT_EQ(options.reshard, ReshardRule::kMean);
  EXPECT_TRUE(options.resume);
  EXPECT_EQ(options.timeout, absl::Milliseconds(2500));
  EXPECT_EQ(options.faults.nan_step, 12);
  EXPECT_EQ(options.faults.nan_rank, 3);
  EXPECT_EQ(options.faults.die_at_step, 50);
  EXPECT_EQ(options.faults.die_rank, -1);
  EXPECT_EQ(options.ranks, 2);
}

TEST(TrainOptions, WrongUsage_HasStatusOneAndHelpStatusZero) {
  EXPECT_EQ(Parse({"--help"}).exit_status, 0);
  EXPECT_FALSE(Parse({"--help"}).options.has_value());
  const std::vector<std::vector<const char*>> wrong = {{"--unknown"},
                                                       {"--model", "rnn"},
                                                       {"--spec", "topk("},
                                                       {"--optimizer", "adam"},
                                                       {"--schedule", "cosine(final=-1)"},
                                                       {"--link", "fast"},
                                                       {"--split", "dirichlet=0"},
                                                       {"--lr", "0"},
                                                       {"--ranks", "0"},
                                                       {"--resume"},
                                                       {"--compare", "dense", "--checkpoint", "run"},
                                                       {"--spec", "dense", "--compare", "dense"}};
  for (const auto& arguments : wrong) {
    const ParsedOptions parsed = Parse(arguments);
    EXPECT_FALSE(parsed.options.has_value()) << arguments[0];
    EXPECT_EQ(parsed.exit_status, 1) << arguments[0];
  }
}

TEST(TrainOptions, Fingerprint_ChangesWithMethodAndNotWithMachine) {
  const std::string base = Parse({}).options->Fingerprint();
  EXPECT_EQ(Parse({"--ranks", "2", "--steps", "9", "--overlap", "off"}).options->Fingerprint(), base);
  for (const std::vector<const char*>& change : std::vector<std::vector<const char*>>{{"--lr", "0.25"},
                                                                                      {"--spec", "dense"},
                                                                                      {"--seed", "1"},
                                                                                      {"--batch", "64"},
                                                                                      {"--split", "labels"},
                                                                                      {"--hidden", "9"}}) {
    EXPECT_NE(Parse(change).options->Fingerprint(), base) << change[0];
  }
}

TEST(CompleteSchedule, MissingTotal_IsTheNumberOfSteps) {
  EXPECT_EQ(*CompleteSchedule("cosine", 50), "cosine(total=50)");
  EXPECT_EQ(*CompleteSchedule("linear(final=0.1)", 50), "linear(final=0.1, total=50)");
  EXPECT_EQ(*CompleteSchedule("cosine(total=7)", 50), "cosine(total=7)");
  EXPECT_EQ(*CompleteSchedule("constant", 50), "constant");
  EXPECT_THAT(CompleteSchedule("cosine(", 50), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("column")));
}

}  // namespace
}  // namespace laconic::train
