#include "tests/comm/server/memory_journal.h"

#include <fmt/format.h>

#include <algorithm>

namespace laconic {
namespace {

class MemoryJournal : public RoundJournal {
 public:
  MemoryJournal(MemoryDisk* disk, WriteFaults faults) : disk_(disk), faults_(std::move(faults)) {
    if (const auto torn = std::exchange(disk_->torn, nullptr)) torn(*disk_);
  }

  absl::StatusOr<RecoveredRun> Open(const RunInfo& run, absl::Time now) override {
    if (!disk_->run.has_value()) disk_->run = run;
    const RunInfo& there = *disk_->run;
    if (there.description != run.description || there.clients != run.clients || there.rounds != run.rounds) {
      return absl::FailedPreconditionError(
          fmt::format("memory: run {} was begun with \"{}\", {} clients, {} rounds; not \"{}\", {}, {}", run.id,
                      there.description, there.clients, there.rounds, run.description, run.clients, run.rounds));
    }
    RecoveredRun recovered;
    recovered.closed_rounds = disk_->rounds.size();
    if (!disk_->states.empty()) {
      recovered.saved_rounds = disk_->states.rbegin()->first;
      recovered.state = disk_->states.rbegin()->second;
    }
    for (const auto& [client, incarnation] : disk_->incarnations) {
      recovered.clients.push_back({.client = client, .incarnation = incarnation});
    }
    for (const auto& [key, update] : disk_->inbox) {
      for (ClientRecord& record : recovered.clients) {
        if (record.client == update.client) record.last_accepted = {update.round, update.digest};
      }
      if (update.counted_in >= recovered.saved_rounds) recovered.updates.push_back(update);
    }
    std::sort(recovered.updates.begin(), recovered.updates.end(), [](const AcceptedUpdate& a, const AcceptedUpdate& b) {
      return std::pair(a.counted_in, a.client) < std::pair(b.counted_in, b.client);
    });
    recovered.counters = disk_->counters;
    return recovered;
  }

  absl::Status RegisterClient(uint32_t client, uint64_t incarnation, absl::Time now) override {
    return Write([=](MemoryDisk& disk) { disk.incarnations[client] = incarnation; });
  }

  absl::Status Accept(std::span<const AcceptedUpdate> updates) override {
    return Write([copy = std::vector<AcceptedUpdate>(updates.begin(), updates.end())](MemoryDisk& disk) {
      for (const AcceptedUpdate& update : copy) disk.inbox.emplace(std::pair(update.round, update.client), update);
    });
  }

  absl::Status CloseRound(const ClosedRound& closed, const Counters& counters, const StateArchive* state) override {
    return Write(
        [closed, counters, copy = state == nullptr ? std::optional<StateArchive>() : *state](MemoryDisk& disk) {
          disk.rounds.push_back(closed);
          disk.counters = counters;
          if (!copy.has_value()) return;
          disk.states.clear();
          disk.states[closed.round + 1] = *copy;
          for (auto& [key, update] : disk.inbox) {
            if (update.counted_in <= closed.round) update.bytes.clear();
          }
        });
  }

 private:
  absl::Status Write(std::function<void(MemoryDisk&)> write) {
    switch (faults_ ? faults_() : WriteFault::kNone) {
      case WriteFault::kNone:
        disk_->torn = nullptr;
        write(*disk_);
        return absl::OkStatus();
      case WriteFault::kFailsButMayHaveArrived:
        disk_->torn = std::move(write);
        break;
      case WriteFault::kFails:
        break;
    }
    return absl::ResourceExhaustedError("memory: no room, as the test wants it");
  }

  MemoryDisk* disk_;
  WriteFaults faults_;
};

}  // namespace

std::unique_ptr<RoundJournal> MakeMemoryJournal(MemoryDisk* disk, WriteFaults faults) {
  return std::make_unique<MemoryJournal>(disk, std::move(faults));
}

}  // namespace laconic
