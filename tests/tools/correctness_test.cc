// #wrong must see what is wrong: a test that cannot fail is worthless, and so is such a column.
#include "tools/bench/correctness.h"

#include <algorithm>
#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "laconic/base/status.h"
#include "laconic/comm/transport/in_process.h"
#include "tools/bench/collective.h"

namespace laconic::tools {
namespace {

using ::testing::Each;

// What every rank counts when rank r holds results[r].
std::vector<uint64_t> Counted(const std::vector<std::vector<float>>& results, const std::vector<float>& expected,
                              double tolerance) {
  std::vector<uint64_t> counts(results.size());
  const absl::Status status =
      RunInProcess(static_cast<int>(results.size()), [&](std::unique_ptr<Transport> transport) -> absl::Status {
        Communicator comm(std::move(transport));
        LACONIC_ASSIGN_OR_RETURN(counts[comm.rank()], CountWrong(comm, results[comm.rank()], expected, tolerance));
        return absl::OkStatus();
      });
  EXPECT_TRUE(status.ok()) << status;
  return counts;
}

TEST(CountWrong, RightEverywhere_IsZero) { EXPECT_THAT(Counted({{1, 2, 3}, {1, 2, 3}}, {1, 2, 3}, 0), Each(0u)); }

TEST(CountWrong, OneRankWithAnotherLastBit_CountsItsElement) {
  EXPECT_THAT(Counted({{1, 2, 3}, {1, 2, std::nextafter(3.0f, 4.0f)}}, {}, 0), Each(1u));
}

TEST(CountWrong, AllRanksAlikeButOff_CountsWhatLiesBeyondTheTolerance) {
  EXPECT_THAT(Counted({{1, 2.5f, NAN}, {1, 2.5f, NAN}}, {1, 2, 3}, 0.25), Each(2u));
  EXPECT_THAT(Counted({{1, 2.5f, 3}, {1, 2.5f, 3}}, {1, 2, 3}, 0.5), Each(0u));
}

// The whole command's measurement on a small tensor, with a strategy that has been given a wrong reference: another
// seed.
TEST(FirstDirection, OtherGradients_AreNotWhatTheStrategyGave) {
  const Shape shape({8, 8});
  const Pipeline pipeline = *ParsePipeline("topk(k=4)+ef+gather");
  GradientSlot slot{.shape = shape, .codec = pipeline.codec, .control = ErrorControl({.eta = 1}, shape.elements())};
  Gradients gradients(1, 2, 64), others(2, 2, 64);
  const auto direction = FirstDirection(slot, "gather", 2, 1, gradients);
  const auto other = FirstDirection(slot, "gather", 2, 1, others);
  ASSERT_TRUE(direction.ok() && other.ok());
  EXPECT_NE(**direction, **other);
  // Two ranks keep four entries each, halved in the mean.
  EXPECT_LE(64 - std::count((*direction)->begin(), (*direction)->end(), 0.0f), 8);
  EXPECT_EQ(*FirstDirection(slot, "linear", 2, 1, gradients), std::nullopt);
}

// Every strategy's first step is what the reference says, to the bit or within the derived tolerance.
TEST(RunCollective, EveryStrategy_HasNothingWrong) {
  CollectiveOptions options{.sizes_bytes = {4, 1000, 40000}, .repetitions = 1, .warmup = 0, .rounds = 2};
  options.contenders.push_back(*MakeBaseline(Pattern::kAllreduce, 1));
  for (const char* spec :
       {"sign+ef+scatter", "topk(ratio=0.1)+econtrol+gather", "quantize(bits=4, rounding=stochastic)+none+scatter",
        "lowrank(rank=2)+ef+linear", "randk(ratio=0.1)+ef21-sgdm+linear", "natural+diana+gather",
        "cast(to=fp16)+ef+scatter", "sign+ef+scatter(owners=2)", "topk(ratio=0.1)+ef21+scatter(owners=1)",
        "sign+ef+hierarchical(local=2, across=gather)"}) {
    options.contenders.push_back(
        *MakeContender(Pattern::kAllreduce, {.spec = spec, .pipeline = *ParsePipeline(spec)}, 1));
  }
  std::vector<CollectiveRow> rows;
  std::vector<std::string> skipped;
  const CollectiveSink sink = {.on_memcpy = [](const MemcpyRow&) {},
                               .on_row = [&](const CollectiveRow& row) { rows.push_back(row); },
                               .on_skipped = [&](const SkippedRow& row) { skipped.push_back(row.spec); },
                               .on_progress = [](const std::string&) {}};
  const absl::Status status = RunInProcess(
      3, [&](std::unique_ptr<Transport> transport) { return RunCollective(options, std::move(transport), sink); });
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(rows.size(), 32u);
  EXPECT_THAT(skipped, ::testing::ElementsAre("lowrank(rank=2)+ef+linear"));  // of one element
  for (const CollectiveRow& row : rows) EXPECT_EQ(row.wrong, 0u) << row.spec << " at " << row.size_bytes;
}

}  // namespace
}  // namespace laconic::tools
