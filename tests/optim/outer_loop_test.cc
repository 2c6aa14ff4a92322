// Local SGD, DiLoCo and SparseLoCo: rounds by hand, ranks equal after each, resumed bit for bit inside one.
#include <cmath>
#include <limits>

#include "laconic/optim/distributed_optimizer.h"
#include "tests/base/matchers.h"
#include "tests/optim/toy_trainer.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::FloatEq;
using ::testing::HasSubstr;
using testing::OnRanks;
using testing::ToyTrainer;

GradientSyncOptions SmallTensors() { return {.seed = 5, .bucket_bytes = 4096, .min_bytes = 256}; }

// One weight. Rank r pulls it towards target r; with sgd and learning rate 1/2 it goes half of the way in each step.
struct OneWeight {
  explicit OneWeight(float target) : target(target) {}
  absl::Status Step(DistributedOptimizer& optimizer, uint64_t step) {
    optimizer.Begin({.step = step, .learning_rate = 0.5});
    gradient[0] = weight[0] - target;
    return optimizer.Finish();
  }
  float target;
  std::vector<float> weight = {0}, gradient = {0};
  std::vector<Parameter> parameters = {{"w", Shape({1}), weight, gradient}};
};

// The weight of each rank after each of `steps`, targets 0 and 8.
std::vector<std::vector<float>> Trajectory(const std::string& optimizer, int steps) {
  std::vector<std::vector<float>> seen(2);
  OnRanks(2, [&](Communicator& comm) -> absl::Status {
    OneWeight model(8.0f * static_cast<float>(comm.rank()));
    LACONIC_ASSIGN_OR_RETURN(auto loop, DistributedOptimizer::Create(&comm, model.parameters, optimizer, "dense"));
    for (int t = 0; t < steps; ++t) {
      LACONIC_RETURN_IF_ERROR(model.Step(*loop, t));
      seen[comm.rank()].push_back(model.weight[0]);
    }
    return absl::OkStatus();
  });
  return seen;
}

TEST(LocalSgd, Exchange_LeavesTheMeanOfTheModels) {
  // Alone 0, 0 and 4, 6; the mean is 3. From there 1.5, 0.75 and 5.5, 6.75; the mean is 3.75.
  EXPECT_THAT(Trajectory("local-sgd(steps=2)", 4),
              ElementsAre(ElementsAre(0, 3, 1.5, 3.75), ElementsAre(4, 3, 5.5, 3.75)));
}

TEST(DiLoCo, Exchange_IsNesterovAlongTheMeanOfWhatTheModelsWent) {
  // Round 1: D = -(0 + 4)/2 = -2, v = -2, a = 0 - 1/2 (-2 - 1/2 * 2) = 1.5.
  // Round 2: alone 0.75 and 4.75, D = 1.5 - 2.75 = -1.25, v = -1 - 1.25 = -2.25, a = 1.5 + 1/2 (1.25 + 1.125) = 2.6875.
  const std::string optimizer = "diloco(inner=sgd, steps=1, outer_lr=0.5, momentum=0.5)";
  EXPECT_THAT(Trajectory(optimizer, 2), ElementsAre(ElementsAre(1.5, 2.6875), ElementsAre(1.5, 2.6875)));
}

TEST(OuterLoop, StepsBetweenExchanges_SendNothing) {
  OnRanks(2, [&](Communicator& comm) -> absl::Status {
    OneWeight model(1);
    LACONIC_ASSIGN_OR_RETURN(auto loop,
                             DistributedOptimizer::Create(&comm, model.parameters, "local-sgd(steps=3)", "dense"));
    for (int t = 0; t < 6; ++t) {
      LACONIC_RETURN_IF_ERROR(model.Step(*loop, t));
      const bool exchanges = t % 3 == 2;
      EXPECT_EQ(loop->report().phase, exchanges ? "exchange" : "local");
      EXPECT_EQ(loop->report().wire_bytes_sent > 0, exchanges);
      EXPECT_EQ(loop->report().step, t);
      EXPECT_EQ(loop->report().logical_bytes, 4);
    }
    return absl::OkStatus();
  });
}

TEST(OuterLoop, Synchronize_EndsTheRoundEarly) {
  OnRanks(2, [&](Communicator& comm) -> absl::Status {
    OneWeight model(8.0f * static_cast<float>(comm.rank()));
    LACONIC_ASSIGN_OR_RETURN(auto loop,
                             DistributedOptimizer::Create(&comm, model.parameters, "local-sgd(steps=9)", "dense"));
    LACONIC_RETURN_IF_ERROR(model.Step(*loop, 0));
    LACONIC_RETURN_IF_ERROR(loop->Synchronize());
    EXPECT_EQ(model.weight[0], 2);
    LACONIC_RETURN_IF_ERROR(loop->Synchronize());  // nothing is due
    EXPECT_EQ(model.weight[0], 2);
    return absl::OkStatus();
  });
}

const char* const kLoops[][2] = {
    {"local-sgd(steps=4)", "topk(ratio=0.05)+econtrol"},
    {"diloco(steps=4, inner=adamw(weight_decay=0.1))", "quantize(bits=4)+ef+scatter"},
    {"sparseloco(steps=4)", "topk(ratio=0.03)+ef+gather"},
};

TEST(OuterLoop, RoundsUnderCompression_LeaveAllRanksEqual) {
  for (const auto& [optimizer, spec] : kLoops) {
    std::vector<std::vector<float>> weights(3);
    OnRanks(3, [&, optimizer = optimizer, spec = spec](Communicator& comm) -> absl::Status {
      ToyTrainer trainer(comm.rank());
      LACONIC_ASSIGN_OR_RETURN(
          auto loop, DistributedOptimizer::Create(&comm, trainer.parameters, optimizer, spec, SmallTensors()));
      for (uint64_t t = 0; t < 8; ++t) LACONIC_RETURN_IF_ERROR(trainer.Step(*loop, t, 0.1));
      weights[comm.rank()] = trainer.AllWeights();
      return absl::OkStatus();
    });
    EXPECT_THAT(weights, Each(weights[0])) << optimizer;
  }
}

TEST(OuterLoop, ResumedInsideARound_GoesOnBitForBit) {
  for (const auto& [optimizer, spec] : kLoops) {
    OnRanks(2, [&, optimizer = optimizer, spec = spec](Communicator& comm) -> absl::Status {
      ToyTrainer whole(comm.rank()), resumed(comm.rank());
      StateArchive saved;
      LACONIC_ASSIGN_OR_RETURN(auto first,
                               DistributedOptimizer::Create(&comm, whole.parameters, optimizer, spec, SmallTensors()));
      for (uint64_t t = 0; t < 14; ++t) {
        if (t == 6) {  // two steps into the second round
          StateWriter out(&saved);
          first->Save(out);
        }
        LACONIC_RETURN_IF_ERROR(whole.Step(*first, t, 0.1));
      }
      LACONIC_ASSIGN_OR_RETURN(
          auto second, DistributedOptimizer::Create(&comm, resumed.parameters, optimizer, spec, SmallTensors()));
      // Every rank reads only its own; the other's place is taken by the same archive.
      const std::vector<StateReader> readers(2, StateReader(&saved));
      LACONIC_RETURN_IF_ERROR(second->Load(readers));
      for (uint64_t t = 6; t < 14; ++t) LACONIC_RETURN_IF_ERROR(resumed.Step(*second, t, 0.1));
      EXPECT_EQ(resumed.AllWeights(), whole.AllWeights()) << optimizer;
      return absl::OkStatus();
    });
  }
}

TEST(OuterLoop, OneRankMoreThanSaved_StartsFromTheMeanModelOrTheLastExchange) {
  std::vector<StateArchive> saved(2);
  OnRanks(2, [&](Communicator& comm) -> absl::Status {
    OneWeight model(8.0f * static_cast<float>(comm.rank()));
    LACONIC_ASSIGN_OR_RETURN(auto loop,
                             DistributedOptimizer::Create(&comm, model.parameters, "local-sgd(steps=2)", "dense"));
    for (int t = 0; t < 3; ++t) LACONIC_RETURN_IF_ERROR(model.Step(*loop, t));  // 3, then alone: 1.5 and 5.5
    StateWriter out(&saved[comm.rank()]);
    loop->Save(out);
    return absl::OkStatus();
  });
  for (const auto& [rule, expected] : {std::pair{ReshardRule::kMean, 3.5f}, {ReshardRule::kReset, 3.0f}}) {
    OnRanks(3, [&, rule = rule, expected = expected](Communicator& comm) -> absl::Status {
      OneWeight model(0);
      LACONIC_ASSIGN_OR_RETURN(auto loop,
                               DistributedOptimizer::Create(&comm, model.parameters, "local-sgd(steps=2)", "dense"));
      const std::vector<StateReader> readers = {StateReader(&saved[0]), StateReader(&saved[1])};
      EXPECT_THAT(loop->Load(readers), HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("2")));
      LACONIC_RETURN_IF_ERROR(loop->Load(readers, rule));
      EXPECT_EQ(model.weight[0], expected);
      return absl::OkStatus();
    });
  }
}

TEST(OuterLoop, GradientThatIsNoNumber_SkipsTheStepOfItsRankAlone) {
  OnRanks(2, [&](Communicator& comm) -> absl::Status {
    OneWeight model(8.0f * static_cast<float>(comm.rank()));
    LACONIC_ASSIGN_OR_RETURN(auto loop,
                             DistributedOptimizer::Create(&comm, model.parameters, "local-sgd(steps=2)", "dense"));
    if (comm.rank() == 1) model.target = std::numeric_limits<float>::quiet_NaN();
    LACONIC_RETURN_IF_ERROR(model.Step(*loop, 0));
    EXPECT_EQ(loop->report().skipped, comm.rank() == 1);
    model.target = 8.0f * static_cast<float>(comm.rank());
    LACONIC_RETURN_IF_ERROR(model.Step(*loop, 1));
    EXPECT_EQ(model.weight[0], 2);  // the mean of 0 and of 4, after one step towards 8
    return absl::OkStatus();
  });
}

TEST(OuterLoop, ModelThatIsLost_SendsAllBackToTheLastExchange) {
  OnRanks(2, [&](Communicator& comm) -> absl::Status {
    OneWeight model(8.0f * static_cast<float>(comm.rank()));
    LACONIC_ASSIGN_OR_RETURN(auto loop,
                             DistributedOptimizer::Create(&comm, model.parameters, "local-sgd(steps=2)", "dense"));
    for (int t = 0; t < 3; ++t) LACONIC_RETURN_IF_ERROR(model.Step(*loop, t));
    if (comm.rank() == 0) model.weight[0] = std::numeric_limits<float>::infinity();
    LACONIC_RETURN_IF_ERROR(model.Step(*loop, 3));
    EXPECT_TRUE(loop->report().skipped);
    EXPECT_THAT(loop->report().skip_reason, AllOf(HasSubstr("rank 0"), HasSubstr("w")));
    EXPECT_EQ(model.weight[0], 3);
    return absl::OkStatus();
  });
}

TEST(OuterLoop, ClipNorm_ShortensTheInnerSteps) {
  OnRanks(1, [&](Communicator& comm) -> absl::Status {
    OneWeight model(8);
    LACONIC_ASSIGN_OR_RETURN(auto loop, DistributedOptimizer::Create(&comm, model.parameters, "local-sgd(steps=9)",
                                                                     "dense", {.clip_norm = 2}));
    LACONIC_RETURN_IF_ERROR(model.Step(*loop, 0));
    EXPECT_THAT(model.weight[0], FloatEq(1));  // half of 2, not half of 8
    return absl::OkStatus();
  });
}

TEST(OuterLoop, BadArguments_AreNamed) {
  EXPECT_THAT(CanonicalOptimizer("diloco(steps=0)").status(),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("steps")));
  EXPECT_THAT(CanonicalOptimizer("diloco(inner=diloco)").status(),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("diloco")));
  EXPECT_EQ(*CanonicalOptimizer("local-sgd"),
            "local-sgd(inner=sgd(momentum=0, nesterov=false, weight_decay=0), steps=8, outer_lr=1, momentum=0)");
}

}  // namespace
}  // namespace laconic
