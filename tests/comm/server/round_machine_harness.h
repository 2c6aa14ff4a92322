// A round machine under test: work whose model is a readable text, a journal in memory, and requests in one line.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "laconic/base/hash.h"
#include "laconic/comm/server/round_machine.h"
#include "tests/base/matchers.h"
#include "tests/comm/server/journal_checks.h"
#include "tests/comm/server/memory_journal.h"

namespace laconic {

inline std::vector<std::byte> Bytes(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  return {bytes.begin(), bytes.end()};
}
inline std::string Text(std::span<const std::byte> bytes) {
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

inline constexpr uint64_t kRun = 0xabc;

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

}  // namespace laconic
