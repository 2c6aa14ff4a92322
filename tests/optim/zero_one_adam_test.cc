// 0/1 Adam: its schedule, what each kind of step sends, and that ranks meet again at each exchange.
#include <cmath>
#include <map>

#include "optim/zero_one_schedule.h"
#include "tests/optim/distributed_optimizers.h"

namespace laconic {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using testing::OnRanks;
using testing::SmallBuckets;
using testing::ToyTrainer;

constexpr char kSign[] = "sign(scale=rms)+ef+scatter";

// kappa = 16: 96, 148 and 201 exact gradients in 1,000, 10,000 and 100,000 steps, the last at 992, 9,728 and 98,304
// (algorithms.md, check 31).
TEST(ZeroOneSchedule, VarianceRounds_AreThoseOfThePolicy) {
  ZeroOneSchedule schedule({.var_freeze_step = 1'000'000, .kappa = 16});
  std::map<uint64_t, uint64_t> rounds;
  uint64_t last = 0;
  std::vector<uint64_t> lasts;
  for (uint64_t step = 1; step <= 100'000; ++step) {
    if (schedule.Next() == ZeroOneSchedule::Kind::kVariance) last = step;
    schedule.Advance();
    if (step != 1000 && step != 10'000 && step != 100'000) continue;
    rounds[step] = schedule.variance_rounds();
    lasts.push_back(last);
  }
  EXPECT_EQ(rounds[1000], 96u);
  EXPECT_EQ(rounds[10'000], 148u);
  EXPECT_EQ(rounds[100'000], 201u);
  EXPECT_THAT(lasts, ElementsAre(992, 9728, 98'304));
}

TEST(ZeroOneSchedule, Exchanges_AreThoseOfThePolicy) {
  for (const auto& [scaler, expected] : {std::pair{1000, 2250}, {100, 788}}) {
    ZeroOneSchedule schedule(
        {.var_freeze_step = 1, .local_step_scaler = static_cast<uint64_t>(scaler), .local_step_clipper = 16});
    schedule.Advance();
    int exchanges = 0;
    for (int step = 0; step < 10'000; ++step) {
      exchanges += schedule.Next() == ZeroOneSchedule::Kind::kExchange;
      schedule.Advance();
    }
    EXPECT_EQ(exchanges, expected);
  }
}

TEST(ZeroOneAdam, Steps_SendWhatTheirKindSays) {
  OnRanks(2, [&](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(auto optimizer,
                             DistributedOptimizer::Create(
                                 &comm, trainer.parameters,
                                 "zero-one-adam(var_freeze_step=6, kappa=2, local_step_scaler=2, local_step_clipper=4)",
                                 kSign, SmallBuckets()));
    std::vector<std::string> phases;
    for (uint64_t t = 0; t < 16; ++t) {
      LACONIC_RETURN_IF_ERROR(trainer.Step(*optimizer, t, 0.01));
      const StepReport& report = optimizer->report();
      phases.emplace_back(report.phase);
      EXPECT_EQ(report.wire_bytes_sent == 0, report.phase == "local");
      EXPECT_EQ(report.wire_bytes_sent > report.dense_wire_bytes / 2, report.phase == "variance") << t;
      EXPECT_EQ(report.logical_bytes, 4 * trainer.AllWeights().size());
    }
    // Intervals 1, 1, 2, 2, 4, 4 ...: variance at steps 1, 2, 4, 6; then exchanges at 1, 2, then each second, then each
    // fourth step.
    EXPECT_THAT(phases, ElementsAre("variance", "variance", "gradient", "variance", "gradient", "variance",  //
                                    "exchange", "exchange", "local", "exchange", "local", "local", "local", "exchange",
                                    "local", "local"));
    return absl::OkStatus();
  });
}

// What the compression still owed was gradient; from the freeze on it would be a change of the weights.
TEST(ZeroOneAdam, ErrorsAtTheFreeze_StartAgainAtZero) {
  OnRanks(2, [&](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(auto optimizer, DistributedOptimizer::Create(&comm, trainer.parameters,
                                                                          "zero-one-adam(var_freeze_step=5, kappa=1)",
                                                                          kSign, SmallBuckets()));
    const auto errors = [&] {
      StateArchive archive;
      StateWriter writer(&archive);
      optimizer->Save(writer);
      const StateReader tensor = StateReader(&archive).Scope("sync").Scope("tensors").Scope("fc1.weight");
      std::vector<float> all;
      for (const char* part : {"control", "owner"}) {
        const std::span<const float> error = *tensor.Scope(part).Floats("error");
        all.insert(all.end(), error.begin(), error.end());
      }
      return all;
    };
    for (uint64_t t = 0; t < 4; ++t) LACONIC_RETURN_IF_ERROR(trainer.Step(*optimizer, t, 0.01));
    EXPECT_THAT(errors(), ::testing::Contains(::testing::Ne(0.0f)));
    LACONIC_RETURN_IF_ERROR(trainer.Step(*optimizer, 4, 0.01));
    EXPECT_THAT(errors(), Each(0.0f));
    return absl::OkStatus();
  });
}

TEST(ZeroOneAdam, Ranks_MeetAtEachExchangeAndWhenAsked) {
  constexpr int kRanks = 3;
  std::vector<std::vector<std::vector<float>>> weights(kRanks);  // by rank and step
  std::vector<std::vector<std::string>> phases(kRanks);
  OnRanks(kRanks, [&](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(
        auto optimizer, DistributedOptimizer::Create(&comm, trainer.parameters,
                                                     "zero-one-adam(var_freeze_step=4, kappa=2, local_step_scaler=4)",
                                                     kSign, SmallBuckets()));
    for (uint64_t t = 0; t < 15; ++t) {
      LACONIC_RETURN_IF_ERROR(trainer.Step(*optimizer, t, 0.01));
      weights[comm.rank()].push_back(trainer.AllWeights());
      phases[comm.rank()].emplace_back(optimizer->report().phase);
    }
    LACONIC_RETURN_IF_ERROR(optimizer->Synchronize());
    weights[comm.rank()].push_back(trainer.AllWeights());
    phases[comm.rank()].emplace_back(optimizer->report().phase);
    LACONIC_RETURN_IF_ERROR(optimizer->Synchronize());  // nothing is open
    EXPECT_EQ(trainer.AllWeights(), weights[comm.rank()].back());
    return absl::OkStatus();
  });
  EXPECT_EQ(phases[0].back(), "exchange");
  for (size_t t = 0; t < weights[0].size(); ++t) {
    EXPECT_EQ(weights[0][t] == weights[1][t], phases[0][t] != "local") << "step " << t;
    EXPECT_EQ(weights[0][t] == weights[2][t], phases[0][t] != "local") << "step " << t;
  }
}

// An exchange after each step, nothing lost and one rank: Adam with a frozen second moment, which onebit-adam is too.
// The weights take a detour over the change times its denominator: three more roundings a step.
TEST(ZeroOneAdam, ExchangingEachStepUncompressed_IsAdamAlongTheFrozenSecondMoment) {
  OnRanks(1, [&](Communicator& comm) -> absl::Status {
    ToyTrainer zero_one(comm.rank()), onebit(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(
        auto first,
        DistributedOptimizer::Create(&comm, zero_one.parameters,
                                     "zero-one-adam(var_freeze_step=5, kappa=5, local_step_clipper=1)", "dense"));
    LACONIC_ASSIGN_OR_RETURN(
        auto second, DistributedOptimizer::Create(&comm, onebit.parameters, "onebit-adam(freeze_step=5)", "dense"));
    for (uint64_t t = 0; t < 40; ++t) {
      LACONIC_RETURN_IF_ERROR(zero_one.Step(*first, t, 0.01));
      LACONIC_RETURN_IF_ERROR(onebit.Step(*second, t, 0.01));
    }
    const std::vector<float> a = zero_one.AllWeights(), b = onebit.AllWeights();
    // A step is at most about lr; each of 35 differs by a few roundings of it, 2^-24 0.01 each, and momentum passes
    // them on ten times: 35 * 10 * 8 * 2^-24 * 0.01 = 2e-6.
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 2e-6) << "element " << i;
    return absl::OkStatus();
  });
}

// 200 steps of each, 1-bit Adam with the 15 % of warm-up that its paper asks for.
TEST(ZeroOneAdam, WholeRun_SendsHalfOfWhatOneBitAdamSends) {
  constexpr size_t kElements = 1 << 14;
  std::map<std::string, uint64_t> sent;
  for (const std::string optimizer :
       {"onebit-adam(freeze_step=30)", "zero-one-adam(var_freeze_step=30, kappa=4, local_step_scaler=30)"}) {
    OnRanks(2, [&](Communicator& comm) -> absl::Status {
      std::vector<float> w(kElements), gradient(kElements);
      const std::vector<Parameter> parameters = {{"w", Shape({128, 128}), w, gradient}};
      LACONIC_ASSIGN_OR_RETURN(auto method, DistributedOptimizer::Create(&comm, parameters, optimizer, kSign));
      uint64_t bytes = 0;
      double distance = 0;
      for (uint64_t t = 0; t < 200; ++t) {
        method->Begin({.step = t, .learning_rate = t < 150 ? 0.02 : 0.002});
        distance = 0;
        for (size_t j = 0; j < kElements; ++j) {
          const float target = static_cast<float>(j % 7) / 7 + 0.1f * static_cast<float>(comm.rank());
          gradient[j] = w[j] - target;
          distance += std::pow(w[j] - static_cast<double>(j % 7) / 7 - 0.05, 2) / kElements;
        }
        LACONIC_RETURN_IF_ERROR(method->Finish());
        bytes += method->report().wire_bytes_sent;
      }
      EXPECT_LT(std::sqrt(distance), 0.05) << optimizer;  // both learn the mean target
      if (comm.rank() == 0) sent[method->Describe().substr(10, 4)] = bytes;
      return absl::OkStatus();
    });
  }
  EXPECT_GE(sent["oneb"], 2 * sent["zero"]);
}

}  // namespace
}  // namespace laconic
