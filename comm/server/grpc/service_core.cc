#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "comm/server/grpc/service.h"

namespace laconic::internal {
namespace {

// How often slow transfers, and calls of clients that have gone, are looked for.
absl::Duration SweepInterval(const ServerLimits& limits) {
  return std::clamp(limits.progress_grace / 4, absl::Milliseconds(10), absl::Seconds(1));
}

}  // namespace

ServiceCore::ServiceCore(RoundMachine* machine, ServiceOptions options)
    : options_(std::move(options)),
      run_(machine->options().run),
      calls_(run_.clients),
      is_allowed_(run_.clients, options_.allowed_clients.empty()),
      asked_round_(machine->open_round()),
      next_sweep_(clock_.Now()) {
  for (const uint32_t client : options_.allowed_clients) {
    if (client < run_.clients) is_allowed_[client] = true;
  }
  metrics_.Set(MachineSnapshot::Of(*machine));
  thread_ = std::make_unique<MachineThread>(machine, &clock_,
                                            [this](RoundMachine& own, absl::Time now) { return After(own, now); });
}

absl::Status ServiceCore::Enter(std::optional<uint32_t> certified, uint32_t client) {
  if (certified.has_value() && *certified != client) {
    return absl::PermissionDeniedError(
        fmt::format("client {}'s certificate does not speak for client {}", *certified, client));
  }
  if (client >= run_.clients) {
    return absl::NotFoundError(fmt::format("client {}: the run has clients 0 to {}", client, run_.clients - 1));
  }
  if (!is_allowed_[client]) {
    return absl::PermissionDeniedError(fmt::format("client {} is not on this server's list", client));
  }
  if (++calls_[client] > options_.limits.max_calls_per_client) {
    --calls_[client];
    ++metrics_.refused_calls;
    return absl::ResourceExhaustedError(
        fmt::format("client {} has {} calls open, the limit", client, options_.limits.max_calls_per_client));
  }
  return absl::OkStatus();
}

void ServiceCore::Leave(uint32_t client) { --calls_[client]; }

void ServiceCore::Add(TransferCall* call) {
  const std::lock_guard<std::mutex> lock(transfers_mutex_);
  transfers_.insert(call);
}

void ServiceCore::Remove(TransferCall* call) {
  const std::lock_guard<std::mutex> lock(transfers_mutex_);
  transfers_.erase(call);
}

absl::Time ServiceCore::SlowAfter(absl::Time begin, uint64_t total_bytes, uint64_t done_bytes) const {
  // A piece counts when it is there as a whole, so that one may be on its way.
  const uint64_t expected_bytes = std::min<uint64_t>(total_bytes, done_bytes + kMaxPieceBytes);
  const double seconds = static_cast<double>(expected_bytes) / options_.limits.min_bytes_per_second;
  return begin + options_.limits.progress_grace + absl::Seconds(seconds);
}

void ServiceCore::Wait(WaitingCall* call, absl::Time until) {
  waiting_.push_back({call, until});
  ++metrics_.waiting;
}

void ServiceCore::StopWaiting() {
  thread_->Post([this](RoundMachine&, absl::Time) { waiting_stopped_ = true; });
}

void ServiceCore::ResumeWaiting() {
  thread_->Post([this](RoundMachine&, absl::Time) { waiting_stopped_ = false; });
}

absl::Status ServiceCore::AwaitEnd(absl::Time deadline) {
  std::unique_lock<std::mutex> lock(end_mutex_);
  const auto over = [this] { return has_ended_; };
  if (deadline == absl::InfiniteFuture()) {
    ended_.wait(lock, over);
  } else if (!ended_.wait_for(lock, absl::ToChronoNanoseconds(deadline - absl::Now()), over)) {
    const MachineSnapshot machine = metrics_.machine();
    return absl::DeadlineExceededError(fmt::format("the run has got to round {} of {}: {} of {} updates",
                                                   machine.open_round, machine.rounds, machine.accepted,
                                                   machine.participants));
  }
  lock.unlock();
  return metrics_.machine().failure;
}

absl::Time ServiceCore::After(RoundMachine& machine, absl::Time now) {
  metrics_.Set(MachineSnapshot::Of(machine));
  const bool over = machine.finished() || !machine.failure().ok();
  const bool sweeps = now >= next_sweep_;
  AskAgain(machine, now, waiting_stopped_ || over || sweeps || machine.open_round() != asked_round_);
  asked_round_ = machine.open_round();
  if (sweeps) {
    next_sweep_ = now + SweepInterval(options_.limits);
    const std::lock_guard<std::mutex> lock(transfers_mutex_);
    for (TransferCall* call : transfers_) call->EndIfSlow(now);
  }
  if (over) {
    const std::lock_guard<std::mutex> lock(end_mutex_);
    has_ended_ = true;
    ended_.notify_all();
  }
  absl::Time next = next_sweep_;
  for (const Waiting& waiting : waiting_) next = std::min(next, waiting.until);
  return next;
}

void ServiceCore::AskAgain(RoundMachine& machine, absl::Time now, bool all) {
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    if (all || at->until <= now) {
      const std::optional<absl::Time> until = at->call->Ask(machine, now, waiting_stopped_);
      if (!until.has_value()) {
        at = waiting_.erase(at);
        --metrics_.waiting;
        continue;
      }
      at->until = *until;
    }
    ++at;
  }
}

}  // namespace laconic::internal
