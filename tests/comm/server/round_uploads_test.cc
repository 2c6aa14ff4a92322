// Updates on their way into the round machine: late, twice, other, broken, too many.
#include "tests/comm/server/round_machine_harness.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST_F(RoundMachineTest, PushAgain_IsAlreadyAcceptedWithoutEffect) {
  Start(2);
  RegisterAll();
  Accepts(0, 0, "a");
  EXPECT_EQ(*Send(Of(0), 0, "a"), PushOutcome::kAlreadyAccepted);
  Accepts(1, 0, "b");
  Tick();
  EXPECT_EQ(*Send(Of(0), 0, "a"), PushOutcome::kAlreadyAccepted);  // also once the round is closed
  EXPECT_EQ(work_.model_, "0[0a 1b]");
  EXPECT_EQ(Count(Counter::kDuplicates), 2u);
  EXPECT_EQ(Count(Counter::kAccepted), 2u);
}

TEST_F(RoundMachineTest, TwoAdmissionsOfOneUpdate_CountOnce) {
  Start(2);
  RegisterAll();
  const auto first = Admit(Of(0), 0, "a"), second = Admit(Of(0), 0, "a");
  EXPECT_EQ(*machine_->Push(Of(0), second->reservation, Bytes("a"), now_), PushOutcome::kAccepted);
  EXPECT_EQ(*machine_->Push(Of(0), first->reservation, Bytes("a"), now_), PushOutcome::kAlreadyAccepted);
  EXPECT_EQ(machine_->accepted(), 1u);
}

TEST_F(RoundMachineTest, AnotherUpdateForAnAcceptedRound_IsRefusedWithBothDigests) {
  Start(2);
  RegisterAll();
  Accepts(0, 0, "a");
  EXPECT_THAT(Send(Of(0), 0, "b"),
              HasStatus(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr(fmt::format("{:016x}", Hash64("b"))),
                                                                     HasSubstr(fmt::format("{:016x}", Hash64("a"))))));
  EXPECT_EQ(Count(Counter::kRefusedDigest), 1u);
}

TEST_F(RoundMachineTest, OtherBytesThanAdmitted_AreDataLossAndMayBeSentAgain) {
  Start(1);
  RegisterAll();
  for (const char* arrived : {"b", "", "aa"}) {
    const auto admission = Admit(Of(0), 0, "a");
    EXPECT_THAT(machine_->Push(Of(0), admission->reservation, Bytes(arrived), now_),
                HasStatus(absl::StatusCode::kDataLoss, HasSubstr("client 0's update for round 0")));
  }
  EXPECT_EQ(machine_->bytes_in_flight(), 0u);
  Accepts(0, 0, "a");
}

TEST_F(RoundMachineTest, UpdateThatFailsItsCheck_IsRefusedForGoodAndNotWaitedFor) {
  Start(2);
  RegisterAll();
  const auto bad = HasStatus(absl::StatusCode::kInvalidArgument,
                             AllOf(HasSubstr("client 1's update for round 0"), HasSubstr("tensor w: infinite at 3")));
  EXPECT_THAT(Send(Of(1), 0, "bad"), bad);
  EXPECT_FALSE(IsRetriable(Send(Of(1), 0, "bad").status()));
  EXPECT_EQ(Count(Counter::kRefusedContent), 1u);
  Accepts(0, 0, "a");
  Tick();
  EXPECT_EQ(work_.model_, "0[0a]");
}

// Found by the simulation: who did not hear the refusal asks again, and must not take it for another matter.
TEST_F(RoundMachineTest, RefusedUpdateSentAgain_IsRefusedTheSameWay) {
  Start(2);
  RegisterAll();
  EXPECT_THAT(Send(Of(1), 0, "bad"), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("infinite")));
  EXPECT_THAT(Send(Of(1), 0, "bad"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("round 0, where it was refused")));
}

TEST_F(RoundMachineTest, RoundThatIsNotOpenYet_IsRefused) {
  Start(1);
  RegisterAll();
  EXPECT_THAT(Send(Of(0), 1, "a"), HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("round 1, open is 0")));
  EXPECT_THAT(machine_->Pull(Of(0), 1, 0, now_),
              HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("open is 0")));
  EXPECT_THAT(machine_->NextTask(Of(0), 2, now_),
              HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("not the history of this server")));
}

TEST_F(RoundMachineTest, PushMany_IsOneWriteWithOutcomesInOrder) {
  Start(4);
  RegisterAll();
  std::vector<PushRequest> requests;
  for (const uint32_t client : {2u, 0u, 2u, 1u}) {
    const std::string text = client == 1 ? "bad" : "a";
    requests.push_back({Of(client), Admit(Of(client), 0, text)->reservation, Bytes(text)});
  }
  requests.push_back({Of(3), 99, Bytes("a")});
  const auto outcomes = machine_->PushMany(requests, now_);
  ASSERT_EQ(outcomes.size(), 5u);
  EXPECT_EQ(*outcomes[0], PushOutcome::kAccepted);
  EXPECT_EQ(*outcomes[1], PushOutcome::kAccepted);
  EXPECT_EQ(*outcomes[2], PushOutcome::kAlreadyAccepted);
  EXPECT_THAT(outcomes[3], HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("infinite")));
  EXPECT_THAT(outcomes[4], HasStatus(absl::StatusCode::kAborted, HasSubstr("no reservation 99")));
  EXPECT_EQ(disk_.inbox.size(), 2u);
}

// --- admission ---

TEST_F(RoundMachineTest, AdmissionBeyondTheBytesInFlight_IsBusyUntilThereIsRoom) {
  Start(3, {.max_update_bytes = 6, .max_bytes_in_flight = 10});
  RegisterAll();
  const auto first = Admit(Of(0), 0, "aaaaaa");
  const auto second = Admit(Of(1), 0, "bbbbb");
  EXPECT_EQ(second->kind, Admission::Kind::kBusy);
  EXPECT_EQ(second->retry_after, RoundRules().retry_after);
  EXPECT_EQ(Admit(Of(2), 0, "cccc")->kind, Admission::Kind::kSend);
  EXPECT_EQ(machine_->bytes_in_flight(), 10u);
  machine_->Cancel(Of(0), first->reservation);
  EXPECT_EQ(machine_->bytes_in_flight(), 4u);
  EXPECT_EQ(Admit(Of(1), 0, "bbbbb")->kind, Admission::Kind::kSend);
}

TEST_F(RoundMachineTest, AdmissionsOfOneClient_AreLimited) {
  Start(2, {.max_in_flight_per_client = 2});
  RegisterAll();
  EXPECT_EQ(Admit(Of(0), 0, "a")->kind, Admission::Kind::kSend);
  EXPECT_EQ(Admit(Of(0), 0, "a")->kind, Admission::Kind::kSend);
  EXPECT_EQ(Admit(Of(0), 0, "a")->kind, Admission::Kind::kBusy);
  EXPECT_EQ(Admit(Of(1), 0, "b")->kind, Admission::Kind::kSend);
}

TEST_F(RoundMachineTest, UpdateTooLarge_IsRefusedBeforeItIsSent) {
  Start(1, {.max_update_bytes = 3});
  RegisterAll();
  EXPECT_THAT(Admit(Of(0), 0, "aaaa"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("has 4 bytes, allowed are 3")));
  EXPECT_THAT(machine_->Admit(Of(0), 0, ~uint64_t{0}, 1, now_),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("allowed")));
}

TEST_F(RoundMachineTest, UploadThatTakesTooLong_LosesItsRoom) {
  Start(1, {.upload_timeout = absl::Seconds(4)});
  RegisterAll();
  const auto admission = Admit(Of(0), 0, "a");
  EXPECT_EQ(machine_->Tick(now_), At(4));
  Advance(absl::Seconds(4));
  Tick();
  EXPECT_EQ(machine_->reservations(), 0u);
  EXPECT_EQ(Count(Counter::kExpiredUploads), 1u);
  EXPECT_THAT(machine_->Push(Of(0), admission->reservation, Bytes("a"), now_),
              HasStatus(absl::StatusCode::kAborted, HasSubstr("expired")));
  Accepts(0, 0, "a");
}

TEST_F(RoundMachineTest, ReservationOfAnotherClient_IsNeitherSpentNorCancelled) {
  Start(2);
  RegisterAll();
  const auto admission = Admit(Of(0), 0, "a");
  EXPECT_THAT(machine_->Push(Of(1), admission->reservation, Bytes("a"), now_),
              HasStatus(absl::StatusCode::kAborted, HasSubstr("client 1")));
  machine_->Cancel(Of(1), admission->reservation);
  machine_->Cancel(Of(0, 9), admission->reservation);
  EXPECT_EQ(*machine_->Push(Of(0), admission->reservation, Bytes("a"), now_), PushOutcome::kAccepted);
}

}  // namespace
}  // namespace laconic
