// adaptive(...) inside a GradientSync: what is planned, when, and what is kept. Equality of replicas, independence of
// threads and resuming are tested with all other specs (gradient_sync_test, resume_test).
#include <limits>

#include "tests/optim/toy_trainer.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::OnRanks;
using testing::ToyTrainer;

GradientSyncOptions SmallBuckets() { return {.seed = 5, .bucket_bytes = 4096, .min_bytes = 256}; }

constexpr size_t kFc1 = 1;  // fc1.weight, 48 x 32

// fc1.weight has eight elements that count, all other tensors are flat: the eight are kept at any ratio.
void FillOneSparseTensor(ToyTrainer& trainer) {
  for (size_t t = 0; t < trainer.parameters.size(); ++t) {
    std::vector<float>& gradient = trainer.gradient(t);
    for (size_t i = 0; i < gradient.size(); ++i) {
      const float flat = 1 + 0.001f * static_cast<float>(i);
      gradient[i] = t != kFc1 ? flat : i % 192 == 0 ? 10.0f : 0.0f;
    }
  }
}

absl::Status Finish(GradientSync& sync, uint64_t step) {
  sync.Begin({.step = step});
  return sync.Finish();
}

TEST(Replan, TensorThatLosesNothing_IsSentAtTheLowestLevelAndTheErrorItSavesIsNobodysLoss) {
  OnRanks(2, [](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(
        auto sync, GradientSync::Create(&comm, trainer.parameters,
                                        "adaptive(family=topk, budget=uniform:0.05, warmup=3, every=100)+none+gather",
                                        SmallBuckets()));
    FillOneSparseTensor(trainer);
    uint64_t uniform_bytes = 0;
    for (uint64_t step = 0; step < 5; ++step) {
      LACONIC_RETURN_IF_ERROR(Finish(*sync, step));
      if (step == 2) {
        EXPECT_THAT(sync->report().plan, HasSubstr("fc1.weight=0.00625"));  // 10 of 1536 elements: all eight
        EXPECT_THAT(sync->Describe(), HasSubstr("plan: " + sync->report().plan));
      } else {
        EXPECT_EQ(sync->report().plan, "");
      }
      if (step == 1) uniform_bytes = sync->report().wire_bytes_sent;
    }
    EXPECT_EQ(sync->direction(TensorId{kFc1})[192], 10);
    // 67 entries of more than 4 bytes fewer to one peer; what else changes costs no more than uniform.
    EXPECT_LT(sync->report().wire_bytes_sent + 67 * 4, uniform_bytes);
    return absl::OkStatus();
  });
}

TEST(Replan, SkippedStep_DoesNotEnterThePlan) {
  OnRanks(2, [](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(
        auto sync,
        GradientSync::Create(&comm, trainer.parameters,
                             "adaptive(family=topk, budget=uniform:0.05, warmup=2, every=2, window=2)+ef+gather",
                             SmallBuckets()));
    for (uint64_t step = 0; step < 2; ++step) {  // both steps of the window are skipped
      FillOneSparseTensor(trainer);
      if (comm.rank() == 1) trainer.gradient(0)[0] = std::numeric_limits<float>::quiet_NaN();
      LACONIC_RETURN_IF_ERROR(Finish(*sync, step));
      EXPECT_TRUE(sync->report().skipped);
    }
    EXPECT_THAT(sync->Describe(), HasSubstr("fc1.weight=0.05"));
    for (uint64_t step = 2; step < 4; ++step) {
      FillOneSparseTensor(trainer);
      LACONIC_RETURN_IF_ERROR(Finish(*sync, step));
    }
    EXPECT_THAT(sync->Describe(), HasSubstr("fc1.weight=0.00625"));
    return absl::OkStatus();
  });
}

TEST(Replan, ErrorsAndShifts_AreCarriedOver) {
  // With error feedback the outputs and what is still owed always add up to the gradients (docs/algorithms.md, section
  // 1): T g = sum of directions + mean error. A plan that dropped an error would show here.
  constexpr int kSteps = 12;
  OnRanks(2, [](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(
        auto sync, GradientSync::Create(&comm, trainer.parameters,
                                        "adaptive(family=topk, budget=uniform:0.05, warmup=3, every=4, window=3)+ef",
                                        SmallBuckets()));
    FillOneSparseTensor(trainer);
    const size_t tensor = 3;  // fc2.weight, 10 x 48, flat
    std::vector<double> sum(480);
    std::string plans;
    for (uint64_t step = 0; step < kSteps; ++step) {
      LACONIC_RETURN_IF_ERROR(Finish(*sync, step));
      plans += sync->report().plan;
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += sync->direction(TensorId{tensor})[i];
    }
    EXPECT_NE(plans, "");
    StateArchive archive;
    StateWriter out(&archive);
    sync->Save(out);
    const auto error = StateReader(&archive).Scope("tensors").Scope("fc2.weight").Scope("control").Floats("error");
    LACONIC_RETURN_IF_ERROR(error.status());
    for (size_t i = 0; i < sum.size(); ++i) {
      // Ranks are alike. Each step rounds the error once: 12 roundings of values below 32.
      EXPECT_NEAR(sum[i] + (*error)[i], kSteps * trainer.gradient(tensor)[i], kSteps * 32 * 0x1p-24);
    }
    return absl::OkStatus();
  });
}

TEST(Replan, MeasuredSpeeds_AreSavedSoThatAResumedRunIsTheUnbrokenOne) {
  const std::string spec =
      "adaptive(family=quantize, budget=uniform:4, objective=time, every=5, warmup=2, window=2)+ef+gather";
  std::vector<StateArchive> half(2);
  std::vector<float> half_weights, whole, resumed;
  OnRanks(2, [&](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(auto sync, GradientSync::Create(&comm, trainer.parameters, spec, SmallBuckets()));
    for (int step = 0; step < 20; ++step) {
      if (step == 10) {
        StateWriter out(&half[comm.rank()]);
        sync->Save(out);
        if (comm.rank() == 0) half_weights = trainer.AllWeights();
      }
      LACONIC_RETURN_IF_ERROR(trainer.Step(*sync, step, 0.1f));
    }
    if (comm.rank() == 0) whole = trainer.AllWeights();
    return absl::OkStatus();
  });
  OnRanks(2, [&](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    trainer.SetWeights(half_weights);
    LACONIC_ASSIGN_OR_RETURN(auto sync, GradientSync::Create(&comm, trainer.parameters, spec, SmallBuckets()));
    const std::vector<StateReader> readers = {StateReader(half.data()), StateReader(&half[1])};
    LACONIC_RETURN_IF_ERROR(sync->Load(readers));
    for (int step = 10; step < 20; ++step) LACONIC_RETURN_IF_ERROR(trainer.Step(*sync, step, 0.1f));
    if (comm.rank() == 0) resumed = trainer.AllWeights();
    return absl::OkStatus();
  });
  EXPECT_EQ(whole, resumed);
}

TEST(Replan, Evolution_LosesNoMoreThanTheUniformSettingAtItsBytes) {
  OnRanks(3, [](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    GradientSyncOptions options = SmallBuckets();
    options.measure_error = true;
    LACONIC_ASSIGN_OR_RETURN(
        auto sync, GradientSync::Create(
                       &comm, trainer.parameters,
                       "adaptive(family=topk, budget=uniform:0.05, objective=evolution, warmup=2, every=100)+none+"
                       "gather",
                       options));
    FillOneSparseTensor(trainer);
    LACONIC_RETURN_IF_ERROR(Finish(*sync, 0));
    const StepReport uniform = sync->report();
    LACONIC_RETURN_IF_ERROR(Finish(*sync, 1));
    LACONIC_RETURN_IF_ERROR(Finish(*sync, 2));
    // The gradient is the same in all steps, so what was measured is what is lost.
    EXPECT_LT(sync->report().relative_error, uniform.relative_error);
    EXPECT_LE(sync->report().wire_bytes_sent, uniform.wire_bytes_sent);
    return absl::OkStatus();
  });
}

TEST(Replan, AlphaAboveOne_SendsFewerBytesThanAlphaOne) {
  std::vector<uint64_t> bytes;
  for (const char* alpha : {"1", "1.3"}) {
    OnRanks(2, [&](Communicator& comm) -> absl::Status {
      ToyTrainer trainer(comm.rank());
      const std::string spec = std::string("adaptive(family=quantize(block=64), budget=uniform:4, warmup=1, alpha=") +
                               alpha + ")+none+gather";
      LACONIC_ASSIGN_OR_RETURN(auto sync, GradientSync::Create(&comm, trainer.parameters, spec, SmallBuckets()));
      for (int step = 0; step < 2; ++step) LACONIC_RETURN_IF_ERROR(trainer.Step(*sync, step, 0));
      if (comm.rank() == 0) bytes.push_back(sync->report().wire_bytes_sent);
      return absl::OkStatus();
    });
  }
  EXPECT_LT(bytes[1], bytes[0]);
}

TEST(Replan, StateOfALevelThatIsNoneOfTheFamily_IsRefused) {
  OnRanks(1, [](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(
        auto sync, GradientSync::Create(&comm, trainer.parameters,
                                        "adaptive(family=topk, budget=uniform:0.05)+ef+gather", SmallBuckets()));
    StateArchive archive;
    StateWriter out(&archive);
    sync->Save(out);
    archive.tensors["plan/0/fc1.weight/level"].bytes[7] = std::byte{1};
    const std::vector<StateReader> readers = {StateReader(&archive)};
    EXPECT_THAT(sync->Load(readers).ToString(), AllOf(HasSubstr("plan/0/fc1.weight/level"), HasSubstr("none of")));
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace laconic
