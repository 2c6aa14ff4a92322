#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/plan/output.h"
#include "tools/plan/step.h"
#include "tools/plan/validate.h"

namespace laconic::tools {
namespace {

using ::testing::HasSubstr;

PlannedBucket Bucket(double ready, double compute, double exchange) {
  return {.cost = {.compute_seconds = compute, .exchange_seconds = exchange}, .ready_seconds = ready};
}

// --- steps

TEST(StepSeconds, ExchangeThatFitsBehindBackward_CostsNothing) {
  const Setting setting{.host = {.ranks_per_core = 0.5}, .compute_seconds = 10};
  EXPECT_EQ(StepSeconds(std::vector{Bucket(5, 0, 2), Bucket(7, 0, 3)}, setting), 10);
}

TEST(StepSeconds, BucketsWaitForEachOther) {
  const Setting setting{.host = {.ranks_per_core = 0.5}, .compute_seconds = 10};
  // The first runs from 5 to 11, the second from then on.
  EXPECT_EQ(StepSeconds(std::vector{Bucket(5, 1, 5), Bucket(10, 0, 2)}, setting), 13);
}

TEST(StepSeconds, WithoutOverlap_CommunicationFollows) {
  const Setting setting{.compute_seconds = 10, .overlap = false};
  EXPECT_EQ(StepSeconds(std::vector{Bucket(5, 1, 5), Bucket(10, 0, 2)}, setting), 18);
}

TEST(StepSeconds, WithoutACoreToSpare_CodecsDelayBackward) {
  const Setting setting{.host = {.ranks_per_core = 1}, .compute_seconds = 10};
  // Backward ends at 10 + 4 + 1; the second bucket, ready at 6 + 4, is done by then.
  EXPECT_EQ(StepSeconds(std::vector{Bucket(5, 4, 0), Bucket(6, 1, 1)}, setting), 15);
}

// --- specs

// Codecs of 1 GB/s both ways, whatever they are.
absl::StatusOr<CodecFigures> SlowCodecs(const Compressor&, const Shape&) {
  return CodecFigures{.encode_bytes_per_second = 1e9,
                      .decode_bytes_per_second = 1e9,
                      .session_bytes_per_second = 1e9,
                      .relative_error = 0.5};
}

Setting FourRanks(double bits_per_second) {
  return {.ranks = 4, .link = {.bits_per_second = bits_per_second, .round_trip_seconds = 1e-5, .efficiency = 1}};
}

ModelTensors TwoMatrices() {
  return {.name = "two",
          .tensors = {{"first", Shape({1024, 1024})}, {"norm", Shape({16})}, {"last", Shape({1024, 512})}}};
}

SpecPlan PlanOf(const std::string& spec, const Setting& setting) {
  const absl::StatusOr<SpecOutline> outline = SpecOutline::Create(TwoMatrices(), spec, SlowCodecs, setting);
  EXPECT_TRUE(outline.ok()) << outline.status();
  return *outline->Plan(setting);
}

TEST(SpecOutline, SmallTensorsGoDense_AsInGradientSync) {
  const SpecPlan plan = PlanOf("sign+ef+scatter", FourRanks(1e9));
  EXPECT_EQ(plan.runs_as, "dense and scatter");
  EXPECT_FALSE(plan.dense);
  EXPECT_EQ(plan.buckets, 3u);
  EXPECT_NEAR(plan.relative_error, 0.5, 1e-4);
}

TEST(SpecOutline, RulesByName_AreFollowed) {
  EXPECT_EQ(PlanOf("first: topk(ratio=0.01)+ef+gather; *: dense", FourRanks(1e9)).runs_as, "dense and gather");
}

TEST(SpecOutline, Dense_SendsTheRingsBytes) {
  // 2 * 3/4 * 4 * (2^20 + 16 + 2^19) bytes, and headers of 48 bytes to three ranks for each bucket
  const SpecPlan plan = PlanOf("dense", FourRanks(1e9));
  EXPECT_TRUE(plan.dense);
  EXPECT_EQ(plan.wire_bytes, 9'437'184u + 96 + plan.buckets * 3 * 48);
}

TEST(SpecOutline, WhatCannotBePlanned_IsRefusedWithTheReason) {
  const Setting setting = FourRanks(1e9);
  const auto error = [&](const char* spec) {
    const absl::StatusOr<SpecOutline> outline = SpecOutline::Create(TwoMatrices(), spec, SlowCodecs, setting);
    return std::string((outline.ok() ? outline->Plan(setting).status() : outline.status()).message());
  };
  EXPECT_THAT(error("sign+ef+hierarchical(local=2)"), HasSubstr("hierarchical"));
  EXPECT_THAT(error("quantize(bits=4, rounding=stochastic)+ef"), HasSubstr("contractive"));
  EXPECT_THAT(error("sign+ef+linear"), HasSubstr("linear"));
  EXPECT_THAT(error("topk(ratio=2)"), HasSubstr("ratio"));
  EXPECT_THAT(error("first: sign"), HasSubstr("norm"));
}

TEST(BreakEven, IsWhereBothCommunicateEquallyLong) {
  const Setting setting = FourRanks(1e9);
  const SpecOutline dense = *SpecOutline::Create(TwoMatrices(), "dense", SlowCodecs, setting);
  const SpecOutline sign = *SpecOutline::Create(TwoMatrices(), "sign+ef+scatter", SlowCodecs, setting);
  const double rate = *BreakEvenBitsPerSecond(dense, sign, setting);
  ASSERT_GT(rate, 1e8);
  ASSERT_LT(rate, 1e11);
  const Setting there = FourRanks(rate);
  // Bisection ends within 2e-5 of the rate, and neither time moves faster than the rate.
  EXPECT_NEAR(sign.Plan(there)->communication_seconds() / dense.Plan(there)->communication_seconds(), 1, 1e-4);
}

TEST(BreakEven, CodecsThatCostNothing_WinAlways_AndSlowOnesNever) {
  const Setting setting = FourRanks(1e9);
  const SpecOutline dense = *SpecOutline::Create(TwoMatrices(), "dense", SlowCodecs, setting);
  const auto rate_at = [&](double speed) {
    const SpecOutline sign = *SpecOutline::Create(
        TwoMatrices(), "sign+ef+scatter",
        [&](const Compressor&, const Shape&) -> absl::StatusOr<CodecFigures> {
          return CodecFigures{.encode_bytes_per_second = speed, .decode_bytes_per_second = speed};
        },
        setting);
    return *BreakEvenBitsPerSecond(dense, sign, setting);
  };
  EXPECT_EQ(rate_at(1e15), INFINITY);
  EXPECT_EQ(rate_at(1e3), 0);
}

// --- choice and advice

SpecPlan Plan(std::string spec, double seconds, double error) {
  return {.spec = std::move(spec),
          .dense = error == 0,
          .step_seconds = seconds,
          .exchange_seconds = seconds,
          .wire_bytes = 1000,
          .relative_error = error};
}

TEST(BestPlan, IsTheFastest_AndAmongTiesTheMostAccurate) {
  EXPECT_EQ(BestPlan(std::vector{Plan("dense", 10, 0), Plan("a", 2, 0.9), Plan("b", 5, 0.1)}), 1u);
  EXPECT_EQ(BestPlan(std::vector{Plan("dense", 10, 0), Plan("a", 2, 0.9), Plan("b", 2.03, 0.1)}), 2u);
  EXPECT_EQ(BestPlan(std::vector{Plan("dense", 10.1, 0), Plan("a", 10, 0.9)}), 0u);
}

TEST(Advice, SaysWhyDense) {
  PlanFindings findings{.model = TwoMatrices(),
                        .setting = FourRanks(10e9),
                        .plans = {Plan("dense", 1e-3, 0), Plan("sign", 2e-3, 0.6)},
                        .break_even_bits_per_second = {0, 3e9}};
  EXPECT_THAT(Advice(findings), HasSubstr("Stay with dense"));
  EXPECT_THAT(Advice(findings), HasSubstr("Below 3 Gbit/s it would pay"));
  findings.setting.compute_seconds = 1;
  findings.plans[0].step_seconds = findings.plans[1].step_seconds = 1;
  EXPECT_THAT(Advice(findings), HasSubstr("hide behind"));
}

TEST(Advice, NamesWhatToTakeAndUntilWhen) {
  const PlanFindings findings{.model = TwoMatrices(),
                              .setting = FourRanks(1e9),
                              .plans = {Plan("dense", 3e-3, 0), Plan("sign", 1e-3, 0.6)},
                              .break_even_bits_per_second = {0, 3e9}};
  EXPECT_THAT(Advice(findings), HasSubstr("Take sign"));
  EXPECT_THAT(Advice(findings), HasSubstr("(3x)"));
  EXPECT_THAT(Advice(findings), HasSubstr("below 3 Gbit/s"));
}

// --- validation

TEST(Validate, PredictsTheRowsOfAMeasurement) {
  ResultFile file{.name = "out.json", .kind = "allreduce", .ranks = 4};
  file.collectives = {{.spec = "dense", .runs_as = "dense", .size_bytes = 1 << 22, .time_seconds = 0.05},
                      {.spec = "sign+ef+scatter", .runs_as = "scatter", .size_bytes = 1 << 22, .time_seconds = 0.02},
                      {.spec = "sign+ef+scatter", .runs_as = "scatter", .size_bytes = 1 << 10, .time_seconds = 0.02},
                      {.spec = "memcpy", .runs_as = "", .size_bytes = 1 << 22, .time_seconds = 0.001}};
  const absl::StatusOr<Validation> validation = Validate(file, 1 << 20, SlowCodecs, FourRanks(1e9));
  ASSERT_TRUE(validation.ok()) << validation.status();
  ASSERT_EQ(validation->rows.size(), 2u);
  EXPECT_EQ(validation->left_out, 2u);
  // Dense: 6 MiB at 1 Gbit/s is 50.3 ms, and below 2 ms for memory and latency.
  EXPECT_NEAR(validation->rows[0].predicted_seconds, 0.0513, 0.001);
  EXPECT_TRUE(validation->Within(0.5, 0.05));
  EXPECT_EQ(validation->choices.at(0).chosen, "sign+ef+scatter");
  EXPECT_EQ(validation->choices.at(0).regret, 0);
  EXPECT_FALSE(validation->Within(0.01, 0.05));  // sign's 20 ms were made up
}

TEST(Validate, WithoutRows_SaysSo) {
  EXPECT_THAT(
      std::string(Validate({.name = "out.json", .kind = "codec"}, 1, SlowCodecs, FourRanks(1e9)).status().message()),
      HasSubstr("codec"));
  EXPECT_THAT(
      std::string(
          Validate({.name = "out.json", .kind = "allreduce"}, 1, SlowCodecs, FourRanks(1e9)).status().message()),
      HasSubstr("no row"));
}

}  // namespace
}  // namespace laconic::tools
