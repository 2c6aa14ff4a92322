// A DistributedOptimizer of the plain kind is GradientSync and then an Optimizer, bit for bit, whole and resumed.
#include "laconic/optim/distributed_optimizer.h"

#include "tests/base/matchers.h"
#include "tests/optim/toy_trainer.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using testing::OnRanks;
using testing::ToyTrainer;

constexpr char kSpec[] = "topk(ratio=0.05)+econtrol";
GradientSyncOptions SmallBuckets() { return {.seed = 5, .bucket_bytes = 4096, .min_bytes = 256}; }

TEST(SynchronousOptimizer, Steps_AreThoseOfGradientSyncAndOptimizer) {
  for (const std::string optimizer : {"sgd(momentum=0.9)", "adamw(weight_decay=0.1)"}) {
    OnRanks(3, [&](Communicator& comm) -> absl::Status {
      ToyTrainer whole(comm.rank()), apart(comm.rank());
      LACONIC_ASSIGN_OR_RETURN(auto both,
                               DistributedOptimizer::Create(&comm, whole.parameters, optimizer, kSpec, SmallBuckets()));
      LACONIC_ASSIGN_OR_RETURN(auto sync, GradientSync::Create(&comm, apart.parameters, kSpec, SmallBuckets()));
      LACONIC_ASSIGN_OR_RETURN(auto step, MakeOptimizer(optimizer, apart.parameters));
      for (uint64_t t = 0; t < 5; ++t) {
        LACONIC_RETURN_IF_ERROR(whole.Step(*both, t, 0.1));
        const StepContext context = {.step = t, .learning_rate = 0.1};
        sync->Begin(context);
        apart.Backward(t);
        LACONIC_RETURN_IF_ERROR(sync->Finish());
        for (uint32_t i = 0; i < apart.parameters.size(); ++i) {
          step->Step(TensorId{i}, sync->direction(TensorId{i}), context, apart.parameters[i].weights);
        }
      }
      EXPECT_EQ(whole.AllWeights(), apart.AllWeights());
      EXPECT_EQ(both->report().wire_bytes_sent, sync->report().wire_bytes_sent);
      return absl::OkStatus();
    });
  }
}

TEST(SynchronousOptimizer, SkippedStep_MovesNothing) {
  OnRanks(2, [&](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(auto optimizer,
                             DistributedOptimizer::Create(&comm, trainer.parameters, "adamw", kSpec, SmallBuckets()));
    LACONIC_RETURN_IF_ERROR(trainer.Step(*optimizer, 0, 0.1));
    const std::vector<float> before = trainer.AllWeights();
    StateArchive saved_before, saved_after;
    StateWriter writer_before(&saved_before), writer_after(&saved_after);
    optimizer->Save(writer_before);
    optimizer->Begin({.step = 1, .learning_rate = 0.1});
    trainer.Backward(1);
    if (comm.rank() == 1) trainer.gradient(2)[7] = std::numeric_limits<float>::infinity();
    LACONIC_RETURN_IF_ERROR(optimizer->Finish());
    EXPECT_TRUE(optimizer->report().skipped);
    EXPECT_EQ(trainer.AllWeights(), before);
    optimizer->Save(writer_after);
    EXPECT_EQ(SerializeStateArchive(saved_before), SerializeStateArchive(saved_after));
    return absl::OkStatus();
  });
}

TEST(DistributedOptimizer, RanksOfDifferentOptimizers_AllHearOfIt) {
  std::vector<absl::Status> statuses(2);
  OnRanks(2, [&](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    statuses[comm.rank()] =
        DistributedOptimizer::Create(&comm, trainer.parameters, comm.rank() == 0 ? "adamw(beta1=0.8)" : "adamw", kSpec)
            .status();
    return absl::OkStatus();
  });
  EXPECT_THAT(statuses, Each(HasStatus(absl::StatusCode::kFailedPrecondition,
                                       AllOf(HasSubstr("optimizer"), HasSubstr("beta1=0.8"), HasSubstr("beta1=0.9")))));
}

TEST(DistributedOptimizer, WeightsOfAnotherLength_AreRefused) {
  OnRanks(1, [&](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    trainer.parameters[2].weights = trainer.parameters[2].weights.first(47);
    EXPECT_THAT(DistributedOptimizer::Create(&comm, trainer.parameters, "sgd", kSpec).status(),
                HasStatus(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("fc1.bias"), HasSubstr("47"))));
    return absl::OkStatus();
  });
}

TEST(CanonicalOptimizer, WritesDefaultsOut_AndNamesWhatIsKnown) {
  EXPECT_EQ(*CanonicalOptimizer("sgd"), "sgd(momentum=0, nesterov=false, weight_decay=0)");
  EXPECT_THAT(CanonicalOptimizer("adam").status(),
              HasStatus(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("sgd"), HasSubstr("adamw"))));
  for (const OptimizerInfo& info : OptimizerTable()) {
    const absl::StatusOr<std::string> canonical = CanonicalOptimizer(info.name);
    ASSERT_TRUE(canonical.ok()) << canonical.status();
    EXPECT_EQ(*CanonicalOptimizer(*canonical), *canonical);
  }
}

}  // namespace
}  // namespace laconic
