// Time in the round machine: rounds open, close, are extended, fail; staleness.
#include "tests/comm/server/round_machine_harness.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST_F(RoundMachineTest, AllPushed_ClosesInClientOrderAndOpensTheNext) {
  Start(3);
  RegisterAll();
  Accepts(2, 0, "c");
  Accepts(0, 0, "a");
  Tick();
  EXPECT_EQ(machine_->open_round(), 0u);
  Accepts(1, 0, "b");
  EXPECT_EQ(machine_->open_round(), 0u);  // only Tick closes
  Tick();
  EXPECT_EQ(machine_->open_round(), 1u);
  EXPECT_EQ(work_.model_, "0[0a 1b 2c]");
}

TEST_F(RoundMachineTest, LastRound_FinishesTheRun) {
  rounds_ = 1;
  Start(1);
  RegisterAll();
  EXPECT_EQ(machine_->NextTask(Of(0), 0, now_)->kind, Task::Kind::kWork);
  Accepts(0, 0, "a");
  Tick();
  EXPECT_TRUE(machine_->finished());
  EXPECT_EQ(machine_->NextTask(Of(0), 1, now_)->kind, Task::Kind::kFinished);
  EXPECT_EQ(machine_->Tick(now_), absl::InfiniteFuture());
  EXPECT_EQ(*Send(Of(0), 0, "a"), PushOutcome::kAlreadyAccepted);
}

TEST_F(RoundMachineTest, Deadline_ClosesWithAQuorum) {
  Start(3, {.quorum = 2});
  RegisterAll();
  Accepts(0, 0, "a");
  Accepts(2, 0, "c");
  Advance(absl::Seconds(10) - absl::Nanoseconds(1));
  EXPECT_EQ(machine_->Tick(now_), At(10));
  EXPECT_EQ(machine_->open_round(), 0u);
  Advance(absl::Nanoseconds(1));
  Tick();
  EXPECT_EQ(work_.model_, "0[0a 2c]");
  EXPECT_EQ(*Send(Of(1), 0, "b"), PushOutcome::kLate);
  EXPECT_EQ(Count(Counter::kLate), 1u);
}

TEST_F(RoundMachineTest, Deadline_WithoutAQuorum_ExtendsNamingWhomItWaitsFor) {
  Start(4, {.quorum = 3});
  RegisterAll();
  Accepts(1, 0, "b");
  Advance(absl::Seconds(10));
  Tick();
  EXPECT_EQ(machine_->open_round(), 0u);
  EXPECT_EQ(machine_->deadline(), At(20));
  EXPECT_EQ(Count(Counter::kExtensions), 1u);
  EXPECT_EQ(events_.back(), "round 0 extended: 1 of 4 updates, quorum 3; waiting for clients 0, 2, 3");
  Accepts(0, 0, "a");
  Accepts(2, 0, "c");
  Advance(absl::Seconds(10));
  Tick();
  EXPECT_EQ(work_.model_, "0[0a 1b 2c]");
  EXPECT_EQ(disk_.rounds.at(0).extensions, 1u);
}

TEST_F(RoundMachineTest, ExtensionsUsedUp_FailTheRunForEveryRequest) {
  Start(2, {.quorum = 2, .max_extensions = 1});
  RegisterAll();
  Accepts(1, 0, "b");
  Advance(absl::Seconds(10));
  Tick();
  EXPECT_THAT(machine_->failure(), IsOk());
  Advance(absl::Seconds(10));
  EXPECT_EQ(machine_->Tick(now_), absl::InfiniteFuture());
  const auto reason =
      HasStatus(absl::StatusCode::kFailedPrecondition,
                AllOf(HasSubstr("failed in round 0"), HasSubstr("waiting for clients 0 after 2 deadlines of 10s")));
  EXPECT_THAT(machine_->failure(), reason);
  EXPECT_THAT(machine_->NextTask(Of(0), 0, now_), reason);
  EXPECT_THAT(Send(Of(0), 0, "a"), reason);
  EXPECT_THAT(machine_->Register(Of(0, 2), now_), reason);
  EXPECT_FALSE(IsRetriable(machine_->failure()));
}

TEST_F(RoundMachineTest, Enough_ClosesAtOnce) {
  Start(3, {.quorum = 1, .enough = 2});
  RegisterAll();
  Accepts(2, 0, "c");
  Tick();
  EXPECT_EQ(machine_->open_round(), 0u);
  Accepts(0, 0, "a");
  Tick();
  EXPECT_EQ(work_.model_, "0[0a 2c]");
}

TEST_F(RoundMachineTest, OnlyParticipants_GetWorkAndMayPush) {
  participants_ = [](uint64_t round) { return round == 0 ? std::vector<uint32_t>{1} : std::vector<uint32_t>{0, 2}; };
  Start(3);
  RegisterAll();
  EXPECT_EQ(machine_->NextTask(Of(0), 0, now_)->kind, Task::Kind::kWait);
  EXPECT_EQ(machine_->NextTask(Of(1), 0, now_)->kind, Task::Kind::kWork);
  EXPECT_THAT(Send(Of(0), 0, "a"),
              HasStatus(absl::StatusCode::kFailedPrecondition,
                        HasSubstr("client 0 sends an update for round 0, whose participant it is not")));
  EXPECT_THAT(machine_->Pull(Of(0), 0, 0, now_),
              HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("participant")));
  Accepts(1, 0, "b");
  Tick();
  EXPECT_EQ(machine_->NextTask(Of(0), 0, now_)->round, 1u);
  EXPECT_EQ(machine_->NextTask(Of(0), 0, now_)->kind, Task::Kind::kWork);
  EXPECT_EQ(machine_->NextTask(Of(1), 1, now_)->kind, Task::Kind::kWait);
}

TEST_F(RoundMachineTest, RoundOfNobody_ClosesEmpty) {
  participants_ = [](uint64_t round) { return round == 1 ? std::vector<uint32_t>{} : std::vector<uint32_t>{0}; };
  Start(2, {.quorum = 2});  // as many as there are, where fewer are asked
  RegisterAll();
  Accepts(0, 0, "a");
  Tick();
  EXPECT_EQ(work_.model_, "0[0a]1[]");
  EXPECT_EQ(machine_->open_round(), 2u);
}

TEST_F(RoundMachineTest, ParticipantsThatCannotBe_FailTheRun) {
  participants_ = [](uint64_t) { return std::vector<uint32_t>{0, 7}; };
  Start(2);
  EXPECT_THAT(machine_->failure(), HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("participants 0, 7")));
}

// Whoever asks for the next round has no update for this one, and is not waited for.
TEST_F(RoundMachineTest, MovedOn_IsNotWaitedFor) {
  Start(2);
  RegisterAll();
  Accepts(0, 0, "a");
  EXPECT_EQ(machine_->NextTask(Of(1), 1, now_)->kind, Task::Kind::kWait);
  Tick();
  EXPECT_EQ(work_.model_, "0[0a]");
}

TEST_F(RoundMachineTest, Silent_IsNotWaitedForUntilHeardAgain) {
  Start(2, {.silence = absl::Seconds(3)});
  RegisterAll();
  Advance(absl::Seconds(2));
  Accepts(0, 0, "a");
  EXPECT_EQ(machine_->Tick(now_), At(3));  // when client 1 will have been silent for long enough
  EXPECT_THAT(machine_->Heartbeat(Of(1), now_), IsOk());
  EXPECT_EQ(machine_->Tick(now_), At(5));
  Advance(absl::Seconds(3));
  EXPECT_EQ(machine_->Clients(now_)[1].silent, absl::Seconds(3));
  Tick();
  EXPECT_EQ(work_.model_, "0[0a]");
}

TEST_F(RoundMachineTest, StartClients_HoldTheFirstRound) {
  Start(3, {.max_extensions = 1, .start_clients = 2});
  EXPECT_THAT(machine_->Register(Of(2), now_), IsOk());
  Tick();
  EXPECT_EQ(machine_->NextTask(Of(2), 0, now_)->kind, Task::Kind::kWait);
  EXPECT_THAT(Send(Of(2), 0, "c"), HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("open is none yet")));
  EXPECT_THAT(machine_->Register(Of(0), now_), IsOk());
  Tick();
  EXPECT_EQ(machine_->NextTask(Of(2), 0, now_)->kind, Task::Kind::kWork);
}

TEST_F(RoundMachineTest, StartClientsThatDoNotCome_FailTheRun) {
  Start(3, {.max_extensions = 1, .start_clients = 2});
  EXPECT_THAT(machine_->Register(Of(2), now_), IsOk());
  for (int i = 0; i < 2; ++i) {
    Advance(absl::Seconds(10));
    Tick();
  }
  EXPECT_THAT(machine_->failure(),
              HasStatus(absl::StatusCode::kFailedPrecondition,
                        HasSubstr("1 of 3 clients have registered, 2 must; waiting for clients 0, 1")));
}

TEST_F(RoundMachineTest, CloseThatFails_FailsTheRun) {
  Start(1);
  RegisterAll();
  work_.close_ = absl::InternalError("the sky fell");
  Accepts(0, 0, "a");
  Tick();
  EXPECT_THAT(machine_->failure(), HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("the sky fell")));
}

// --- staleness ---

TEST_F(RoundMachineTest, Staleness_CountsInTheOpenRoundUpToItsBound) {
  Start(3, {.quorum = 1, .enough = 1, .staleness = 1});
  RegisterAll();
  Accepts(0, 0, "a");
  Tick();
  Accepts(1, 0, "b");  // made for round 0, one behind
  Tick();
  EXPECT_EQ(work_.model_, "0[0a]1[1b@0]");
  EXPECT_EQ(*Send(Of(2), 0, "c"), PushOutcome::kLate);  // two behind
  EXPECT_EQ(*Send(Of(2), 1, "d"), PushOutcome::kAccepted);
  Tick();
  EXPECT_EQ(work_.model_, "0[0a]1[1b@0]2[2d@1]");
}

TEST_F(RoundMachineTest, Staleness_OneUpdateOfAClientInARound) {
  Start(2, {.quorum = 2, .staleness = 5});
  RegisterAll();
  Accepts(0, 0, "a");
  Accepts(1, 0, "b");
  Tick();
  Accepts(1, 1, "c");
  EXPECT_EQ(machine_->NextTask(Of(1), 2, now_)->kind, Task::Kind::kWait);
  EXPECT_THAT(Send(Of(1), 0, "z"), HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("round 1 was accepted")));
  EXPECT_THAT(Send(Of(1), 2, "z"), HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("open is 1")));
  Accepts(0, 1, "d");
  Tick();
  EXPECT_EQ(work_.model_, "0[0a 1b]1[0d 1c]");
}

// A client that made an update for the open round although its last one counts there: not what NextTask told it to do.
TEST_F(RoundMachineTest, Staleness_AnotherUpdateForTheRoundThatCountsTheLast_IsRefused) {
  Start(3, {.quorum = 3, .enough = 3, .staleness = 1});
  RegisterAll();
  for (const uint32_t client : {0u, 2u}) Accepts(client, 0, "a");
  EXPECT_EQ(machine_->NextTask(Of(1), 0, now_)->kind, Task::Kind::kWork);
  Start(3, {.quorum = 2, .enough = 2, .staleness = 1});  // as if its quorum had been smaller
  EXPECT_EQ(machine_->open_round(), 1u);
  Accepts(1, 0, "b");
  EXPECT_EQ(machine_->NextTask(Of(1), 1, now_)->kind, Task::Kind::kWait);
  EXPECT_THAT(
      Send(Of(1), 1, "c"),
      HasStatus(absl::StatusCode::kFailedPrecondition,
                HasSubstr("client 1 sends an update for round 1, its update for round 0 counts in the open round 1")));
}

}  // namespace
}  // namespace laconic
