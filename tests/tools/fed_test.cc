// What `laconic fed` is asked, and what its runs come to.
#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "nlohmann/json.hpp"
#include "tests/base/matchers.h"
#include "tools/fed/description.h"
#include "tools/fed/experiment.h"
#include "tools/fed/folder.h"
#include "tools/fed/problem.h"
#include "tools/fed/summary.h"

namespace laconic::tools {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

RunDescription Small() {
  RunDescription d;
  d.data = "generate:logistic(features=30, samples=20, test=100)";
  d.clients = 10;
  d.sample = 4;
  d.local_steps = 2;
  d.batch = 4;
  d.rounds = 6;
  d.eval_every = 2;
  return d;
}

const std::vector<Parameter>& Tensors() {
  static const std::vector<Parameter> tensors = {{.name = "fc1.weight", .shape = Shape({2, 30})},
                                                 {.name = "fc1.bias", .shape = Shape({2})}};
  return tensors;
}

TEST(RunDescription, TomlAndJson_ReadBackEqual) {
  RunDescription d = Small();
  d.method = "scallion(alpha=0.1)";
  d.compress = "fc*.weight: quantize(bits=2, block=64, rounding=stochastic); *: identity";
  d.server_optimizer = "sgd(momentum=0.9, nesterov=true)";
  d.data = "csv:a \"quoted\" name.csv,label=last";
  d.lr = 1e-7;
  d.seed = 0xffffffffffffffff;
  const auto toml = ParseDescription(d.ToToml());
  ASSERT_THAT(toml, IsOk());
  EXPECT_EQ(toml->ToToml(), d.ToToml());
  EXPECT_EQ(toml->data, d.data);
  EXPECT_EQ(toml->seed, d.seed);
  const auto json = DescriptionOf(d.ToJson(), "config.json");
  ASSERT_THAT(json, IsOk());
  EXPECT_EQ(json->ToToml(), d.ToToml());
}

TEST(RunDescription, WhatIsNoDescription_IsRefusedWithTheKey) {
  EXPECT_THAT(ParseDescription("cleints = 3"), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("cleints")));
  EXPECT_THAT(ParseDescription("clients = many"), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("clients")));
  EXPECT_THAT(ParseDescription("clients = 5\nsample = 6"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("--sample 6: must be at most --clients 5")));
  nlohmann::ordered_json json = Small().ToJson();
  json["rounds"] = "six";
  EXPECT_THAT(DescriptionOf(json, "x.json"), HasStatus(absl::StatusCode::kInvalidArgument,
                                                       HasSubstr("x.json: rounds is missing or of the wrong type")));
}

TEST(RunDescription, EveryBound_IsNamedWithTheValue) {
  const auto refused = [](void (*spoil)(RunDescription&)) {
    RunDescription d = Small();
    spoil(d);
    return std::string(d.Validate().message());
  };
  EXPECT_THAT(refused([](RunDescription& d) { d.clients = 0; }), HasSubstr("--clients 0: must be in [1, "));
  EXPECT_THAT(refused([](RunDescription& d) { d.local_steps = 0; }), HasSubstr("--local-steps 0: must be in [1, "));
  EXPECT_THAT(refused([](RunDescription& d) { d.batch = 0; }), HasSubstr("--batch 0"));
  EXPECT_THAT(refused([](RunDescription& d) { d.lr = 0; }), HasSubstr("--lr 0: must be a number above 0"));
  EXPECT_THAT(refused([](RunDescription& d) { d.server_lr = std::nan(""); }), HasSubstr("--server-lr nan"));
  EXPECT_THAT(refused([](RunDescription& d) { d.rounds = 0; }), HasSubstr("--rounds 0"));
  EXPECT_THAT(refused([](RunDescription& d) { d.eval_every = 0; }), HasSubstr("--eval-every 0"));
  EXPECT_THAT(refused([](RunDescription& d) { d.split = "shards=0"; }), HasSubstr("--split: shards=0"));
  EXPECT_THAT(refused([](RunDescription& d) { d.normalize = "max"; }), HasSubstr("--normalize: unknown"));
}

TEST(ParseModelSpec, Widths_AreRead) {
  EXPECT_THAT(ParseModelSpec("mlp")->hidden, ElementsAre(128));
  EXPECT_THAT(ParseModelSpec("mlp(hidden=256x64)")->hidden, ElementsAre(256, 64));
  EXPECT_THAT(ParseModelSpec("cnn(channels=8x16, hidden=32)")->channels, ElementsAre(8, 16));
  EXPECT_TRUE(ParseModelSpec("logistic")->start_at_zero);
  EXPECT_FALSE(ParseModelSpec("logistic(start=random)")->start_at_zero);
  for (const char* text : {"mlp(hidden=0)", "mlp(hidden=2x)", "mlp(hidden=x)", "logistic(hidden=3)", "svm"}) {
    EXPECT_THAT(ParseModelSpec(text), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("spec column"))) << text;
  }
}

TEST(PlanRuns, MethodsAndCodecs_EveryPairThatFitsWithEverySeed) {
  const std::string methods[] = {"fedavg", "scallion(alpha=0.1)", "scafcom(beta=0.2)+topk(ratio=0.1)"};
  const std::string codecs[] = {"identity", "topk(ratio=0.2)"};
  const uint64_t seeds[] = {1, 2};
  const auto plan = PlanRuns(Small(), methods, codecs, seeds, Tensors());
  ASSERT_THAT(plan, IsOk());
  // fedavg with both, scallion with identity alone, scafcom with its own: four pairs, two seeds.
  ASSERT_THAT(plan->runs, SizeIs(8));
  EXPECT_EQ(plan->runs[0].id, "01-fedavg-identity-seed1");
  EXPECT_EQ(plan->runs[0].Label(), "fedavg, fp32");
  EXPECT_EQ(plan->runs[1].description.seed, 2u);
  EXPECT_EQ(plan->runs[7].id, "04-scafcom-topk-seed2");
  EXPECT_EQ(plan->runs[7].Label(), "scafcom(beta=0.2) + topk(ratio=0.1)");
  ASSERT_THAT(plan->refused, SizeIs(1));
  EXPECT_THAT(plan->refused[0], AllOf(HasSubstr("scallion(alpha=0.1) + topk(ratio=0.2)"), HasSubstr("unbiased")));
}

TEST(PlanRuns, SamePairTwice_RunsOnceAndSameSeedTwiceIsRefused) {
  const std::string methods[] = {"fedavg", "fedavg + identity"};
  const std::string codecs[] = {"identity", "identity"};
  const uint64_t seeds[] = {3, 1, 3};
  EXPECT_THAT(PlanRuns(Small(), methods, codecs, std::span(seeds).first(2), Tensors())->runs, SizeIs(2));
  EXPECT_THAT(PlanRuns(Small(), methods, codecs, seeds, Tensors()),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("--seeds: 3 is there twice")));
}

TEST(PlanRuns, WhatCannotRun_IsAnError) {
  const auto plan = [](const std::string& method, const std::string& codec) {
    const uint64_t seeds[] = {1};
    return PlanRuns(Small(), std::span(&method, 1), std::span(&codec, 1), seeds, Tensors()).status();
  };
  EXPECT_THAT(plan("scallion(alpha=0.1)+topk(ratio=0.2)", "identity"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("unbiased")));
  EXPECT_THAT(plan("scallion(alpha=0.1)", "topk(ratio=0.2)"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("nothing to run")));
  EXPECT_THAT(plan("fedaverage", "identity"), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("fedaverage")));
  EXPECT_THAT(plan("fedavg", "topkk"), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("topkk")));
  EXPECT_THAT(plan("fedavg(x=1)", "identity"), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("x")));
}

class FedFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "laconic-fed-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    path_ = name;
    config_.name = "a <test>";
    config_.command = "laconic fed run";
    config_.base = Small();
    config_.tensors = Tensors();
    config_.split = {{1, 2}, {3, 4}};
    const std::string methods[] = {"fedavg", "fed-ef+topk(ratio=0.1)"};
    const std::string codecs[] = {"identity"};
    const uint64_t seeds[] = {1, 2};
    config_.runs = PlanRuns(config_.base, methods, codecs, seeds, Tensors())->runs;
  }
  void TearDown() override { std::filesystem::remove_all(path_); }

  // Two evaluations, and the end of the run.
  void Record(FedFolder& folder, size_t run, double accuracy, uint64_t bytes) {
    const std::string& id = config_.runs[run].id;
    ASSERT_THAT(
        folder.Append(
            id, {.round = 2, .test_accuracy = 0.5, .test_loss = 1, .asked = 8, .updates = 8, .uplink_bytes = bytes}),
        IsOk());
    ASSERT_THAT(folder.Append(id, {.round = 6,
                                   .test_accuracy = accuracy,
                                   .test_loss = 0.5,
                                   .asked = 24,
                                   .updates = 24,
                                   .uplink_bytes = 3 * bytes}),
                IsOk());
    ASSERT_THAT(
        folder.Finish(
            config_.runs[run],
            {.rounds = 6, .model_hash = 0xab, .model = std::vector<float>(62), .real_seconds = 2, .real_rounds = 6}),
        IsOk());
  }

  std::string path_;
  FedConfig config_;
};

TEST_F(FedFolderTest, OpenedAgain_SaysTheSame) {
  FedFolder folder = *FedFolder::Create(path_, config_);
  Record(folder, 1, 0.8, 1000);
  EXPECT_THAT(FedFolder::Create(path_, config_), HasStatus(absl::StatusCode::kAlreadyExists, HasSubstr("fed resume")));
  const auto again = FedFolder::Open(path_);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->config().base.ToToml(), config_.base.ToToml());
  EXPECT_EQ(again->config().elements(), 62u);
  EXPECT_EQ(again->config().split, config_.split);
  ASSERT_THAT(again->config().runs, SizeIs(4));
  EXPECT_EQ(again->config().runs[3].description.ToToml(), config_.runs[3].description.ToToml());
  EXPECT_FALSE((*again->Finished(config_.runs[0].id)).has_value());
  EXPECT_EQ((*again->Finished(config_.runs[1].id))->model_hash, 0xabu);
}

TEST_F(FedFolderTest, TruncatedLines_LeaveOtherRunsAlone) {
  FedFolder folder = *FedFolder::Create(path_, config_);
  Record(folder, 0, 0.8, 1000);
  Record(folder, 1, 0.8, 1000);
  std::FILE* file = std::fopen((path_ + "/rounds.jsonl").c_str(), "ab");
  std::fputs("{\"run\":\"01-fed", file);  // what a crash leaves
  std::fclose(file);
  ASSERT_THAT(folder.Truncate(config_.runs[1].id, /*keep=*/true, 2), IsOk());
  EXPECT_THAT(*folder.Evaluations(config_.runs[0].id), SizeIs(2));
  EXPECT_THAT(*folder.Evaluations(config_.runs[1].id), SizeIs(1));
  ASSERT_THAT(folder.Truncate(config_.runs[1].id, /*keep=*/false, 0), IsOk());
  EXPECT_THAT(*folder.Evaluations(config_.runs[1].id), SizeIs(0));
}

TEST_F(FedFolderTest, Summary_MeansOverSeedsAndBytesToTheTargetThatAllReach) {
  FedFolder folder = *FedFolder::Create(path_, config_);
  Record(folder, 0, 0.8, 8 * 248);  // 8 updates of 62 floats: exactly fp32
  Record(folder, 1, 0.9, 8 * 248);
  Record(folder, 2, 0.712, 8 * 31);  // 4 bits a parameter
  Record(folder, 3, 0.712, 8 * 31);
  const auto summary = Summarize(folder);
  ASSERT_THAT(summary, IsOk());
  EXPECT_EQ(summary->target, 0.71);  // 0.712 in steps of 0.005
  ASSERT_THAT(summary->rows, SizeIs(2));
  EXPECT_EQ(summary->rows[0].runs, 2u);
  EXPECT_NEAR(summary->rows[0].accuracy, 0.85, 1e-12);
  EXPECT_NEAR(summary->rows[0].accuracy_deviation, 0.1 / std::sqrt(2.0), 1e-12);
  EXPECT_EQ(summary->rows[0].ratio, 1);
  EXPECT_EQ(summary->rows[0].rounds_per_second, 3);
  EXPECT_EQ(summary->rows[1].bits_per_parameter, 4);
  EXPECT_EQ(summary->rows[1].ratio, 8);
  EXPECT_EQ(summary->rows[1].bytes_to_target, 3.0 * 8 * 31);
  ASSERT_THAT(WriteSummary(folder, *summary), IsOk());
  EXPECT_THAT(SummaryCsv(*summary), HasSubstr("\"fed-ef\",\"topk(ratio=0.1)\",2,0.712,0,"));
  EXPECT_THAT(SummaryTable(*summary), HasSubstr("to 71 %"));
  for (const char* name : {"results.csv", "results.json", "curves.json", "report.html"}) {
    EXPECT_TRUE(std::filesystem::exists(path_ + "/" + name)) << name;
  }
}

TEST(SimulateRun, ThatDiverges_EndsEarlyWithTheReason) {
  RunDescription d = Small();
  d.data = "generate:least-squares(features=30, samples=20, test=100)";
  d.lr = 1e6;
  const auto problem = FederatedProblem::Load(d);
  ASSERT_THAT(problem, IsOk());
  PlannedRun run{.id = "01", .method = "fedavg", .compress = "identity", .description = d};
  const auto outcome = SimulateRun(run, **problem, {.threads = 1}, {}, nullptr, {});
  ASSERT_THAT(outcome, IsOk());
  EXPECT_THAT(outcome->error, HasSubstr("client"));
  EXPECT_LT(outcome->rounds, d.rounds);
}

}  // namespace
}  // namespace laconic::tools
