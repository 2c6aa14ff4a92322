// Many schedules of faults, each from its seed. Whatever happens in one: each (round, client) counts 0 or 1 times, what
// was accepted counts, a client's state moved exactly when its update counts, the model is that of the replay over who
// counted, the run ends, and nothing stays reserved.
//
// One schedule again, event by event:
//   LACONIC_SIMULATION_SEED=1234 build/release/tests/comm/server/server_rounds_test --gtest_filter=Simulation.OneSeed
// More of them: LACONIC_SIMULATION_SCHEDULES=1000000 and --gtest_filter=Simulation.Many*
#include "tests/comm/server/simulation.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

namespace laconic {
namespace {

#if defined(__has_feature)
#define LACONIC_TEST_HAS_FEATURE(x) __has_feature(x)
#else
#define LACONIC_TEST_HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || LACONIC_TEST_HAS_FEATURE(address_sanitizer)
constexpr uint64_t kSchedules = 600;
#else
constexpr uint64_t kSchedules = 15'000;
#endif

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

TEST(Simulation, OneSeed) {
  const uint64_t seed = FromEnvironment("LACONIC_SIMULATION_SEED", 0);
  if (seed == 0) GTEST_SKIP() << "LACONIC_SIMULATION_SEED says which";
  const SimulationResult result =
      Simulate(seed, Mutation::kNone, [](std::string_view line) { std::cout << line << "\n"; });
  std::cout << (result.finished ? "finished" : result.failure) << "\n";
  EXPECT_EQ(result.violation, "");
}

TEST(Simulation, ManySchedules_HoldWhatMustHold) {
  const uint64_t schedules = FromEnvironment("LACONIC_SIMULATION_SCHEDULES", kSchedules);
  SimulationResult all;
  uint64_t finished = 0, failed = 0;
  for (uint64_t seed = 1; seed <= schedules; ++seed) {
    const SimulationResult result = Simulate(seed);
    ASSERT_EQ(result.violation, "") << "LACONIC_SIMULATION_SEED=" << seed
                                    << " server_rounds_test --gtest_filter=Simulation.OneSeed";
    ForEachCounter([&](Counter counter) { all.counters[counter] += result.counters[counter]; });
    (result.finished ? finished : failed) += 1;
    EXPECT_TRUE(result.finished || !result.failure.empty()) << seed;
    all.closed_rounds += result.closed_rounds;
    all.events += result.events;
    all.server_crashes += result.server_crashes;
    all.client_crashes += result.client_crashes;
    all.zombies += result.zombies;
    all.torn_writes += result.torn_writes;
    all.messages_lost += result.messages_lost;
    all.messages_repeated += result.messages_repeated;
  }
  // Schedules that never meet a fault would show nothing: each kind is met in more than one schedule of a hundred.
  const uint64_t often = schedules / 100;
  for (const Counter counter : {Counter::kAccepted, Counter::kDuplicates, Counter::kLate, Counter::kBusy,
                                Counter::kRefusedReplaced, Counter::kRefusedContent, Counter::kBrokenUploads,
                                Counter::kExpiredUploads, Counter::kExtensions, Counter::kJournalErrors}) {
    EXPECT_GT(all.counters[counter], often) << CounterName(counter);
  }
  EXPECT_GT(finished, schedules / 2);
  EXPECT_GT(failed, 0u);
  EXPECT_GT(all.server_crashes, often);
  EXPECT_GT(all.client_crashes, often);
  EXPECT_GT(all.zombies, often);
  EXPECT_GT(all.torn_writes, often);
  std::cout << schedules << " schedules, " << finished << " finished, " << failed << " failed and said why; "
            << all.closed_rounds << " rounds, " << all.events << " events, " << all.server_crashes
            << " crashes of the server, " << all.client_crashes << " of clients, " << all.zombies << " zombies, "
            << all.messages_lost << " messages lost, " << all.messages_repeated << " repeated, " << all.torn_writes
            << " torn writes, " << all.counters[Counter::kDuplicates] << " duplicates, " << all.counters[Counter::kLate]
            << " late\n";
}

TEST(Simulation, SameSeed_SameSchedule) {
  std::vector<std::string> first, second;
  Simulate(7, Mutation::kNone, [&](std::string_view line) { first.push_back(std::string(line)); });
  Simulate(7, Mutation::kNone, [&](std::string_view line) { second.push_back(std::string(line)); });
  EXPECT_GT(first.size(), 10u);
  EXPECT_EQ(first, second);
}

// The checks find each fault that is put into a client, the journal or the saved state.
class SimulationMutationTest : public testing::TestWithParam<std::pair<const char*, Mutation>> {};
TEST_P(SimulationMutationTest, Fault_IsFound) {
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    const SimulationResult result = Simulate(seed, GetParam().second);
    if (result.violation.empty()) continue;
    std::cout << "seed " << seed << ": " << result.violation << "\n";
    return;
  }
  FAIL() << "400 schedules with this fault, and no check saw it";
}
INSTANTIATE_TEST_SUITE_P(All, SimulationMutationTest,
                         testing::Values(std::pair{"CommitBeforeAnswer", Mutation::kCommitBeforeAnswer},
                                         std::pair{"CommitWhenLate", Mutation::kCommitWhenLate},
                                         std::pair{"ForgetAtRestart", Mutation::kForgetAtRestart},
                                         std::pair{"OtherUpdateOnRetry", Mutation::kOtherUpdateOnRetry},
                                         std::pair{"AcknowledgeUnwritten", Mutation::kAcknowledgeUnwritten},
                                         std::pair{"ForgetIncarnations", Mutation::kForgetIncarnations},
                                         std::pair{"StateWithoutModel", Mutation::kStateWithoutModel}),
                         [](const auto& info) { return info.param.first; });

}  // namespace
}  // namespace laconic
