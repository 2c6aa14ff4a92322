// What every DistributedOptimizer promises: equal weights on all ranks, resume bit for bit in each phase and across
// phases, another number of ranks by rule, and skipped steps that leave no trace.
#include "tests/optim/distributed_optimizers.h"

#include <limits>

#include "tests/base/matchers.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::OnRanks;
using testing::OptimizerCase;
using testing::OptimizerCases;
using testing::SmallBuckets;
using testing::ToyTrainer;

constexpr uint64_t kSteps = 24;

// What a run left: one archive and the weights of each rank.
struct Saved {
  std::vector<StateArchive> archives;
  std::vector<std::vector<float>> weights;

  std::vector<StateReader> Readers() const {
    std::vector<StateReader> readers;
    for (const StateArchive& archive : archives) readers.emplace_back(&archive);
    return readers;
  }
};

// Steps [from, to), from a saved run where there is one; then, where asked, what is open is ended.
Saved Train(const OptimizerCase& test, int ranks, uint64_t from, uint64_t to, const Saved* saved = nullptr,
            ReshardRule rule = ReshardRule::kNone, bool synchronize = false) {
  Saved run{std::vector<StateArchive>(ranks), std::vector<std::vector<float>>(ranks)};
  OnRanks(ranks, [&](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(auto optimizer, DistributedOptimizer::Create(&comm, trainer.parameters, test.optimizer,
                                                                          test.spec, SmallBuckets()));
    if (saved != nullptr) LACONIC_RETURN_IF_ERROR(optimizer->Load(saved->Readers(), rule));
    for (uint64_t t = from; t < to; ++t) LACONIC_RETURN_IF_ERROR(trainer.Step(*optimizer, t, 0.01));
    if (synchronize) LACONIC_RETURN_IF_ERROR(optimizer->Synchronize());
    StateWriter writer(&run.archives[comm.rank()]);
    optimizer->Save(writer);
    run.weights[comm.rank()] = trainer.AllWeights();
    return absl::OkStatus();
  });
  return run;
}

class EveryOptimizer : public ::testing::TestWithParam<OptimizerCase> {};

TEST_P(EveryOptimizer, WeightsAfterSynchronize_AreEqualOnAllRanks) {
  const Saved run = Train(GetParam(), 3, 0, kSteps, nullptr, ReshardRule::kNone, /*synchronize=*/true);
  EXPECT_EQ(run.weights[0], run.weights[1]);
  EXPECT_EQ(run.weights[0], run.weights[2]);
}

TEST_P(EveryOptimizer, SaveAndLoad_InEachPhaseAndAcross_GivesTheBitsOfTheUnbrokenRun) {
  const Saved whole = Train(GetParam(), 4, 0, kSteps);
  for (const uint64_t boundary : GetParam().boundaries) {
    for (const uint64_t at : {boundary, boundary + 1, boundary + 3}) {  // at a phase's first step, and inside it
      const Saved half = Train(GetParam(), 4, 0, at);
      const Saved resumed = Train(GetParam(), 4, at, kSteps, &half);
      for (int rank = 0; rank < 4; ++rank) {
        ASSERT_EQ(SerializeStateArchive(whole.archives[rank]), SerializeStateArchive(resumed.archives[rank]))
            << "rank " << rank << ", resumed after step " << at;
      }
    }
  }
}

TEST_P(EveryOptimizer, Load_OnTwoRanksFromFour_NeedsARuleAndTrainsOn) {
  for (const uint64_t at : {uint64_t{5}, kSteps - 1}) {
    const Saved saved = Train(GetParam(), 4, 0, at);
    OnRanks(2, [&](Communicator& comm) -> absl::Status {
      ToyTrainer trainer(comm.rank());
      LACONIC_ASSIGN_OR_RETURN(
          auto optimizer, DistributedOptimizer::Create(&comm, trainer.parameters, GetParam().optimizer, GetParam().spec,
                                                       SmallBuckets()));
      EXPECT_THAT(optimizer->Load(saved.Readers()),
                  HasStatus(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("4 ranks"), HasSubstr("on 2"))));
      return absl::OkStatus();
    });
    for (const ReshardRule rule : {ReshardRule::kMean, ReshardRule::kReset}) {
      const Saved resumed = Train(GetParam(), 2, at, at + 6, &saved, rule, /*synchronize=*/true);
      EXPECT_EQ(resumed.weights[0], resumed.weights[1]);
      for (const float w : resumed.weights[0]) ASSERT_TRUE(std::isfinite(w));
      EXPECT_NE(resumed.weights[0], saved.weights[0]);
    }
  }
}

// In every phase; where ranks step alone, only the rank whose gradient it is leaves its step out.
TEST_P(EveryOptimizer, StepWithAGradientThatIsNoNumber_LeavesNoTrace) {
  OnRanks(3, [&](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(
        auto optimizer,
        DistributedOptimizer::Create(&comm, trainer.parameters, GetParam().optimizer, GetParam().spec, SmallBuckets()));
    for (uint64_t t = 0; t < 2 * kSteps; ++t) {
      if (t % 2 == 0) {
        LACONIC_RETURN_IF_ERROR(trainer.Step(*optimizer, t, 0.01));
        continue;
      }
      const std::vector<float> weights = trainer.AllWeights();
      StateArchive before, after;
      StateWriter write_before(&before), write_after(&after);
      optimizer->Save(write_before);
      optimizer->Begin({.step = t, .learning_rate = 0.01});
      trainer.Backward(t);
      if (comm.rank() == 1) trainer.gradient(1)[7] = std::numeric_limits<float>::infinity();
      LACONIC_RETURN_IF_ERROR(optimizer->Finish());
      optimizer->Save(write_after);
      if (optimizer->report().phase == "local") {
        EXPECT_EQ(optimizer->report().skipped, comm.rank() == 1);
        EXPECT_EQ(trainer.AllWeights() == weights, comm.rank() == 1);
        continue;
      }
      EXPECT_TRUE(optimizer->report().skipped) << "step " << t;
      EXPECT_THAT(optimizer->report().skip_reason, AllOf(HasSubstr("fc1.weight"), HasSubstr("rank 1")));
      EXPECT_EQ(trainer.AllWeights(), weights);
      EXPECT_EQ(SerializeStateArchive(before), SerializeStateArchive(after)) << "step " << t;
    }
    return absl::OkStatus();
  });
}

// An infinity that is zeroed is a gradient with a zero there.
TEST_P(EveryOptimizer, NonFiniteElementsZeroed_AreZerosAndCounted) {
  GradientSyncOptions options = SmallBuckets();
  options.non_finite = NonFinitePolicy::kZero;
  OnRanks(2, [&](Communicator& comm) -> absl::Status {
    ToyTrainer spoiled(comm.rank()), zeroed(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(auto first, DistributedOptimizer::Create(&comm, spoiled.parameters, GetParam().optimizer,
                                                                      GetParam().spec, options));
    LACONIC_ASSIGN_OR_RETURN(auto second, DistributedOptimizer::Create(&comm, zeroed.parameters, GetParam().optimizer,
                                                                       GetParam().spec, options));
    for (uint64_t t = 0; t < kSteps; ++t) {
      for (auto [trainer, optimizer, value] :
           {std::tuple{&spoiled, first.get(), std::numeric_limits<float>::quiet_NaN()},
            {&zeroed, second.get(), 0.0f}}) {
        optimizer->Begin({.step = t, .learning_rate = 0.01});
        trainer->Backward(t);
        trainer->gradient(1)[7] = value;
        LACONIC_RETURN_IF_ERROR(optimizer->Finish());
      }
      EXPECT_EQ(first->report().zeroed_elements, 1u);
      EXPECT_EQ(second->report().zeroed_elements, 0u);
      EXPECT_EQ(spoiled.AllWeights(), zeroed.AllWeights());
    }
    return absl::OkStatus();
  });
}

INSTANTIATE_TEST_SUITE_P(All, EveryOptimizer, ::testing::ValuesIn(OptimizerCases()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace laconic
