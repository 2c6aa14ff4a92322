#include <gmock/gmock.h>

#include <fstream>
#include <sstream>

#include "examples/train/record.h"
#include "laconic/comm/transport/in_process.h"
#include "tests/base/matchers.h"
#include "tests/examples/temporary_folder.h"

namespace laconic::train {
namespace {

using testing::HasSubstr;
using testing::Not;

RunResult Result(const std::string& spec, double exchange_seconds, double wire_bytes) {
  RunResult result = {.spec = spec, .test = {.accuracy = 0.875}};
  result.totals.exchange_seconds = exchange_seconds;
  result.totals.wire_bytes = wire_bytes;
  result.totals.dense_wire_bytes = 8e6;
  return result;
}

std::string ReadText(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(Table, DenseRun_IsWhatGainsAreMeasuredBy) {
  const std::vector<RunResult> results = {Result("dense", 10, 8e6), Result("sign+ef", 0.5, 0.25e6)};
  const std::string table = FormatTable(results);
  EXPECT_THAT(table, HasSubstr("20.0x"));  // communication
  EXPECT_THAT(table, HasSubstr("32.0x"));  // bytes
  EXPECT_THAT(FormatTable(std::span(results).last(1)), Not(HasSubstr("20.0x")));
}

TEST(Table, Phases_AreListedWithWhatTheySent) {
  RunResult result = Result("sign+ef", 1, 1e6);
  for (const auto& [phase, bytes] :
       {std::pair{"warm-up", 8'000'000}, {"warm-up", 8'000'000}, {"compressed", 250'000}, {"local", 0}}) {
    AddTo(result.phases,
          {.phase = phase, .dense_wire_bytes = 8'000'000, .wire_bytes_sent = static_cast<uint64_t>(bytes)});
  }
  AddTo(result.phases, {.dense_wire_bytes = 8'000'000});  // an optimizer without phases
  const std::string table = FormatTable(std::span(&result, 1));
  EXPECT_THAT(table, HasSubstr("sign+ef, warm-up: 2 steps, 16.000 MB, 1.0x vs dense"));
  EXPECT_THAT(table, HasSubstr("sign+ef, compressed: 1 steps, 0.250 MB, 32.0x vs dense"));
  EXPECT_THAT(table, HasSubstr("sign+ef, local: 1 steps, 0.000 MB, nothing sent"));
  EXPECT_EQ(result.phases.size(), 3u);
}

TEST(Totals, MeanOverRanks_AveragesEveryFigure) {
  std::vector<Totals> means(4);
  ASSERT_THAT(RunInProcess(4,
                           [&](std::unique_ptr<Transport> transport) -> absl::Status {
                             Communicator comm(std::move(transport));
                             Totals own;
                             own.logical_bytes = comm.rank();
                             own.skipped = 2 * comm.rank();
                             const auto mean = MeanOverRanks(comm, own);
                             if (mean.ok()) means[comm.rank()] = *mean;
                             return mean.status();
                           }),
              IsOk());
  for (const Totals& mean : means) {
    EXPECT_EQ(mean.logical_bytes, 1.5);
    EXPECT_EQ(mean.skipped, 3);
  }
}

TEST(Totals, Add_SplitsAStepIntoComputingAndWaiting) {
  Totals totals;
  const StepReport report = {
      .wire_bytes_sent = 7, .encode_seconds = 1, .exchange_seconds = 4, .exposed_seconds = 2, .error_norm = 3};
  totals.Add({.seconds = 10}, report);
  totals.Add({.seconds = 10}, report);
  EXPECT_EQ(totals.compute_seconds, 16);
  EXPECT_EQ(totals.communication_seconds(), 10);
  EXPECT_EQ(totals.wire_bytes, 14);
  EXPECT_EQ(totals.error_norm, 3);  // of the last step
  EXPECT_EQ(totals.steps, 2);
  EXPECT_EQ(HiddenSeconds(report), 3);
}

TEST(Curve, Points_AreMeansOverStepsAndRanksWithoutSkippedOnes) {
  Curve::Points points;
  ASSERT_THAT(RunInProcess(2,
                           [&](std::unique_ptr<Transport> transport) -> absl::Status {
                             Communicator comm(std::move(transport));
                             Curve curve(/*first_step=*/4, /*total_steps=*/7, /*steps_per_point=*/2);
                             const double rank = comm.rank();
                             curve.Add(4, 1 + rank, {.wire_bytes_sent = 10});
                             curve.Add(5, 100, {.skipped = true, .wire_bytes_sent = 1});
                             curve.Add(6, 8, {.wire_bytes_sent = 10});
                             const auto mean = curve.MeanOverRanks(comm);
                             if (mean.ok() && comm.rank() == 0) points = *mean;
                             return mean.status();
                           }),
              IsOk());
  EXPECT_THAT(points.step, testing::ElementsAre(6, 7));
  EXPECT_THAT(points.loss, testing::ElementsAre(1.5, 8));
  EXPECT_THAT(points.wire_bytes, testing::ElementsAre(11, 21));
}

using Metrics = TemporaryFolder;

TEST_F(Metrics, Steps_AreOneJsonObjectALineAndAppendToAResumedRun) {
  for (const bool append : {false, true}) {
    auto metrics = MetricsFile::Open(Path("m.jsonl"), append);
    ASSERT_THAT(metrics, IsOk());
    metrics->Write("sign+ef", {.loss = 0.5}, {.step = append ? 8u : 7u, .dense_wire_bytes = 96, .wire_bytes_sent = 3});
  }
  const std::string text = ReadText(Path("m.jsonl"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
  EXPECT_THAT(text, HasSubstr(R"({"spec":"sign+ef","step":7,"loss":0.5,)"));
  EXPECT_THAT(text, HasSubstr(R"("ratio":32.0)"));
  EXPECT_THAT(text, HasSubstr(R"("step":8)"));
}

TEST_F(Metrics, PathThatCannotBeOpened_IsAnErrorNamingIt) {
  EXPECT_THAT(MetricsFile::Open(folder_ + "/none/m.jsonl", false),
              HasStatus(absl::StatusCode::kUnavailable, HasSubstr("/none/m.jsonl")));
}

TEST_F(Metrics, Json_HoldsEveryRun) {
  const std::vector<RunResult> results = {Result("dense", 10, 8e6), Result("sign+ef", 0.5, 0.25e6)};
  ASSERT_THAT(WriteJson(Path("table.json"), results), IsOk());
  const std::string text = ReadText(Path("table.json"));
  EXPECT_THAT(text, HasSubstr(R"("spec": "sign+ef")"));
  EXPECT_THAT(text, HasSubstr(R"("communication_speed_up": 20.0)"));
}

}  // namespace
}  // namespace laconic::train
