// Any sequence of requests, from anybody, with crashes and failed writes between them: what counts is on the disk, each
// (round, client) once, within bounds; and the server that comes up again is the one that went down.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <set>

#include "laconic/base/byte_io.h"
#include "laconic/base/hash.h"
#include "laconic/comm/server/round_machine.h"
#include "tests/comm/server/integer_run.h"
#include "tests/comm/server/memory_journal.h"

namespace laconic {
namespace {

void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

class Sequence {
 public:
  explicit Sequence(std::span<const std::byte> bytes) : in_(bytes) {
    const auto clients = static_cast<uint32_t>(1 + in_.Get<uint8_t>() % 4);
    sampling_ = {.seed = in_.Get<uint8_t>(), .clients = clients, .per_mille = 800};
    options_.run = {.id = 1, .description = "fuzz", .clients = clients, .rounds = uint64_t{1} + in_.Get<uint8_t>() % 6};
    RoundRules& rules = options_.rules;
    rules.quorum = 1 + in_.Get<uint8_t>() % clients;
    rules.enough = in_.Get<uint8_t>() % 2 == 0 ? 0 : rules.quorum;
    rules.staleness = in_.Get<uint8_t>() % 3;
    rules.start_clients = in_.Get<uint8_t>() % (clients + 1);
    rules.save_every = 1 + in_.Get<uint8_t>() % 3;
    rules.max_update_bytes = 64;
    rules.max_bytes_in_flight = 128;
    rules.deadline = absl::Seconds(10);
    rules.silence = absl::Seconds(4);
    rules.upload_timeout = absl::Seconds(3);
    Start();
  }

  void Run() {
    while (in_.ok() && in_.remaining() > 0) {
      Step();
      Check();
    }
  }

 private:
  void Start() {
    work_ = std::make_unique<IntegerWork>(sampling_);
    journal_ = MakeMemoryJournal(&disk_, [this] { return std::exchange(fault_, WriteFault::kNone); });
    auto machine = RoundMachine::Create(options_, work_.get(), journal_.get(), now_);
    Require(machine.ok(), "a server comes up from what it wrote");
    machine_ = *std::move(machine);
  }

  // What is written is the machine's state, unless a write has failed.
  void Restart() {
    fault_ = WriteFault::kNone;
    const bool same = !disk_.torn && work_->closed_rounds() == machine_->open_round();
    const uint64_t open_round = machine_->open_round(), model = work_->model();
    const uint32_t accepted = machine_->accepted();
    Start();
    if (!same || machine_->open_round() != open_round) return;  // what was complete is closed at once
    Require(work_->model() == model, "the model is the same after a restart");
    Require(machine_->accepted() == accepted || machine_->finished(), "so is what the open round has accepted");
  }

  // Mostly somebody who may ask, else anybody.
  Caller NextCaller() {
    const uint8_t who = in_.Get<uint8_t>();
    Caller caller = {
        .run = who >= 250 ? 2u : 1u, .client = who % (options_.run.clients + 1), .incarnation = who / 8u % 4};
    const auto known = disk_.incarnations.find(caller.client);
    if (who < 180 && known != disk_.incarnations.end()) caller.incarnation = known->second;
    return caller;
  }

  // Mostly the open round or the one before it, else any.
  uint64_t NextRound() {
    const uint8_t which = in_.Get<uint8_t>();
    if (which < 160) return machine_->open_round();
    return which < 200 ? machine_->open_round() - 1 : which % 8;
  }

  std::vector<std::byte> NextUpdate(uint32_t client, uint64_t round) {
    const uint8_t kind = in_.Get<uint8_t>();
    if (kind < 200) return IntegerUpdate::Make(client, round, work_->model(), {kind % 2, 0}).Bytes();
    const auto bytes = in_.Take(std::min<uint64_t>(kind - 200, in_.remaining()));
    return {bytes.begin(), bytes.end()};
  }

  void Step() {
    switch (in_.Get<uint8_t>() % 12) {
      case 0:
      case 1:
        Register();
        break;
      case 2:
        machine_->NextTask(NextCaller(), in_.Get<uint8_t>() % 8, now_).IgnoreError();
        break;
      case 3: {
        const Caller caller = NextCaller();
        const uint64_t round = NextRound();
        machine_->Pull(caller, round, in_.Get<uint8_t>() % 8, now_).IgnoreError();
        break;
      }
      case 4:
      case 5:
      case 6:
        AdmitOne();
        break;
      case 7:
      case 8:
        PushSome();
        break;
      case 9:
        if (!uploads_.empty()) machine_->Cancel(NextCaller(), uploads_.back().reservation);
        break;
      case 10:
        now_ += absl::Milliseconds(100 * in_.Get<uint8_t>());
        break;
      case 11:
        switch (in_.Get<uint8_t>() % 3) {
          case 0:
            Restart();
            break;
          case 1:
            fault_ = WriteFault::kFails;
            break;
          case 2:
            fault_ = WriteFault::kFailsButMayHaveArrived;
            break;
        }
        break;
    }
    machine_->Tick(now_);
  }

  void Register() {
    const uint8_t who = in_.Get<uint8_t>();
    machine_->Register({.run = 1, .client = who % (options_.run.clients + 1), .incarnation = 1u + who / 64}, now_)
        .IgnoreError();
  }

  struct Upload {
    Caller caller;
    uint64_t reservation = 0, round = 0;
    std::vector<std::byte> bytes;
  };

  void AdmitOne() {
    const Caller caller = NextCaller();
    const uint64_t round = NextRound();
    std::vector<std::byte> bytes = NextUpdate(caller.client, round);
    const auto admission = machine_->Admit(caller, round, bytes.size(), Hash64(bytes), now_);
    if (!admission.ok()) return;
    if (admission->kind == Admission::Kind::kSend)
      uploads_.push_back({caller, admission->reservation, round, std::move(bytes)});
    if (admission->kind == Admission::Kind::kAlreadyAccepted) Accepted(round, caller.client);
    if (admission->kind == Admission::Kind::kLate) late_.insert({round, caller.client});
  }

  void PushSome() {
    std::vector<PushRequest> requests;
    std::vector<uint64_t> rounds;
    const size_t count = 1 + in_.Get<uint8_t>() % 3;
    for (size_t i = 0; i < count && !uploads_.empty(); ++i) {
      const uint8_t which = in_.Get<uint8_t>();  // mostly one of the last, by who admitted it
      const Upload& upload = uploads_[uploads_.size() - 1 - which / 2 % 16 % uploads_.size()];
      requests.push_back({which % 2 == 0 ? upload.caller : NextCaller(), upload.reservation, upload.bytes});
      rounds.push_back(upload.round);
    }
    const auto outcomes = machine_->PushMany(requests, now_);
    for (size_t i = 0; i < outcomes.size(); ++i) {
      if (!outcomes[i].ok()) continue;
      const std::pair<uint64_t, uint32_t> key = {rounds[i], requests[i].caller.client};
      *outcomes[i] == PushOutcome::kLate ? void(late_.insert(key)) : Accepted(key.first, key.second);
    }
  }

  void Accepted(uint64_t round, uint32_t client) {
    Require(disk_.inbox.contains({round, client}), "what is acknowledged is on the disk");
  }

  void Check() const {
    const RoundRules& rules = options_.rules;
    std::map<uint64_t, std::set<uint32_t>> counted;
    for (const auto& [key, update] : disk_.inbox) {
      Require(counted[update.counted_in].insert(update.client).second, "a client counts once in a round");
      Require(update.counted_in >= update.round, "nothing counts before it was made");
      Require(update.counted_in - update.round <= rules.staleness, "nothing too old counts");
      Require(update.counted_in <= disk_.rounds.size(), "nothing counts in the future");
      Require(!late_.contains(key), "what was late does not count");
    }
    for (uint64_t round = 0; round < disk_.rounds.size(); ++round) {
      Require(disk_.rounds[round].round == round, "rounds close in order");
      Require(disk_.rounds[round].counted == counted[round].size(), "accepted is counted");
    }
    Require(machine_->open_round() == disk_.rounds.size(), "the open round is the one after the last that is written");
    Require(machine_->bytes_in_flight() <= rules.max_bytes_in_flight, "bytes in flight are bounded");
    uint32_t in_flight = 0;
    for (const auto& client : machine_->Clients(now_)) {
      Require(client.in_flight <= rules.max_in_flight_per_client, "admissions of a client are bounded");
      in_flight += client.in_flight;
    }
    Require(in_flight == machine_->reservations(), "every reservation is a client's");
  }

  ByteReader in_;
  Sampling sampling_;
  MachineOptions options_;
  absl::Time now_ = absl::UnixEpoch();
  MemoryDisk disk_;
  WriteFault fault_ = WriteFault::kNone;
  std::unique_ptr<IntegerWork> work_;
  std::unique_ptr<RoundJournal> journal_;
  std::unique_ptr<RoundMachine> machine_;
  std::vector<Upload> uploads_;
  std::set<std::pair<uint64_t, uint32_t>> late_;
};

}  // namespace
}  // namespace laconic

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  laconic::Sequence(std::as_bytes(std::span(data, size))).Run();
  return 0;
}
