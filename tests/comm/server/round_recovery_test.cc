// The round machine and its journal: restarts, and writes that fail.
#include "tests/comm/server/round_machine_harness.h"

namespace laconic {
namespace {

using ::testing::HasSubstr;

class MemoryPlace : public JournalPlace {
 public:
  absl::StatusOr<std::unique_ptr<RoundJournal>> Open() override { return MakeMemoryJournal(&disk_); }

 private:
  MemoryDisk disk_;
};
INSTANTIATE_TEST_SUITE_P(Memory, JournalTest,
                         testing::Values(JournalKind{"memory", [] { return std::make_unique<MemoryPlace>(); }}),
                         JournalKindName);

TEST_F(RoundMachineTest, Restart_GoesOnWithTheAcceptedUpdatesOfTheOpenRound) {
  Start(3);
  RegisterAll();
  for (uint32_t client = 0; client < 3; ++client) Accepts(client, 0, "x");
  Tick();
  Accepts(2, 1, "c");
  Restart();
  EXPECT_EQ(machine_->open_round(), 1u);
  EXPECT_EQ(machine_->accepted(), 1u);
  EXPECT_EQ(work_.model_, "0[0x 1x 2x]");
  EXPECT_EQ(Count(Counter::kAccepted), 4u);
  EXPECT_EQ(*Send(Of(2), 1, "c"), PushOutcome::kAlreadyAccepted);
  Accepts(0, 1, "a");
  Accepts(1, 1, "b");
  Tick();
  EXPECT_EQ(work_.model_, "0[0x 1x 2x]1[0a 1b 2c]");
}

TEST_F(RoundMachineTest, RestartWithSeldomSavedStates_ClosesAgain) {
  rounds_ = 10;
  Start(1, {.save_every = 4});
  RegisterAll();
  for (uint64_t round = 0; round < 7; ++round) {
    Accepts(0, round, fmt::format("v{}", round));
    Tick();
  }
  EXPECT_EQ(disk_.states.rbegin()->first, 4u);
  const std::string model = work_.model_;
  Restart();
  EXPECT_EQ(work_.model_, model);
  EXPECT_EQ(machine_->open_round(), 7u);
}

TEST_F(RoundMachineTest, RestartAfterTheLastUpdate_ClosesAtOnce) {
  Start(1);
  RegisterAll();
  Accepts(0, 0, "a");
  Restart();  // before Tick closed it
  EXPECT_EQ(machine_->open_round(), 1u);
  EXPECT_EQ(work_.model_, "0[0a]");
}

// Found by the simulation.
TEST_F(RoundMachineTest, RestartOfAFinishedRun_StillTellsWhatBecameOfTheLastRound) {
  rounds_ = 1;
  Start(2);
  RegisterAll();
  Accepts(0, 0, "a");
  Advance(absl::Seconds(10));
  Tick();
  Restart();
  EXPECT_TRUE(machine_->finished());
  EXPECT_EQ(*Send(Of(0), 0, "a"), PushOutcome::kAlreadyAccepted);
  EXPECT_EQ(*Send(Of(1), 0, "b"), PushOutcome::kLate);
  EXPECT_EQ(machine_->NextTask(Of(1), 1, now_)->kind, Task::Kind::kFinished);
}

TEST_F(RoundMachineTest, RestartWithAnotherDescription_IsRefused) {
  Start(1);
  options_.run.description = "other";
  const auto journal = MakeMemoryJournal(&disk_);
  EXPECT_THAT(RoundMachine::Create(options_, &work_, journal.get(), now_),
              HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("other")));
}

TEST_F(RoundMachineTest, FailedWriteOfAPush_AcknowledgesNothing) {
  Start(2);
  RegisterAll();
  fault_ = WriteFault::kFails;
  const auto refused = Send(Of(0), 0, "a");
  EXPECT_THAT(refused, HasStatus(absl::StatusCode::kResourceExhausted, HasSubstr("no room")));
  EXPECT_TRUE(IsRetriable(refused.status()));
  EXPECT_EQ(machine_->accepted(), 0u);
  EXPECT_EQ(machine_->bytes_in_flight(), 0u);
  EXPECT_EQ(Count(Counter::kJournalErrors), 1u);
  Accepts(0, 0, "a");
}

// The second request was answered by the first, which was not written.
TEST_F(RoundMachineTest, FailedWriteOfMany_IsTheErrorOfAllThatRestedOnIt) {
  Start(3);
  RegisterAll();
  Accepts(1, 0, "b");
  std::vector<PushRequest> requests;
  for (int i = 0; i < 2; ++i) requests.push_back({Of(0), Admit(Of(0), 0, "a")->reservation, Bytes("a")});
  fault_ = WriteFault::kFails;
  const auto outcomes = machine_->PushMany(requests, now_);
  EXPECT_THAT(outcomes[0], HasStatus(absl::StatusCode::kResourceExhausted, HasSubstr("no room")));
  EXPECT_THAT(outcomes[1], HasStatus(absl::StatusCode::kResourceExhausted, HasSubstr("no room")));
  EXPECT_EQ(machine_->accepted(), 1u);
}

// Told that it failed, found done after a crash: the client asks again and hears so.
TEST_F(RoundMachineTest, FailedWriteThatArrived_IsAcceptedAfterARestart) {
  Start(2);
  RegisterAll();
  fault_ = WriteFault::kFailsButMayHaveArrived;
  EXPECT_FALSE(Send(Of(0), 0, "a").ok());
  Restart();
  EXPECT_EQ(*Send(Of(0), 0, "a"), PushOutcome::kAlreadyAccepted);
}

TEST_F(RoundMachineTest, FailedWriteOfAClose_IsRepeatedAndHoldsEverythingUp) {
  Start(1);
  RegisterAll();
  Accepts(0, 0, "a");
  fault_ = WriteFault::kFails;
  const absl::Time again = machine_->Tick(now_);
  EXPECT_EQ(again, now_ + RoundRules().retry_after);
  EXPECT_EQ(machine_->open_round(), 0u);
  EXPECT_EQ(machine_->NextTask(Of(0), 1, now_)->kind, Task::Kind::kWait);
  EXPECT_EQ(*Send(Of(0), 0, "a"), PushOutcome::kAlreadyAccepted);
  EXPECT_THAT(machine_->Pull(Of(0), 0, 0, now_), HasStatus(absl::StatusCode::kUnavailable, HasSubstr("being closed")));
  now_ = again;
  Tick();
  EXPECT_EQ(machine_->open_round(), 1u);
  EXPECT_EQ(work_.model_, "0[0a]");
}

// In memory the round is closed already, and who counted in it must not change any more.
TEST_F(RoundMachineTest, PushWhileACloseIsNotWritten_IsPutOff) {
  Start(2, {.quorum = 1});
  RegisterAll();
  Accepts(0, 0, "a");
  const auto admission = Admit(Of(1), 0, "b");
  Advance(absl::Seconds(10));
  fault_ = WriteFault::kFails;
  Tick();
  const auto outcome = machine_->Push(Of(1), admission->reservation, Bytes("b"), now_);
  EXPECT_THAT(outcome, HasStatus(absl::StatusCode::kUnavailable, HasSubstr("round 0 is being closed")));
  EXPECT_EQ(Admit(Of(1), 0, "b")->kind, Admission::Kind::kBusy);
  Advance(RoundRules().retry_after);
  Tick();
  EXPECT_EQ(*Send(Of(1), 0, "b"), PushOutcome::kLate);
  EXPECT_EQ(disk_.inbox.size(), 1u);
}

TEST_F(RoundMachineTest, CloseThatCanNotBeWritten_FailsTheRunAfterAllExtensions) {
  Start(1, {.max_extensions = 1});
  RegisterAll();
  Accepts(0, 0, "a");
  for (int second = 0; second <= 20; ++second) {
    EXPECT_THAT(machine_->failure(), IsOk());
    fault_ = WriteFault::kFails;
    Tick();
    Advance(absl::Seconds(1));
  }
  EXPECT_THAT(machine_->failure(), HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("no room")));
  Restart();  // with a disk that has room again
  EXPECT_EQ(machine_->open_round(), 1u);
  EXPECT_EQ(work_.model_, "0[0a]");
}

TEST_F(RoundMachineTest, FailedWriteOfARegistration_ReplacesNobody) {
  Start(1);
  RegisterAll();
  fault_ = WriteFault::kFails;
  EXPECT_FALSE(machine_->Register(Of(0, 2), now_).ok());
  EXPECT_THAT(machine_->Heartbeat(Of(0, 1), now_), IsOk());
}

}  // namespace
}  // namespace laconic
