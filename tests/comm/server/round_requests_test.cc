// Who may ask the round machine, what a pull gives, which rules can work, what is counted.
#include "tests/comm/server/round_machine_harness.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST_F(RoundMachineTest, Strangers_AreRefusedNamingWhatIsWrong) {
  Start(2);
  EXPECT_THAT(machine_->Heartbeat(Of(0), now_), HasStatus(absl::StatusCode::kFailedPrecondition,
                                                          HasSubstr("client 0 has not registered as incarnation 1")));
  EXPECT_THAT(machine_->Register(Of(2), now_), HasStatus(absl::StatusCode::kNotFound, HasSubstr("client 2: run")));
  EXPECT_THAT(machine_->Register({0xdef, 0, 1}, now_),
              HasStatus(absl::StatusCode::kFailedPrecondition,
                        AllOf(HasSubstr("0000000000000def"), HasSubstr("0000000000000abc"))));
  EXPECT_THAT(machine_->Register(Of(0, 0), now_),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("start at 1")));
  RegisterAll();
  EXPECT_THAT(machine_->Heartbeat(Of(0, 2), now_),
              HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("incarnation 2")));
  EXPECT_THAT(machine_->Heartbeat({0xdef, 0, 1}, now_),
              HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("run")));
  EXPECT_EQ(Count(Counter::kRefusedStranger), 5u);
}

TEST_F(RoundMachineTest, RunZero_RegistersForWhateverRunThereIs) {
  Start(2);
  const auto registration = machine_->Register({0, 1, 1}, now_);
  ASSERT_THAT(registration, IsOk());
  EXPECT_EQ(registration->run.id, kRun);
  EXPECT_EQ(registration->run.description, "text");
  EXPECT_EQ(registration->open_round, 0u);
  EXPECT_FALSE(registration->last_accepted.has_value());
}

TEST_F(RoundMachineTest, NewIncarnation_ReplacesTheOldForEver) {
  Start(2);
  RegisterAll();
  const auto admission = Admit(Of(0, 1), 0, "a");
  ASSERT_THAT(machine_->Register(Of(0, 2), now_), IsOk());
  EXPECT_EQ(machine_->reservations(), 0u);
  const auto replaced =
      HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("incarnation 1 of client 0 was replaced by 2"));
  EXPECT_THAT(machine_->Push(Of(0, 1), admission->reservation, Bytes("a"), now_), replaced);
  EXPECT_THAT(machine_->Register(Of(0, 1), now_), replaced);
  EXPECT_EQ(Count(Counter::kRefusedReplaced), 2u);
  Restart();
  EXPECT_THAT(machine_->Register(Of(0, 1), now_), replaced);
  EXPECT_THAT(machine_->Heartbeat(Of(0, 2), now_), IsOk());  // nobody has to register again
}

TEST_F(RoundMachineTest, RegisterAgain_TellsWhatWasAcceptedLast) {
  Start(2);
  RegisterAll();
  Accepts(0, 0, "a");
  const auto registration = machine_->Register(Of(0, 5), now_);
  EXPECT_EQ(registration->last_accepted, (ClientRecord::Accepted{0, Hash64("a")}));
  EXPECT_EQ(machine_->NextTask(Of(0, 5), 0, now_)->kind, Task::Kind::kWait);
}

// --- broadcast ---

TEST_F(RoundMachineTest, Pull_GivesTheBroadcastOfTheOpenRoundOnly) {
  Start(2);
  RegisterAll();
  Accepts(0, 0, "a");
  Accepts(1, 0, "b");
  Tick();
  EXPECT_EQ(Text(machine_->Pull(Of(0), 1, 1, now_)->bytes), "0[0a 1b] since 1");
  EXPECT_TRUE(machine_->Pull(Of(0), 0, 0, now_)->late);
  EXPECT_THAT(machine_->Pull(Of(0), 1, 2, now_),
              HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("received round 1")));
  EXPECT_EQ(Count(Counter::kPulledBytes), 16u);
}

// --- rules ---

TEST_F(RoundMachineTest, RulesThatCannotWork_AreRefused) {
  const auto error = [&](RoundRules rules) {
    options_ = {.run = {.id = 1, .clients = 3, .rounds = 1}, .rules = rules};
    const auto journal = MakeMemoryJournal(&disk_);
    const auto machine = RoundMachine::Create(options_, &work_, journal.get(), now_);
    return machine.ok() ? "" : std::string(machine.status().message());
  };
  EXPECT_THAT(error({.quorum = 0}), HasSubstr("quorum 0"));
  EXPECT_THAT(error({.quorum = 4}), HasSubstr("between 1 and the run's 3 clients"));
  EXPECT_THAT(error({.quorum = 3, .enough = 2}), HasSubstr("enough = 2"));
  EXPECT_THAT(error({.start_clients = 4}), HasSubstr("start_clients 4"));
  EXPECT_THAT(error({.deadline = absl::ZeroDuration()}), HasSubstr("above 0"));
  EXPECT_THAT(error({.max_update_bytes = 2, .max_bytes_in_flight = 1}), HasSubstr("no room"));
  EXPECT_THAT(error({.max_in_flight_per_client = 0}), HasSubstr("max_in_flight_per_client"));
  EXPECT_THAT(error({.save_every = 0}), HasSubstr("save_every"));
  EXPECT_TRUE(disk_.inbox.empty() && !disk_.run.has_value());
}

TEST(Counters, Names_AreUniqueAndLeadBack) {
  std::vector<std::string> names;
  ForEachCounter([&](Counter counter) {
    names.push_back(std::string(CounterName(counter)));
    EXPECT_EQ(CounterNamed(CounterName(counter)), counter);
  });
  std::sort(names.begin(), names.end());
  EXPECT_THAT(names, testing::Not(testing::Contains("")));
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
  EXPECT_EQ(CounterNamed("telepathy"), std::nullopt);
}

}  // namespace
}  // namespace laconic
