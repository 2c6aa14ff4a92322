// What clients ask of the round machine besides uploads: who they are, what to do, what to start from.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "laconic/base/status.h"
#include "laconic/comm/server/round_machine.h"

namespace laconic {

absl::Status RoundMachine::Refuse(Counter counter, absl::Status status) {
  ++counters_[counter];
  Report(RoundEvent::Kind::kRefused, status.ToString());
  return status;
}

bool RoundMachine::IsParticipant(uint32_t client, uint64_t round) const {
  if (round == open_round_) return std::binary_search(participants_.begin(), participants_.end(), client);
  const std::vector<uint32_t> participants = work_->Participants(round);
  return std::binary_search(participants.begin(), participants.end(), client);
}

absl::StatusOr<RoundMachine::Client*> RoundMachine::Admitted(const Caller& caller, absl::Time now) {
  const RunInfo& run = options_.run;
  if (caller.client >= run.clients) {
    return Refuse(Counter::kRefusedStranger, absl::NotFoundError(fmt::format("client {}: run {:016x} has {} clients",
                                                                             caller.client, run.id, run.clients)));
  }
  if (caller.run != run.id) {
    return Refuse(Counter::kRefusedStranger,
                  absl::FailedPreconditionError(fmt::format("client {} speaks of run {:016x}, this is run {:016x}",
                                                            caller.client, caller.run, run.id)));
  }
  Client& client = clients_[caller.client];
  if (client.incarnation == 0 || caller.incarnation > client.incarnation) {
    return Refuse(Counter::kRefusedStranger,
                  absl::FailedPreconditionError(fmt::format("client {} has not registered as incarnation {}",
                                                            caller.client, caller.incarnation)));
  }
  if (caller.incarnation < client.incarnation) {
    return Refuse(Counter::kRefusedReplaced,
                  absl::FailedPreconditionError(fmt::format("incarnation {} of client {} was replaced by {}",
                                                            caller.incarnation, caller.client, client.incarnation)));
  }
  client.seen = now;
  LACONIC_RETURN_IF_ERROR(failure_);
  return &client;
}

absl::StatusOr<Registration> RoundMachine::Register(const Caller& caller, absl::Time now) {
  Caller known = caller;
  if (known.run == 0) known.run = options_.run.id;
  if (caller.incarnation == 0) {
    return absl::InvalidArgumentError(fmt::format("client {}: incarnations start at 1", caller.client));
  }
  if (caller.client < clients_.size() && known.run == options_.run.id &&
      caller.incarnation > clients_[caller.client].incarnation) {
    LACONIC_RETURN_IF_ERROR(failure_);
    // First in the journal: after a restart of the server the one before must not be let in again.
    const absl::Status written = journal_->RegisterClient(caller.client, caller.incarnation, now);
    if (!written.ok()) return JournalError(written);
    Client& client = clients_[caller.client];
    if (client.incarnation != 0) {
      Report(RoundEvent::Kind::kReplaced, fmt::format("client {}: incarnation {} replaces {}", caller.client,
                                                      caller.incarnation, client.incarnation));
    }
    for (auto next = reservations_.begin(); next != reservations_.end();) {
      const auto reservation = next++;
      if (reservation->second.client == caller.client) Release(reservation);
    }
    client.incarnation = caller.incarnation;
    client.from_round = 0;
    ++counters_[Counter::kRegistrations];
  }
  LACONIC_ASSIGN_OR_RETURN(const Client* client, Admitted(known, now));
  return Registration{options_.run, open_round_, client->last_accepted};
}

absl::StatusOr<Task> RoundMachine::NextTask(const Caller& caller, uint64_t from_round, absl::Time now) {
  LACONIC_ASSIGN_OR_RETURN(Client * client, Admitted(caller, now));
  if (from_round > open_round_ + 1) {
    return Refuse(Counter::kRefusedUnasked,
                  absl::FailedPreconditionError(fmt::format("client {} is done with all rounds before {}, open is {}: "
                                                            "not the history of this server",
                                                            caller.client, from_round, open_round_)));
  }
  client->from_round = std::max(client->from_round, from_round);
  if (finished()) return Task{Task::Kind::kFinished, open_round_, absl::InfiniteFuture()};
  if (unwritten_.has_value()) return Task{Task::Kind::kWait, open_round_, unwritten_->retry_at};
  const bool work = started_ && client->from_round <= open_round_ && !accepted_.contains(caller.client) &&
                    IsParticipant(caller.client, open_round_);
  return Task{work ? Task::Kind::kWork : Task::Kind::kWait, open_round_, deadline_};
}

absl::StatusOr<Pulled> RoundMachine::Pull(const Caller& caller, uint64_t round, uint64_t known, absl::Time now) {
  LACONIC_RETURN_IF_ERROR(Admitted(caller, now).status());
  if (round < open_round_) {
    ++counters_[Counter::kLate];
    return Pulled{.late = true};
  }
  if (round > open_round_ || !started_ || finished() || !IsParticipant(caller.client, round)) {
    return Refuse(Counter::kRefusedUnasked,
                  absl::FailedPreconditionError(fmt::format("client {} pulls round {}, {}", caller.client, round,
                                                            round == open_round_ && started_ && !finished()
                                                                ? "whose participant it is not"
                                                                : fmt::format("open is {}", open_round_))));
  }
  if (known > round) {
    return Refuse(Counter::kRefusedUnasked,
                  absl::FailedPreconditionError(fmt::format(
                      "client {} pulls round {} and says that it received round {}", caller.client, round, known - 1)));
  }
  if (unwritten_.has_value()) {
    return absl::UnavailableError(fmt::format("client {}: round {} is being closed", caller.client, round));
  }
  const absl::StatusOr<std::span<const std::byte>> bytes = work_->Broadcast(round, known);
  if (!bytes.ok()) {
    return absl::InternalError(
        fmt::format("broadcast of round {} for client {}: {}", round, caller.client, bytes.status().ToString()));
  }
  ++counters_[Counter::kPulls];
  counters_[Counter::kPulledBytes] += bytes->size();
  return Pulled{.bytes = *bytes};
}

absl::Status RoundMachine::Heartbeat(const Caller& caller, absl::Time now) { return Admitted(caller, now).status(); }

}  // namespace laconic
