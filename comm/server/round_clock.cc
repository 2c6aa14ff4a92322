// Time in the round machine: rounds open, close, are extended; the run ends or fails.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "laconic/comm/server/round_machine.h"

namespace laconic {
namespace {

// "1, 4, 9 and 12 more"
std::string ListOf(const std::vector<uint32_t>& clients) {
  constexpr size_t kShown = 8;
  const std::span<const uint32_t> shown = std::span(clients).first(std::min(kShown, clients.size()));
  std::string list = fmt::format("{}", fmt::join(shown, ", "));
  if (clients.size() > kShown) list += fmt::format(" and {} more", clients.size() - kShown);
  return list;
}

}  // namespace

// Nothing more is expected of this participant of the open round.
bool RoundMachine::IsDone(uint32_t participant, absl::Time now) const {
  const Client& client = clients_[participant];
  return accepted_.contains(participant) || client.from_round > open_round_ ||
         now - client.seen >= options_.rules.silence;
}

bool RoundMachine::MayClose(absl::Time now) const {
  const size_t quorum = std::min<size_t>(options_.rules.quorum, participants_.size());
  if (accepted_.size() < quorum) return false;
  if (options_.rules.enough != 0 && accepted_.size() >= options_.rules.enough) return true;
  if (now >= deadline_) return true;
  return std::all_of(participants_.begin(), participants_.end(),
                     [&](uint32_t participant) { return IsDone(participant, now); });
}

std::string RoundMachine::Progress(absl::Time now) const {
  std::vector<uint32_t> waiting;
  if (!started_) {
    for (uint32_t client = 0; client < clients_.size(); ++client) {
      if (clients_[client].incarnation == 0) waiting.push_back(client);
    }
    return fmt::format("{} of {} clients have registered, {} must; waiting for clients {}",
                       clients_.size() - waiting.size(), clients_.size(), options_.rules.start_clients,
                       ListOf(waiting));
  }
  for (const uint32_t participant : participants_) {
    if (!IsDone(participant, now)) waiting.push_back(participant);
  }
  std::string text = fmt::format("{} of {} updates, quorum {}", accepted_.size(), participants_.size(),
                                 std::min<size_t>(options_.rules.quorum, participants_.size()));
  if (!waiting.empty()) text += fmt::format("; waiting for clients {}", ListOf(waiting));
  return text;
}

void RoundMachine::Fail(const absl::Status& cause) {
  failure_ =
      absl::FailedPreconditionError(fmt::format("the run failed in round {}: {}", open_round_, cause.ToString()));
  Report(RoundEvent::Kind::kFailed, std::string(failure_.message()));
}

void RoundMachine::OpenRound(absl::Time now) {
  started_ = true;
  extensions_ = 0;
  opened_ = now;
  deadline_ = now + options_.rules.deadline;
  participants_ = work_->Participants(open_round_);
  const bool ascending =
      std::adjacent_find(participants_.begin(), participants_.end(), std::greater_equal<>()) == participants_.end();
  if (!ascending || (!participants_.empty() && participants_.back() >= options_.run.clients)) {
    return Fail(absl::InternalError(fmt::format("participants {} are not ascending, or not among {} clients",
                                                ListOf(participants_), options_.run.clients)));
  }
  Report(RoundEvent::Kind::kOpened, fmt::format("round {} open for {} clients", open_round_, participants_.size()));
}

void RoundMachine::Extend(absl::Time now) {
  ++extensions_;
  ++counters_[Counter::kExtensions];
  if (extensions_ > options_.rules.max_extensions) {
    return Fail(absl::DeadlineExceededError(fmt::format("{} after {} deadlines of {}", Progress(now), extensions_,
                                                        absl::FormatDuration(options_.rules.deadline))));
  }
  deadline_ = now + options_.rules.deadline;
  Report(RoundEvent::Kind::kExtended, fmt::format("round {} extended: {}", open_round_, Progress(now)));
}

void RoundMachine::CloseRound(absl::Time now) {
  std::vector<RoundUpdate> updates;
  updates.reserve(accepted_.size());
  for (const auto& [client, update] : accepted_) updates.push_back({client, update.round, update.bytes});
  if (const absl::Status closed = work_->Close(open_round_, updates); !closed.ok()) return Fail(closed);

  last_round_duration_ = now - opened_;
  ++counters_[Counter::kRounds];
  counters_[Counter::kRoundMicroseconds] += static_cast<uint64_t>(absl::ToInt64Microseconds(last_round_duration_));
  const RoundRules& rules = options_.rules;
  UnwrittenClose close = {.closed = {.round = open_round_,
                                     .opened = opened_,
                                     .closed = now,
                                     .participants = participants(),
                                     .counted = accepted(),
                                     .extensions = extensions_},
                          .retry_at = now,
                          .give_up_at = now + rules.deadline * (int64_t{rules.max_extensions} + 1)};
  const uint64_t closed_rounds = open_round_ + 1;
  if (closed_rounds % rules.save_every == 0 || closed_rounds == options_.run.rounds) {
    StateWriter out(&close.state.emplace());
    work_->Save(out);
  }
  unwritten_ = std::move(close);
}

// Puts the closed round into the journal and opens the next. False: not yet.
bool RoundMachine::WriteClose(absl::Time now) {
  if (now < unwritten_->retry_at) return false;
  const ClosedRound& closed = unwritten_->closed;
  const absl::Status written =
      journal_->CloseRound(closed, counters_, unwritten_->state.has_value() ? &*unwritten_->state : nullptr);
  if (!written.ok()) {
    const absl::Status error = JournalError(written);
    if (now >= unwritten_->give_up_at) Fail(error);
    unwritten_->retry_at = now + options_.rules.retry_after;
    return false;
  }
  const std::string text = fmt::format("round {} closed after {}: {} of {} updates, {} extensions", closed.round,
                                       absl::FormatDuration(closed.closed - closed.opened), closed.counted,
                                       closed.participants, closed.extensions);
  Report(RoundEvent::Kind::kClosed, text);
  unwritten_.reset();
  accepted_.clear();
  participants_.clear();
  ++open_round_;
  if (finished()) {
    Report(RoundEvent::Kind::kFinished, fmt::format("all {} rounds are closed", open_round_));
  } else {
    OpenRound(now);
  }
  return true;
}

absl::Time RoundMachine::NextDue(absl::Time now) const {
  if (unwritten_.has_value()) return unwritten_->retry_at;
  absl::Time next = deadline_;
  if (!started_ || options_.rules.silence == absl::InfiniteDuration()) return next;
  for (const uint32_t participant : participants_) {
    if (!IsDone(participant, now)) next = std::min(next, clients_[participant].seen + options_.rules.silence);
  }
  return next;
}

absl::Time RoundMachine::Tick(absl::Time now) {
  const absl::Time next_expiry = ExpireUploads(now);
  while (failure_.ok() && !finished()) {
    if (unwritten_.has_value()) {
      if (!WriteClose(now)) break;
    } else if (!started_) {
      const auto registered =
          std::count_if(clients_.begin(), clients_.end(), [](const Client& client) { return client.incarnation != 0; });
      if (registered >= options_.rules.start_clients) {
        OpenRound(now);
      } else if (now >= deadline_) {
        Extend(now);
      } else {
        break;
      }
    } else if (MayClose(now)) {
      CloseRound(now);
    } else if (now >= deadline_) {
      Extend(now);
    } else {
      break;
    }
  }
  return failure_.ok() && !finished() ? std::min(next_expiry, NextDue(now)) : next_expiry;
}

}  // namespace laconic
