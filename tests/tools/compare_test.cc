#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/compare/results.h"

namespace laconic::tools {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

ResultFile OneRow(double median, std::vector<double> raw) {
  ResultFile file{.name = "a.json", .kind = "allreduce", .ranks = 2, .backend = "inproc"};
  file.collectives.push_back(
      {.spec = "sign", .size_bytes = 1024, .time_seconds = median, .times_seconds = std::move(raw)});
  return file;
}

Verdict VerdictOf(const ResultFile& before, const ResultFile& after) {
  const absl::StatusOr<Comparison> comparison = CompareResults(before, after, 0.05);
  EXPECT_TRUE(comparison.ok()) << comparison.status();
  return comparison->rows.at(0).verdict;
}

TEST(CompareResults, MedianBeyondThresholdAndNoise_IsSlowerOrFaster) {
  const ResultFile fast = OneRow(1.0, {0.99, 1.0, 1.01}), slow = OneRow(1.2, {1.19, 1.2, 1.21});
  EXPECT_EQ(VerdictOf(fast, slow), Verdict::kSlower);
  EXPECT_EQ(VerdictOf(slow, fast), Verdict::kFaster);
  EXPECT_EQ(VerdictOf(fast, fast), Verdict::kSame);
}

TEST(CompareResults, ChangeWithinThreshold_IsTheSame) {
  EXPECT_EQ(VerdictOf(OneRow(1.0, {1.0, 1.0}), OneRow(1.04, {1.04, 1.04})), Verdict::kSame);
}

TEST(CompareResults, IntervalsThatOverlap_AreNoise) {
  EXPECT_EQ(VerdictOf(OneRow(1.0, {0.8, 1.0, 1.3}), OneRow(1.2, {1.1, 1.2, 1.4})), Verdict::kUnclear);
}

TEST(CompareResults, WithoutRawTimes_TheChangeCounts) {
  EXPECT_EQ(VerdictOf(OneRow(1.0, {}), OneRow(1.2, {1.2})), Verdict::kSlower);
}

TEST(CompareResults, RowsOfOneSideOnly_AreListed) {
  ResultFile before = OneRow(1, {}), after = OneRow(1, {});
  before.collectives.push_back({.spec = "old", .size_bytes = 4, .time_seconds = 1});
  after.collectives.push_back({.spec = "new", .size_bytes = 4, .time_seconds = 1});
  const Comparison comparison = *CompareResults(before, after, 0.05);
  EXPECT_THAT(comparison.only_before, ElementsAre("old, 4"));
  EXPECT_THAT(comparison.only_after, ElementsAre("new, 4"));
  EXPECT_FALSE(comparison.AnySlower());
}

TEST(CompareResults, OtherSetting_HasNoCommonRows) {
  ResultFile other = OneRow(1, {});
  other.ranks = 4;
  const absl::Status status = CompareResults(OneRow(1, {}), other, 0.05).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("2 ranks"), HasSubstr("4 ranks")));
}

TEST(CompareResults, Codec_ComparesEachOperation) {
  ResultFile before{.kind = "codec"};
  before.codecs.push_back({.spec = "sign",
                           .input = "gaussian",
                           .elements = 1000,
                           .encode_bytes_per_second = 4000,
                           .decode_add_bytes_per_second = 8000});
  ResultFile after = before;
  after.codecs[0].decode_add_bytes_per_second = 4000;
  const Comparison comparison = *CompareResults(before, after, 0.05);
  ASSERT_EQ(comparison.rows.size(), 2u);
  EXPECT_EQ(comparison.rows[0].verdict, Verdict::kSame);
  EXPECT_EQ(comparison.rows[1].what, "sign, gaussian, 1000 elements: decode_add");
  EXPECT_EQ(comparison.rows[1].verdict, Verdict::kSlower);
  EXPECT_DOUBLE_EQ(comparison.rows[1].change, 1);
}

TEST(MedianInterval, OfTwentyValues_IsTheFifthToTheSixteenth) {
  std::vector<double> values;
  for (int i = 20; i >= 1; --i) values.push_back(i);
  // (20 - 1.96 sqrt 20) / 2 = 5.6 and 1 + (20 + 1.96 sqrt 20) / 2 = 15.4
  EXPECT_EQ(MedianInterval(values).low, 5);
  EXPECT_EQ(MedianInterval(values).high, 16);
}

TEST(MedianInterval, OfFewValues_IsAllOfThem) {
  const double values[] = {3, 1, 2};
  EXPECT_EQ(MedianInterval(values).low, 1);
  EXPECT_EQ(MedianInterval(values).high, 3);
}

TEST(ParsePercentage, TakesPercentsAndRefusesTheRest) {
  EXPECT_DOUBLE_EQ(*ParsePercentage("--fail-above", "5%"), 0.05);
  EXPECT_DOUBLE_EQ(*ParsePercentage("--fail-above", "0.5 %"), 0.005);
  EXPECT_DOUBLE_EQ(*ParsePercentage("--fail-above", "120"), 1.2);
  for (const char* bad : {"", "%", "five", "5%%", "-1%", "nan", "inf", "5 x"}) {
    EXPECT_THAT(std::string(ParsePercentage("--fail-above", bad).status().message()), HasSubstr("--fail-above")) << bad;
  }
}

}  // namespace
}  // namespace laconic::tools
