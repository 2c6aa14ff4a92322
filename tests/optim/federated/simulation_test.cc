#include "laconic/optim/federated/simulation.h"

#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "laconic/base/status.h"
#include "laconic/comm/transport/in_process.h"
#include "tests/base/status_macros.h"
#include "tests/optim/federated/quadratic.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::Field;
using ::testing::HasSubstr;

constexpr char kRandK[] = "randk(ratio=0.2, scale=unbiased, seed=rank)";

struct Outcome {
  std::vector<uint64_t> hashes;  // after every round
  std::vector<SimulatedRound> rounds;
  double distance = 0;  // at the end
};

absl::StatusOr<Outcome> RunRounds(Simulation& simulation, int rounds) {
  Outcome outcome;
  for (int r = 0; r < rounds; ++r) {
    LACONIC_ASSIGN_OR_RETURN(const SimulatedRound round, simulation.Step());
    outcome.rounds.push_back(round);
    LACONIC_ASSIGN_OR_RETURN(const uint64_t hash, simulation.Hash());
    outcome.hashes.push_back(hash);
  }
  outcome.distance = DistanceToOptimum(simulation.model());
  return outcome;
}

absl::StatusOr<Outcome> RunRounds(const FederatedPlan& plan, int rounds, const SimulationOptions& options = {},
                                  int tensors = 1) {
  LACONIC_ASSIGN_OR_RETURN(auto simulation, Simulation::Create(plan, options, Quadratics(tensors)));
  return RunRounds(*simulation, rounds);
}

// The same on `ranks` threads that exchange messages: all must end with the same bits, which are given.
absl::StatusOr<Outcome> RunOnRanks(const FederatedPlan& plan, int rounds, SimulationOptions options, int ranks) {
  std::vector<Outcome> outcomes(static_cast<size_t>(ranks));
  LACONIC_RETURN_IF_ERROR(RunInProcess(ranks, [&](std::unique_ptr<Transport> transport) -> absl::Status {
    Communicator comm(std::move(transport));
    SimulationOptions own = options;
    own.comm = &comm;
    LACONIC_ASSIGN_OR_RETURN(outcomes[static_cast<size_t>(comm.rank())], RunRounds(plan, rounds, own));
    return absl::OkStatus();
  }));
  for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.hashes, outcomes.front().hashes);
  return outcomes.front();
}

// Codecs that draw at random, state on both sides, compression both ways, clients that fail and some that are late.
FederatedPlan BusyPlan() {
  FederatedPlan plan = QuadraticPlan("scallion(alpha=0.2)", kRandK);
  plan.downlink = "topk(ratio=0.2)";
  plan.server_optimizer = "sgd(momentum=0.5, nesterov=true)";
  return plan;
}

SimulationOptions BusyOptions() {
  NetworkModel network;
  for (uint32_t client = 0; client < kQuadraticClients; ++client)
    network.links.push_back({.step_seconds = client * 0.1});
  return {.network = network, .deadline_seconds = 0.8, .failure_rate = 0.1};
}

TEST(Simulation, AnyNumberOfThreads_SameBits) {
  LACONIC_ASSERT_OK_AND_ASSIGN(const Outcome one, RunRounds(BusyPlan(), 20, BusyOptions()));
  for (const int threads : {2, 3}) {
    SimulationOptions options = BusyOptions();
    options.threads = threads;
    LACONIC_ASSERT_OK_AND_ASSIGN(const Outcome outcome, RunRounds(BusyPlan(), 20, options));
    EXPECT_EQ(outcome.hashes, one.hashes) << threads << " threads";
  }
}

TEST(Simulation, AnyNumberOfRanks_SameBits) {
  LACONIC_ASSERT_OK_AND_ASSIGN(const Outcome alone, RunRounds(BusyPlan(), 20, BusyOptions()));
  for (const int ranks : {1, 2, 3}) {
    LACONIC_ASSERT_OK_AND_ASSIGN(const Outcome outcome, RunOnRanks(BusyPlan(), 20, BusyOptions(), ranks));
    EXPECT_EQ(outcome.hashes, alone.hashes) << ranks << " ranks";
    for (size_t r = 0; r < alone.rounds.size(); ++r) {
      EXPECT_EQ(outcome.rounds[r].uplink_bytes, alone.rounds[r].uplink_bytes);
      EXPECT_EQ(outcome.rounds[r].counted, alone.rounds[r].counted);
      EXPECT_EQ(outcome.rounds[r].loss, alone.rounds[r].loss);
    }
  }
}

TEST(Simulation, AnotherSeed_AnotherRun) {
  FederatedPlan other = BusyPlan();
  other.seed = 2;
  LACONIC_ASSERT_OK_AND_ASSIGN(const Outcome a, RunRounds(BusyPlan(), 1));
  LACONIC_ASSERT_OK_AND_ASSIGN(const Outcome b, RunRounds(other, 1));
  EXPECT_NE(a.hashes, b.hashes);
}

TEST(Simulation, Bytes_AreThoseOfTheMessages) {
  // x and c go down, each 48 bytes of frame, a byte that gives the tensor's length and 30 floats, in 1 + 8 + 1 bytes of
  // a broadcast that gives each message's length in 2 bytes; the message that comes up is one such frame.
  LACONIC_ASSERT_OK_AND_ASSIGN(const Outcome outcome, RunRounds(QuadraticPlan("scaffold"), 2));
  EXPECT_THAT(outcome.rounds, Each(AllOf(Field(&SimulatedRound::uplink_bytes, 5 * (48 + 1 + 120)),
                                         Field(&SimulatedRound::downlink_bytes, 5 * (10 + 2 * (2 + 48 + 1 + 120))))));
}

TEST(Simulation, LateClients_DoNotCountAndKeepTheirState) {
  FederatedPlan plan = QuadraticPlan("scaffold");
  plan.sampled = plan.clients;
  NetworkModel network;
  for (uint32_t client = 0; client < plan.clients; ++client) {
    network.links.push_back({.uplink_bits_per_second = client == 7 ? 8.0 : 1e9});  // 169 s for 169 bytes
  }
  LACONIC_ASSERT_OK_AND_ASSIGN(auto simulation,
                               Simulation::Create(plan, {.network = network, .deadline_seconds = 10}, Quadratics()));
  const uint64_t before = simulation->store().Hash(7);
  LACONIC_ASSERT_OK_AND_ASSIGN(const SimulatedRound round, simulation->Step());
  EXPECT_EQ(round.counted, 19u);
  EXPECT_EQ(round.late, 1u);
  EXPECT_EQ(round.seconds, 10);
  EXPECT_EQ(simulation->store().Hash(7), before);
  EXPECT_NE(simulation->store().Hash(8), before);
}

TEST(Simulation, NobodyCounts_LeavesModelAndGoesOn) {
  LACONIC_ASSERT_OK_AND_ASSIGN(auto simulation,
                               Simulation::Create(QuadraticPlan("scaffold"), {.failure_rate = 1}, Quadratics()));
  LACONIC_ASSERT_OK_AND_ASSIGN(const SimulatedRound round, simulation->Step());
  EXPECT_EQ(round.counted, 0u);
  EXPECT_EQ(round.failed, 5u);
  EXPECT_EQ(round.uplink_bytes, 0u);
  EXPECT_THAT(simulation->model(), Each(0.0f));
  EXPECT_EQ(simulation->round(), 1u);
}

TEST(Simulation, Divergence_IsAnErrorThatStays) {
  FederatedPlan plan = QuadraticPlan("fedavg");
  plan.work.learning_rate = 100;
  LACONIC_ASSERT_OK_AND_ASSIGN(auto simulation, Simulation::Create(plan, {}, Quadratics()));
  absl::Status status;
  for (int r = 0; r < 100 && status.ok(); ++r) status = simulation->Step().status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("not finite"));
  EXPECT_EQ(simulation->Step().status(), status);
}

// A new folder of the running test's own.
std::string NewFolder() {
  const std::string folder =
      ::testing::TempDir() + "/simulation_" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

SimulationOptions BusyOptionsIn(const std::string& folder) {
  SimulationOptions options = BusyOptions();
  options.store.folder = folder + "/clients";
  return options;
}

TEST(Simulation, Resumed_ContinuesBitForBit) {
  const std::string folder = NewFolder();
  const SimulationOptions options = BusyOptionsIn(folder);
  LACONIC_ASSERT_OK_AND_ASSIGN(const Outcome whole, RunRounds(BusyPlan(), 10, BusyOptions()));
  {
    LACONIC_ASSERT_OK_AND_ASSIGN(auto first, Simulation::Create(BusyPlan(), options, Quadratics()));
    LACONIC_ASSERT_OK(RunRounds(*first, 4).status());
    LACONIC_ASSERT_OK(first->SaveCheckpoint(folder));
    LACONIC_ASSERT_OK(RunRounds(*first, 3).status());  // and then it was killed
  }
  LACONIC_ASSERT_OK_AND_ASSIGN(auto second, Simulation::Create(BusyPlan(), options, Quadratics()));
  LACONIC_ASSERT_OK(second->LoadCheckpoint(folder));
  LACONIC_ASSERT_OK_AND_ASSIGN(const Outcome rest, RunRounds(*second, 6));
  EXPECT_EQ(rest.hashes.back(), whole.hashes.back());
  EXPECT_EQ(rest.rounds.back().downlink_bytes, whole.rounds.back().downlink_bytes);
}

TEST(Simulation, KilledInTheMiddleOfACheckpoint_TheOneBeforeIsWhole) {
  const std::string folder = NewFolder();
  const SimulationOptions options = BusyOptionsIn(folder);
  LACONIC_ASSERT_OK_AND_ASSIGN(const Outcome whole, RunRounds(BusyPlan(), 10, BusyOptions()));
  {
    LACONIC_ASSERT_OK_AND_ASSIGN(auto first, Simulation::Create(BusyPlan(), options, Quadratics()));
    LACONIC_ASSERT_OK(RunRounds(*first, 4).status());
    LACONIC_ASSERT_OK(first->SaveCheckpoint(folder));
    std::filesystem::copy_file(folder + "/server.safetensors", folder + "/of_round_4");
    LACONIC_ASSERT_OK(RunRounds(*first, 3).status());
    LACONIC_ASSERT_OK(first->SaveCheckpoint(folder));
  }
  // As if the clients' part of the second had been done, and the server's not.
  std::filesystem::rename(folder + "/of_round_4", folder + "/server.safetensors");
  LACONIC_ASSERT_OK_AND_ASSIGN(auto second, Simulation::Create(BusyPlan(), options, Quadratics()));
  LACONIC_ASSERT_OK(second->LoadCheckpoint(folder));
  EXPECT_EQ(second->round(), 4u);
  LACONIC_ASSERT_OK_AND_ASSIGN(const Outcome rest, RunRounds(*second, 6));
  EXPECT_EQ(rest.hashes.back(), whole.hashes.back());
}

TEST(Simulation, RanksResumed_ContinueBitForBit) {
  const std::string folder = NewFolder();
  LACONIC_ASSERT_OK_AND_ASSIGN(const Outcome whole, RunRounds(BusyPlan(), 6, BusyOptions()));
  const auto run = [&](bool resume, int rounds, uint64_t* hash) {
    return RunInProcess(2, [&, hash](std::unique_ptr<Transport> transport) -> absl::Status {
      Communicator comm(std::move(transport));
      SimulationOptions options = BusyOptionsIn(folder);
      options.comm = &comm;
      LACONIC_ASSIGN_OR_RETURN(auto simulation, Simulation::Create(BusyPlan(), options, Quadratics()));
      if (resume) LACONIC_RETURN_IF_ERROR(simulation->LoadCheckpoint(folder));
      LACONIC_ASSIGN_OR_RETURN(const Outcome outcome, RunRounds(*simulation, rounds));
      if (comm.rank() == 0) *hash = outcome.hashes.back();
      return simulation->SaveCheckpoint(folder);
    });
  };
  uint64_t hash = 0;
  LACONIC_ASSERT_OK(run(/*resume=*/false, 2, &hash));
  LACONIC_ASSERT_OK(run(/*resume=*/true, 4, &hash));
  EXPECT_EQ(hash, whole.hashes.back());

  LACONIC_ASSERT_OK_AND_ASSIGN(auto alone, Simulation::Create(BusyPlan(), BusyOptionsIn(folder), Quadratics()));
  EXPECT_THAT(alone->LoadCheckpoint(folder),
              HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("saved by 2 ranks")));
}

TEST(Simulation, ClientsVectorsInMemory_CannotBeSaved) {
  LACONIC_ASSERT_OK_AND_ASSIGN(auto simulation, Simulation::Create(BusyPlan(), {}, Quadratics()));
  EXPECT_THAT(simulation->SaveCheckpoint(NewFolder()),
              HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("needs a folder")));
}

TEST(Simulation, AnotherPlansCheckpoint_IsRefused) {
  const std::string folder = NewFolder();
  LACONIC_ASSERT_OK_AND_ASSIGN(auto first, Simulation::Create(QuadraticPlan("fedavg"), {}, Quadratics()));
  LACONIC_ASSERT_OK(first->SaveCheckpoint(folder));
  LACONIC_ASSERT_OK_AND_ASSIGN(auto second, Simulation::Create(QuadraticPlan("fedprox"), {}, Quadratics()));
  EXPECT_THAT(second->LoadCheckpoint(folder),
              HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("saved by a run of method=fedavg")));
}

}  // namespace
}  // namespace laconic
