#include "laconic/optim/gradient_sync.h"

#include <cmath>
#include <cstring>

#include "laconic/compressors/codec_registry.h"
#include "tests/optim/toy_trainer.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::AdaptiveSpecs;
using testing::OnRanks;
using testing::Specs;
using testing::ToyTrainer;

// Options under which the toy's small tensors are compressed and travel in several buckets.
GradientSyncOptions SmallBuckets() { return {.seed = 5, .bucket_bytes = 4096, .min_bytes = 256}; }

// Weights after `steps` on every rank.
std::vector<std::vector<float>> Train(int ranks, const std::string& spec, int steps,
                                      GradientSyncOptions options = SmallBuckets()) {
  std::vector<std::vector<float>> weights(ranks);
  OnRanks(ranks, [&](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(auto sync, GradientSync::Create(&comm, trainer.parameters, spec, options));
    for (int step = 0; step < steps; ++step) LACONIC_RETURN_IF_ERROR(trainer.Step(*sync, step, 0.1f));
    weights[comm.rank()] = trainer.AllWeights();
    return absl::OkStatus();
  });
  return weights;
}

class EverySpec : public ::testing::TestWithParam<std::string> {};

TEST_P(EverySpec, Training_OnFourRanks_KeepsReplicasEqualBitForBit) {
  const auto weights = Train(4, GetParam(), 30);
  for (const auto& other : weights) EXPECT_EQ(std::memcmp(other.data(), weights[0].data(), other.size() * 4), 0);
}

TEST_P(EverySpec, Training_AgainOrWithTwoThreadsOrWithoutOverlap_GivesTheSameBits) {
  const auto first = Train(4, GetParam(), 10);
  EXPECT_EQ(first, Train(4, GetParam(), 10));
  GradientSyncOptions threads = SmallBuckets(), inline_comm = SmallBuckets();
  threads.encode_threads = 2;
  inline_comm.overlap = false;
  EXPECT_EQ(first, Train(4, GetParam(), 10, threads));
  EXPECT_EQ(first, Train(4, GetParam(), 10, inline_comm));
}

TEST_P(EverySpec, Training_ReachesTheNeighbourhoodOfTheMeanTarget) {
  const auto weights = Train(2, GetParam(), 400);
  ToyTrainer reference(0, 0);  // targets of rank 0; rank 1's are 0.5 higher, so the mean's are 0.25 higher
  reference.SetWeights(weights[0]);
  reference.Backward(0);
  double error2 = 0, start2 = 0;
  for (size_t t = 0; t < reference.parameters.size(); ++t) {
    for (float g : reference.gradient(t)) error2 += (g - 0.25) * (g - 0.25), start2 += 1;
  }
  // The targets are spread over [0, 1] + 0.25; noise and compression leave a few per cent.
  EXPECT_LT(std::sqrt(error2 / start2), 0.15);
}

INSTANTIATE_TEST_SUITE_P(All, EverySpec, ::testing::ValuesIn(Specs()), [](const auto& info) {
  std::string name = info.param;
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
});

INSTANTIATE_TEST_SUITE_P(Adaptive, EverySpec, ::testing::ValuesIn(AdaptiveSpecs()),
                         [](const auto& info) { return "spec" + std::to_string(info.index); });

TEST(GradientSync, Dense_Direction_IsTheMeanGradient) {
  OnRanks(4, [](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank(), 0);
    LACONIC_ASSIGN_OR_RETURN(auto sync, GradientSync::Create(&comm, trainer.parameters, "dense"));
    sync->Begin({.step = 0});
    trainer.Backward(0);
    const std::vector<float> own = trainer.gradient(1);
    LACONIC_RETURN_IF_ERROR(sync->Finish());
    // Ranks 0..3 differ by 0.5 each: the mean lies 0.75 below rank 0's gradient, whatever the element.
    EXPECT_NEAR(sync->direction(TensorId{1})[0], own[0] + 0.5f * comm.rank() - 0.75f, 1e-6);
    return absl::OkStatus();
  });
}

TEST(GradientSync, Report_CountsWhatATopKGatherSends) {
  OnRanks(4, [](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(
        auto sync, GradientSync::Create(&comm, trainer.parameters, "topk(ratio=0.05)+ef+gather", SmallBuckets()));
    LACONIC_RETURN_IF_ERROR(trainer.Step(*sync, 0, 0.1f));
    const StepReport& report = sync->report();
    const uint64_t elements = 8 * 36 + 48 * 32 + 48 + 480;
    EXPECT_EQ(report.logical_bytes, 4 * elements);
    EXPECT_EQ(report.dense_wire_bytes, 4 * elements * 2 * 3 / 4);
    // 5 % of 2304 elements, 4 bytes of value and about 6 bits of index each, to three peers; the rest is headers and
    // frames.
    EXPECT_GT(report.wire_bytes_sent, 3 * 115 * 4);
    EXPECT_LT(report.wire_bytes_sent, 3 * (115 * 5 + 4 * 48 + 3 * 64 + 4 * 48 + 100));
    EXPECT_GT(report.wire_bytes_received, 3 * 115 * 4);  // as much comes from the three peers
    return absl::OkStatus();
  });
}

TEST(GradientSync, MeasureError_GivesRelativeErrorAndErrorNorm) {
  OnRanks(2, [](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    GradientSyncOptions options = SmallBuckets();
    options.measure_error = true;
    LACONIC_ASSIGN_OR_RETURN(auto sync,
                             GradientSync::Create(&comm, trainer.parameters, "topk(ratio=0.05)+ef+gather", options));
    LACONIC_RETURN_IF_ERROR(trainer.Step(*sync, 0, 0.1f));
    EXPECT_GT(sync->report().relative_error, 0.5);
    EXPECT_LT(sync->report().relative_error, 1.0);
    EXPECT_GT(sync->report().error_norm, 0);
    return absl::OkStatus();
  });
}

// --- agreement

absl::Status CreateWith(
    const std::function<void(int rank, ToyTrainer&, std::string& spec, GradientSyncOptions&)>& change) {
  return RunInProcess(3, [&](std::unique_ptr<Transport> transport) -> absl::Status {
    Communicator comm(std::move(transport), {.timeout = absl::Seconds(20)});
    ToyTrainer trainer(comm.rank());
    std::string spec = "topk(ratio=0.05)+ef+gather";
    GradientSyncOptions options = SmallBuckets();
    change(comm.rank(), trainer, spec, options);
    return GradientSync::Create(&comm, trainer.parameters, spec, options).status();
  });
}

TEST(Handshake, ShapeMismatch_NamesTensorRankAndBothShapes) {
  const absl::Status status = CreateWith([](int rank, ToyTrainer& trainer, std::string&, GradientSyncOptions&) {
    if (rank == 2) trainer.parameters[1].shape = Shape({32, 48});
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("shape of tensor fc1.weight"), HasSubstr("\"[48, 32]\" on rank 0"),
                    HasSubstr("\"[32, 48]\" on rank 2")));
}

TEST(Handshake, SpecMismatch_NamesRankAndBothSpecs) {
  const absl::Status status = CreateWith([](int rank, ToyTrainer&, std::string& spec, GradientSyncOptions&) {
    if (rank == 1) spec = "sign+ef+gather";
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("topk"), HasSubstr("sign"), HasSubstr("on rank 1")));
}

TEST(Handshake, SeedMismatch_IsFound) {
  const absl::Status status =
      CreateWith([](int rank, ToyTrainer&, std::string&, GradientSyncOptions& options) { options.seed = rank; });
  EXPECT_THAT(std::string(status.message()), HasSubstr("seed"));
}

TEST(Handshake, DifferentWeights_NameTheTensor) {
  const absl::Status status = CreateWith([](int rank, ToyTrainer& trainer, std::string&, GradientSyncOptions&) {
    if (rank == 1) trainer.parameters[3].weights[7] = 1e-30f;
  });
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("weights of tensor fc2.weight"), HasSubstr("rank 1")));
}

// --- bad input

absl::Status CreateAlone(
    const std::string& spec, const std::function<void(ToyTrainer&)>& change = [](ToyTrainer&) {}) {
  return RunInProcess(1, [&](std::unique_ptr<Transport> transport) -> absl::Status {
    Communicator comm(std::move(transport));
    ToyTrainer trainer(0);
    change(trainer);
    return GradientSync::Create(&comm, trainer.parameters, spec, SmallBuckets()).status();
  });
}

TEST(Create, BadSpec_NamesTheColumn) { EXPECT_THAT(CreateAlone("topk(ratio=2)").ToString(), HasSubstr("column")); }

TEST(Create, TensorWithoutRule_IsNamed) {
  EXPECT_THAT(CreateAlone("fc*: sign+ef").ToString(), AllOf(HasSubstr("conv.weight"), HasSubstr("*: dense")));
}

TEST(Create, IllegalPair_IsRefusedWithTheReason) {
  EXPECT_THAT(CreateAlone("topk(ratio=0.05)+diana").ToString(), HasSubstr("unbiased"));
}

TEST(Create, TwoTensorsOfOneName_IsRefused) {
  EXPECT_THAT(CreateAlone("dense", [](ToyTrainer& t) { t.parameters[2].name = "fc1.weight"; }).ToString(),
              HasSubstr("two parameters are named fc1.weight"));
}

TEST(Create, GradientOfAnotherLength_IsRefused) {
  EXPECT_THAT(CreateAlone("dense", [](ToyTrainer& t) { t.parameters[2].gradient = t.parameters[2].gradient.first(47); })
                  .ToString(),
              AllOf(HasSubstr("fc1.bias"), HasSubstr("47"), HasSubstr("48")));
}

TEST(Create, SmallTensorsAndVectorsUnderLowRank_GoDense) {
  OnRanks(1, [](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(0);
    LACONIC_ASSIGN_OR_RETURN(
        auto sync, GradientSync::Create(&comm, trainer.parameters, "lowrank(rank=2)+ef+linear", SmallBuckets()));
    EXPECT_THAT(sync->Describe(), HasSubstr("identity by dense: fc1.bias[48]"));
    EXPECT_THAT(sync->Describe(), HasSubstr("by linear"));
    return absl::OkStatus();
  });
}

// --- non-finite values

TEST(NonFinite, Skip_AllRanksSkipAndStateIsAsBefore) {
  for (const std::string& spec : Specs()) {
    std::vector<float> disturbed, undisturbed;
    for (bool disturb : {false, true}) {
      OnRanks(4, [&](Communicator& comm) -> absl::Status {
        ToyTrainer trainer(comm.rank());
        LACONIC_ASSIGN_OR_RETURN(auto sync, GradientSync::Create(&comm, trainer.parameters, spec, SmallBuckets()));
        for (uint64_t step = 0; step < 5; ++step) LACONIC_RETURN_IF_ERROR(trainer.Step(*sync, step, 0.1f));
        if (disturb) {
          sync->Begin({.step = 5, .learning_rate = 0.1});
          trainer.Backward(5);
          if (comm.rank() == 3) trainer.gradient(0)[17] = INFINITY;
          LACONIC_RETURN_IF_ERROR(sync->Finish());
          EXPECT_TRUE(sync->report().skipped);
          EXPECT_THAT(sync->report().skip_reason,
                      AllOf(HasSubstr("conv.weight"), HasSubstr("rank 3"), HasSubstr("inf"), HasSubstr("17")));
          for (float d : sync->direction(TensorId{1})) EXPECT_EQ(d, 0);
        }
        for (uint64_t step = 5; step < 10; ++step) LACONIC_RETURN_IF_ERROR(trainer.Step(*sync, step, 0.1f));
        EXPECT_FALSE(sync->report().skipped);
        if (comm.rank() == 0) (disturb ? disturbed : undisturbed) = trainer.AllWeights();
        return absl::OkStatus();
      });
    }
    EXPECT_EQ(disturbed, undisturbed) << spec;
  }
}

TEST(NonFinite, Fail_AllRanksGetTheErrorAndMayGoOn) {
  OnRanks(3, [](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    GradientSyncOptions options = SmallBuckets();
    options.non_finite = NonFinitePolicy::kFail;
    LACONIC_ASSIGN_OR_RETURN(auto sync, GradientSync::Create(&comm, trainer.parameters, "sign+ef+scatter", options));
    sync->Begin({.step = 0});
    trainer.Backward(0);
    if (comm.rank() == 1) trainer.gradient(1)[3] = NAN;
    const absl::Status status = sync->Finish();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("fc1.weight"), HasSubstr("rank 1"), HasSubstr("nan"), HasSubstr("index 3")));
    return trainer.Step(*sync, 1, 0.1f);
  });
}

TEST(NonFinite, Zero_CountsAndReplaces) {
  OnRanks(2, [](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank(), 0);
    GradientSyncOptions options = SmallBuckets();
    options.non_finite = NonFinitePolicy::kZero;
    LACONIC_ASSIGN_OR_RETURN(auto sync, GradientSync::Create(&comm, trainer.parameters, "dense", options));
    sync->Begin({.step = 0});
    trainer.Backward(0);
    trainer.gradient(2)[0] = 4;
    if (comm.rank() == 1) trainer.gradient(2)[0] = NAN;
    LACONIC_RETURN_IF_ERROR(sync->Finish());
    EXPECT_EQ(sync->report().zeroed_elements, comm.rank() == 1 ? 1u : 0u);
    EXPECT_EQ(sync->direction(TensorId{2})[0], 2);  // (4 + 0) / 2
    return absl::OkStatus();
  });
}

// --- options

TEST(Clip, LargeGradients_AreScaledToTheBoundOnAllRanksAlike) {
  OnRanks(2, [](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank(), 0);
    GradientSyncOptions options = SmallBuckets();
    options.clip_norm = 0.5;
    LACONIC_ASSIGN_OR_RETURN(auto sync, GradientSync::Create(&comm, trainer.parameters, "dense", options));
    sync->Begin({.step = 0});
    for (auto tensor : {0, 1, 2, 3}) std::fill(trainer.gradient(tensor).begin(), trainer.gradient(tensor).end(), 0.0f);
    trainer.gradient(1)[0] =
        comm.rank() == 0 ? 3.0f : 4.0f;  // r = sqrt((9 + 16) / 2) = 5 / sqrt(2); factor = 0.1 sqrt(2)
    for (uint32_t t : {3, 2, 1, 0}) sync->MarkReady(TensorId{t});
    LACONIC_RETURN_IF_ERROR(sync->Finish());
    EXPECT_NEAR(sync->direction(TensorId{1})[0], 3.5 * 0.1 * std::sqrt(2.0), 1e-6);
    return absl::OkStatus();
  });
}

TEST(Clip, SmallGradients_AreLeftAlone) {
  OnRanks(2, [](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank(), 0);
    GradientSyncOptions options = SmallBuckets();
    options.clip_norm = 1e6;
    LACONIC_ASSIGN_OR_RETURN(auto sync, GradientSync::Create(&comm, trainer.parameters, "dense", options));
    sync->Begin({.step = 0});
    trainer.Backward(0);
    const std::vector<float> before = trainer.gradient(1);
    LACONIC_RETURN_IF_ERROR(sync->Finish());
    EXPECT_EQ(before, trainer.gradient(1));
    return absl::OkStatus();
  });
}

TEST(DenseWarmup, FirstSteps_AreExactThenCompressed) {
  OnRanks(2, [](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    GradientSyncOptions options = SmallBuckets();
    options.dense_warmup_steps = 2;
    LACONIC_ASSIGN_OR_RETURN(auto sync,
                             GradientSync::Create(&comm, trainer.parameters, "topk(ratio=0.05)+ef+gather", options));
    for (uint64_t step = 0; step < 2; ++step) {
      LACONIC_RETURN_IF_ERROR(trainer.Step(*sync, step, 0.1f));
      EXPECT_GT(sync->report().wire_bytes_sent, sync->report().dense_wire_bytes);
    }
    LACONIC_RETURN_IF_ERROR(trainer.Step(*sync, 2, 0.1f));
    EXPECT_LT(sync->report().wire_bytes_sent, sync->report().dense_wire_bytes / 3);
    return absl::OkStatus();
  });
}

// EF21 whose shifts start at the gradients of a dense first step: the next one, on the same gradients, has nothing to
// say.
TEST(DenseStart, ShiftsAreTheFirstGradients) {
  for (const char* strategy : {"gather", "scatter", "scatter(owners=1, down=topk(k=3), reply=direction)"}) {
    OnRanks(2, [&](Communicator& comm) -> absl::Status {
      std::vector<float> weights(3),
          gradient = comm.rank() == 0 ? std::vector<float>{8, 2, 0} : std::vector<float>{0, 2, -6};
      const std::vector<Parameter> parameters = {
          {.name = "w", .shape = Shape::Flat(3), .weights = weights, .gradient = gradient}};
      LACONIC_ASSIGN_OR_RETURN(
          auto sync, GradientSync::Create(&comm, parameters, "topk(k=1)+ef21(init=dense)+" + std::string(strategy),
                                          {.min_bytes = 0}));
      for (uint64_t step = 0; step < 3; ++step) {
        sync->Begin({.step = step});
        LACONIC_RETURN_IF_ERROR(sync->Finish());
        EXPECT_THAT(sync->direction(TensorId{0}), ::testing::ElementsAre(4, 2, -3)) << strategy << " step " << step;
      }
      return absl::OkStatus();
    });
  }
}

TEST(Create, RescaledErrorsOfRanksThatComeAndGo_AreRefused) {
  const absl::Status status = RunInProcess(2, [](std::unique_ptr<Transport> transport) {
    Communicator comm(std::move(transport), {.timeout = absl::Seconds(20)});
    ToyTrainer trainer(comm.rank());
    return GradientSync::Create(&comm, trainer.parameters, "topk(ratio=0.1)+ef(participation=0.5)+gather",
                                {.min_bytes = 0, .rescale_error = true})
        .status();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("rescale_error"));
}

TEST(RescaleError, LearningRateChange_RescalesTheErrorSoThatTheVirtualIterateIsExact) {
  // One rank, two elements, top-1: step 0 at rate 1 sends (8, 0) and owes 4 in element 1. At rate 0.5 the error counts
  // double, 8, so that 0.5 * 8 moves the weight by the 4 that were owed at rate 1.
  OnRanks(1, [](Communicator& comm) -> absl::Status {
    std::vector<float> weights(2), gradient = {8, 4};
    const std::vector<Parameter> parameters = {
        {.name = "w", .shape = Shape::Flat(2), .weights = weights, .gradient = gradient}};
    LACONIC_ASSIGN_OR_RETURN(auto sync, GradientSync::Create(&comm, parameters, "topk(k=1)+ef+gather",
                                                             {.min_bytes = 0, .rescale_error = true}));
    sync->Begin({.step = 0, .learning_rate = 1});
    LACONIC_RETURN_IF_ERROR(sync->Finish());
    EXPECT_THAT(std::vector<float>(sync->direction(TensorId{0}).begin(), sync->direction(TensorId{0}).end()),
                ::testing::ElementsAre(8, 0));
    gradient = {0, 0};
    sync->Begin({.step = 1, .learning_rate = 0.5});
    LACONIC_RETURN_IF_ERROR(sync->Finish());
    EXPECT_THAT(std::vector<float>(sync->direction(TensorId{0}).begin(), sync->direction(TensorId{0}).end()),
                ::testing::ElementsAre(0, 8));
    return absl::OkStatus();
  });
}

TEST(Registry, UsersOwnCodec_WorksThroughTheWholePath) {
  CodecRegistry registry = CodecRegistry::BuiltIn();
  CodecInfo info = *registry.Find("topk");
  info.name = "half-topk";
  info.id = CodecId::kFirstUserCodec;
  info.create = [](const SpecCall&, const CodecRegistry&) {
    return CodecRegistry::BuiltIn().Create("topk(ratio=0.5)");
  };
  ASSERT_TRUE(registry.Add(info).ok());
  OnRanks(2, [&](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    GradientSyncOptions options = SmallBuckets();
    options.registry = &registry;
    LACONIC_ASSIGN_OR_RETURN(auto sync,
                             GradientSync::Create(&comm, trainer.parameters, "half-topk+ef+gather", options));
    return trainer.Step(*sync, 0, 0.1f);
  });
}

TEST(GradientSync, PeerGone_EveryRankReturnsAnError) {
  std::vector<absl::Status> statuses(3);
  RunInProcess(3, [&](std::unique_ptr<Transport> transport) -> absl::Status {
    const int rank = transport->rank();
    Communicator comm(std::move(transport), {.timeout = absl::Seconds(20)});
    ToyTrainer trainer(rank);
    absl::StatusOr<std::unique_ptr<GradientSync>> sync =
        GradientSync::Create(&comm, trainer.parameters, "sign+ef+scatter", SmallBuckets());
    if (!sync.ok()) return sync.status();
    LACONIC_RETURN_IF_ERROR(trainer.Step(**sync, 0, 0.1f));
    if (rank == 1) return absl::OkStatus();  // leaves without a word
    statuses[rank] = trainer.Step(**sync, 1, 0.1f);
    EXPECT_FALSE(trainer.Step(**sync, 2, 0.1f).ok());  // poisoned: at once
    return absl::OkStatus();
  }).IgnoreError();
  EXPECT_EQ(statuses[0].code(), absl::StatusCode::kUnavailable) << statuses[0];
  EXPECT_EQ(statuses[2].code(), absl::StatusCode::kUnavailable) << statuses[2];
}

}  // namespace
}  // namespace laconic
