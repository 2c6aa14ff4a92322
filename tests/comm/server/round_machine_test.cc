// The round machine, request by request. tests/comm/server/simulation_test.cc has the volume.
#include "laconic/comm/server/round_machine.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "laconic/base/hash.h"
#include "tests/base/matchers.h"
#include "tests/comm/server/journal_checks.h"
#include "tests/comm/server/memory_journal.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class MemoryPlace : public JournalPlace {
 public:
  absl::StatusOr<std::unique_ptr<RoundJournal>> Open() override { return MakeMemoryJournal(&disk_); }

 private:
  MemoryDisk disk_;
};
INSTANTIATE_TEST_SUITE_P(Memory, JournalTest,
                         testing::Values(JournalKind{"memory", [] { return std::make_unique<MemoryPlace>(); }}),
                         JournalKindName);

std::vector<std::byte> Bytes(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  return {bytes.begin(), bytes.end()};
}
std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The model is the text of all that was closed: "0[0a 1b]1[0c 2b@0]" for round 0 with a of client 0 and b of client 1,
// round 1 with c of client 0, and b of client 2 that was made for round 0.
class TextWork : public RoundWork {
 public:
  std::vector<uint32_t> Participants(uint64_t round) const override { return participants_(round); }
  absl::StatusOr<std::span<const std::byte>> Broadcast(uint64_t round, uint64_t known) override {
    broadcast_ = Bytes(fmt::format("{} since {}", model_, known));
    return broadcast_;
  }
  absl::Status Check(const RoundUpdate& update) const override {
    return Text(update.bytes) == "bad" ? absl::DataLossError("tensor w: infinite at 3") : absl::OkStatus();
  }
  absl::Status Close(uint64_t round, std::span<const RoundUpdate> updates) override {
    if (!close_.ok()) return close_;
    std::string inside;
    for (const RoundUpdate& update : updates) {
      inside += fmt::format("{}{}{}{}", inside.empty() ? "" : " ", update.client, Text(update.bytes),
                            update.round == round ? "" : fmt::format("@{}", update.round));
    }
    model_ += fmt::format("{}[{}]", round, inside);
    return absl::OkStatus();
  }
  void Save(StateWriter& out) const override { out.Text("model", model_); }
  absl::Status Load(const StateReader& in) override {
    auto model = in.Text("model");
    if (!model.ok()) return model.status();
    model_ = *std::move(model);
    return absl::OkStatus();
  }

  std::function<std::vector<uint32_t>(uint64_t)> participants_;
  absl::Status close_;
  std::string model_;

 private:
  std::vector<std::byte> broadcast_;
};

constexpr uint64_t kRun = 0xabc;

class RoundMachineTest : public testing::Test {
 protected:
  // A machine for `clients` clients, all of them participants, whose rounds last 10 seconds; as after a restart if
  // there was one before.
  void Start(uint32_t clients, RoundRules rules = {}) {
    if (rules.deadline == RoundRules().deadline) rules.deadline = absl::Seconds(10);
    options_ = {.run = {.id = kRun, .description = "text", .clients = clients, .rounds = rounds_}, .rules = rules};
    options_.on_event = [this](const RoundEvent& event) { events_.push_back(event.text); };
    Restart();
  }
  void Restart() {
    machine_.reset();
    work_ = TextWork();
    work_.participants_ = [this](uint64_t round) {
      if (participants_) return participants_(round);
      std::vector<uint32_t> all(options_.run.clients);
      for (uint32_t i = 0; i < all.size(); ++i) all[i] = i;
      return all;
    };
    journal_ = MakeMemoryJournal(&disk_, [this] { return std::exchange(fault_, WriteFault::kNone); });
    auto machine = RoundMachine::Create(options_, &work_, journal_.get(), now_);
    ASSERT_THAT(machine, IsOk());
    machine_ = *std::move(machine);
  }

  Caller Of(uint32_t client, uint64_t incarnation = 1) const { return {kRun, client, incarnation}; }
  void RegisterAll() {
    for (uint32_t client = 0; client < options_.run.clients; ++client) {
      ASSERT_THAT(machine_->Register(Of(client), now_), IsOk());
    }
    machine_->Tick(now_);
  }
  absl::StatusOr<Admission> Admit(const Caller& caller, uint64_t round, std::string_view text) {
    return machine_->Admit(caller, round, text.size(), Hash64(text), now_);
  }
  // Admission and push; what would be told is told by either.
  absl::StatusOr<PushOutcome> Send(const Caller& caller, uint64_t round, std::string_view text) {
    const auto admission = Admit(caller, round, text);
    if (!admission.ok()) return admission.status();
    switch (admission->kind) {
      case Admission::Kind::kAlreadyAccepted:
        return PushOutcome::kAlreadyAccepted;
      case Admission::Kind::kLate:
        return PushOutcome::kLate;
      case Admission::Kind::kBusy:
        return absl::ResourceExhaustedError("busy");
      case Admission::Kind::kSend:
        break;
    }
    return machine_->Push(caller, admission->reservation, Bytes(text), now_);
  }
  void Accepts(uint32_t client, uint64_t round, std::string_view text) {
    const auto outcome = Send(Of(client), round, text);
    ASSERT_THAT(outcome, IsOk());
    EXPECT_EQ(*outcome, PushOutcome::kAccepted);
  }
  void Advance(absl::Duration duration) { now_ += duration; }
  void Tick() { machine_->Tick(now_); }
  uint64_t Count(Counter counter) const { return machine_->counters()[counter]; }

  uint64_t rounds_ = 3;
  std::function<std::vector<uint32_t>(uint64_t)> participants_;
  absl::Time now_ = At(0);
  MachineOptions options_;
  MemoryDisk disk_;
  WriteFault fault_ = WriteFault::kNone;  // of the next write
  TextWork work_;
  std::unique_ptr<RoundJournal> journal_;
  std::unique_ptr<RoundMachine> machine_;
  std::vector<std::string> events_;
};

// --- rounds ---

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

// --- pushes: late, twice, other, broken ---

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

// Found by the simulation, seed 2: who did not hear the refusal asks again, and must not take it for another matter.
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

// --- who asks ---

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

// --- the journal ---

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

// Found by the simulation, seed 561.
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
