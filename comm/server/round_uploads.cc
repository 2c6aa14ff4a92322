// Updates on their way into the round machine: admitted, pushed, examined, written, accepted.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "laconic/base/hash.h"
#include "laconic/base/status.h"
#include "laconic/comm/server/round_machine.h"

namespace laconic {

// What is to become of an update of `client` (admitted to ask) for `round`. kLate stays true for ever, so that the
// client may drop what it kept for the update. Errors are for what a client that keeps to the protocol never waits for.
absl::StatusOr<RoundMachine::Standing> RoundMachine::StandingOf(uint32_t client, uint64_t round, uint64_t digest) {
  const auto unasked = [&](std::string_view why) {
    return Refuse(Counter::kRefusedUnasked, absl::FailedPreconditionError(fmt::format(
                                                "client {} sends an update for round {}{}", client, round, why)));
  };
  const std::optional<ClientRecord::Accepted>& last = clients_[client].last_accepted;
  if (last.has_value() && last->round == round) {
    if (last->digest == digest) return Standing::kAlreadyAccepted;
    return Refuse(Counter::kRefusedDigest,
                  absl::FailedPreconditionError(
                      fmt::format("client {} sends another update for round {}: digest {:016x}, accepted was {:016x}",
                                  client, round, digest, last->digest)));
  }
  if (last.has_value() && round < last->round) {
    return unasked(fmt::format(" after that for round {} was accepted", last->round));
  }
  if (round > open_round_ || round >= options_.run.rounds || !started_) {
    return unasked(fmt::format(", open is {}", started_ ? fmt::to_string(open_round_) : "none yet"));
  }
  if (finished() || open_round_ - round > options_.rules.staleness) return Standing::kLate;
  if (round < clients_[client].from_round) {
    // Refused before, which its sender may not have heard.
    return Refuse(Counter::kRefusedUnasked,
                  absl::InvalidArgumentError(fmt::format(
                      "client {} sends an update for round {}, where it was refused or has none", client, round)));
  }
  if (!IsParticipant(client, round)) return unasked(", whose participant it is not");
  if (accepted_.contains(client)) {
    return unasked(fmt::format(", its update for round {} counts in the open round {}",
                               accepted_.find(client)->second.round, open_round_));
  }
  return Standing::kWanted;
}

absl::StatusOr<Admission> RoundMachine::Admit(const Caller& caller, uint64_t round, uint64_t update_bytes,
                                              uint64_t digest, absl::Time now) {
  LACONIC_ASSIGN_OR_RETURN(Client * client, Admitted(caller, now));
  LACONIC_ASSIGN_OR_RETURN(const Standing standing, StandingOf(caller.client, round, digest));
  if (standing == Standing::kAlreadyAccepted) {
    ++counters_[Counter::kDuplicates];
    return Admission{.kind = Admission::Kind::kAlreadyAccepted};
  }
  if (standing == Standing::kLate) {
    ++counters_[Counter::kLate];
    return Admission{.kind = Admission::Kind::kLate};
  }
  const RoundRules& rules = options_.rules;
  if (update_bytes > rules.max_update_bytes) {
    return Refuse(Counter::kRefusedSize,
                  absl::InvalidArgumentError(fmt::format("client {}'s update for round {} has {} bytes, allowed are {}",
                                                         caller.client, round, update_bytes, rules.max_update_bytes)));
  }
  if (unwritten_.has_value() || client->in_flight >= rules.max_in_flight_per_client ||
      update_bytes > rules.max_bytes_in_flight - bytes_in_flight_) {
    ++counters_[Counter::kBusy];
    return Admission{.kind = Admission::Kind::kBusy, .retry_after = rules.retry_after};
  }
  const uint64_t reservation = next_reservation_++;
  reservations_[reservation] = {caller.client, round, update_bytes, digest, now + rules.upload_timeout};
  bytes_in_flight_ += update_bytes;
  ++client->in_flight;
  return Admission{.kind = Admission::Kind::kSend, .reservation = reservation};
}

void RoundMachine::Release(std::map<uint64_t, Reservation>::iterator reservation) {
  bytes_in_flight_ -= reservation->second.update_bytes;
  --clients_[reservation->second.client].in_flight;
  reservations_.erase(reservation);
}

void RoundMachine::Cancel(const Caller& caller, uint64_t reservation) {
  const auto found = reservations_.find(reservation);
  if (found == reservations_.end() || found->second.client != caller.client || caller.run != options_.run.id ||
      caller.incarnation != clients_[caller.client].incarnation) {
    return;
  }
  ++counters_[Counter::kBrokenUploads];
  Release(found);
}

absl::Time RoundMachine::ExpireUploads(absl::Time now) {
  absl::Time next = absl::InfiniteFuture();
  for (auto it = reservations_.begin(); it != reservations_.end();) {
    const auto reservation = it++;
    if (reservation->second.expires > now) {
      next = std::min(next, reservation->second.expires);
      continue;
    }
    ++counters_[Counter::kExpiredUploads];
    Release(reservation);
  }
  return next;
}

// Everything up to the journal. What is wanted goes to `taken`, and counts as accepted until WriteTaken says otherwise.
absl::StatusOr<PushOutcome> RoundMachine::Examine(PushRequest& request, std::vector<AcceptedUpdate>& taken,
                                                  absl::Time now) {
  const Caller& caller = request.caller;
  LACONIC_ASSIGN_OR_RETURN(Client * client, Admitted(caller, now));
  const auto found = reservations_.find(request.reservation);
  if (found == reservations_.end() || found->second.client != caller.client) {
    return absl::AbortedError(
        fmt::format("client {} has no reservation {}: it was spent, expired, or given before the "
                    "server restarted",
                    caller.client, request.reservation));
  }
  const Reservation reservation = found->second;
  Release(found);
  const uint64_t digest = Hash64(request.bytes);
  if (request.bytes.size() != reservation.update_bytes || digest != reservation.digest) {
    ++counters_[Counter::kBrokenUploads];
    return absl::DataLossError(fmt::format(
        "client {}'s update for round {} arrived as {} bytes of digest {:016x}, admitted were {} of {:016x}",
        caller.client, reservation.round, request.bytes.size(), digest, reservation.update_bytes, reservation.digest));
  }
  LACONIC_ASSIGN_OR_RETURN(const Standing standing, StandingOf(caller.client, reservation.round, digest));
  if (standing == Standing::kAlreadyAccepted) {
    ++counters_[Counter::kDuplicates];
    return PushOutcome::kAlreadyAccepted;
  }
  if (standing == Standing::kLate) {
    ++counters_[Counter::kLate];
    return PushOutcome::kLate;
  }
  if (unwritten_.has_value()) {
    return absl::UnavailableError(fmt::format("client {}: round {} is being closed", caller.client, open_round_));
  }
  if (const absl::Status check = work_->Check({caller.client, reservation.round, request.bytes}); !check.ok()) {
    client->from_round = std::max(client->from_round, reservation.round + 1);  // nothing more is to be expected of it
    return Refuse(Counter::kRefusedContent,
                  absl::InvalidArgumentError(fmt::format("client {}'s update for round {}: {}", caller.client,
                                                         reservation.round, check.ToString())));
  }
  taken.push_back({.round = reservation.round,
                   .client = caller.client,
                   .counted_in = open_round_,
                   .incarnation = caller.incarnation,
                   .digest = digest,
                   .accepted = now,
                   .bytes = std::move(request.bytes)});
  client->last_accepted = {reservation.round, digest};
  accepted_[caller.client].round = reservation.round;
  return PushOutcome::kAccepted;
}

absl::Status RoundMachine::WriteTaken(std::vector<AcceptedUpdate> taken) {
  const absl::Status written = journal_->Accept(taken);
  for (AcceptedUpdate& update : taken) {
    if (!written.ok()) {
      accepted_.erase(update.client);
      continue;
    }
    ++counters_[Counter::kAccepted];
    counters_[Counter::kAcceptedBytes] += update.bytes.size();
    accepted_[update.client] = std::move(update);
  }
  return written.ok() ? written : JournalError(written);
}

std::vector<absl::StatusOr<PushOutcome>> RoundMachine::PushMany(std::span<PushRequest> requests, absl::Time now) {
  std::vector<absl::StatusOr<PushOutcome>> outcomes;
  outcomes.reserve(requests.size());
  std::vector<AcceptedUpdate> taken;
  std::map<uint32_t, std::optional<ClientRecord::Accepted>> before;  // last_accepted of whose updates were taken
  for (PushRequest& request : requests) {
    const uint32_t client = request.caller.client;
    const auto last = client < clients_.size() ? clients_[client].last_accepted : std::nullopt;
    outcomes.push_back(Examine(request, taken, now));
    if (outcomes.back().ok() && *outcomes.back() == PushOutcome::kAccepted) before.emplace(client, last);
  }
  if (taken.empty()) return outcomes;
  const absl::Status written = WriteTaken(std::move(taken));
  if (written.ok()) return outcomes;
  for (const auto& [client, last] : before) clients_[client].last_accepted = last;
  // What was answered on the strength of an update that is not accepted after all is its error too.
  for (size_t i = 0; i < outcomes.size(); ++i) {
    if (outcomes[i].ok() && *outcomes[i] != PushOutcome::kLate && before.contains(requests[i].caller.client)) {
      outcomes[i] = written;
    }
  }
  return outcomes;
}

absl::StatusOr<PushOutcome> RoundMachine::Push(const Caller& caller, uint64_t reservation, std::vector<std::byte> bytes,
                                               absl::Time now) {
  PushRequest request = {caller, reservation, std::move(bytes)};
  return std::move(PushMany({&request, 1}, now).front());
}

}  // namespace laconic
