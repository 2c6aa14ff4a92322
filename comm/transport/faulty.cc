#include "laconic/comm/transport/faulty.h"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>

#include "comm/transport/decorator.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

// What a transport and the subgroups of it share: the schedule and how far it has got.
struct Plan {
  explicit Plan(std::vector<Fault> schedule) : faults(std::move(schedule)) {}
  const std::vector<Fault> faults;
  std::atomic<uint64_t> exchanges = 0;
};

class FaultyTransport final : public internal::TransportDecorator {
 public:
  FaultyTransport(std::unique_ptr<Transport> inner, std::shared_ptr<Plan> plan)
      : TransportDecorator(std::move(inner)), plan_(std::move(plan)) {}

  absl::Status Exchange(std::span<const Outgoing> sends, std::span<const Incoming> receives,
                        const ExchangeOptions& options) override;
  absl::StatusOr<std::unique_ptr<Transport>> Subgroup(std::span<const int> members) override {
    LACONIC_ASSIGN_OR_RETURN(std::unique_ptr<Transport> inner, inner_->Subgroup(members));
    return std::make_unique<FaultyTransport>(std::move(inner), plan_);
  }

 private:
  // One message on its way through the faults.
  struct Message {
    Outgoing outgoing;
    bool dropped = false;
    absl::Duration delay = absl::ZeroDuration();
  };
  void Strike(const Fault& fault, Message& message);

  std::shared_ptr<Plan> plan_;
  std::deque<std::vector<std::byte>> flipped_;  // copies that live until the Exchange ends
};

absl::Status FaultyTransport::Exchange(std::span<const Outgoing> sends, std::span<const Incoming> receives,
                                       const ExchangeOptions& options) {
  LACONIC_RETURN_IF_ERROR(poison_.status());
  const uint64_t exchange = plan_->exchanges.fetch_add(1);
  const auto start = std::chrono::steady_clock::now();

  flipped_.clear();
  std::vector<Message> messages(sends.size());
  for (size_t i = 0; i < sends.size(); ++i) messages[i].outgoing = sends[i];
  for (const Fault& fault : plan_->faults) {
    if (fault.exchange != exchange) continue;
    if (fault.kind == Fault::Kind::kAbort) {
      Abort(absl::AbortedError(fmt::format("fault of the schedule at exchange {}", exchange)));
      return poison_.status();
    }
    for (Message& message : messages) {
      if (fault.to < 0 || fault.to == message.outgoing.to) Strike(fault, message);
    }
  }

  // A delayed message holds up those behind it to the same rank, so that their order stays.
  std::vector<Outgoing> punctual, late;
  absl::Duration longest_delay;
  for (const Message& message : messages) {
    if (message.dropped) continue;
    const int to = message.outgoing.to;
    const bool held_up = std::any_of(late.begin(), late.end(), [&](const Outgoing& other) { return other.to == to; });
    longest_delay = std::max(longest_delay, message.delay);
    (held_up || message.delay > absl::ZeroDuration() ? late : punctual).push_back(message.outgoing);
  }
  if (absl::Status status = inner_->Exchange(punctual, receives, options); !status.ok()) return poison_.Set(status);
  if (late.empty()) return absl::OkStatus();
  if (!sleeper_.SleepUntil(start + absl::ToChronoNanoseconds(longest_delay))) return poison_.status();
  if (absl::Status status = inner_->Exchange(late, {}, options); !status.ok()) return poison_.Set(status);
  return absl::OkStatus();
}

void FaultyTransport::Strike(const Fault& fault, Message& message) {
  std::span<const std::byte>& bytes = message.outgoing.bytes;
  switch (fault.kind) {
    case Fault::Kind::kDrop:
      message.dropped = true;
      return;
    case Fault::Kind::kTruncate:
      bytes = bytes.first(bytes.size() - std::min<uint64_t>(fault.amount, bytes.size()));
      return;
    case Fault::Kind::kFlip: {
      if (bytes.empty()) return;
      std::vector<std::byte>& copy = flipped_.emplace_back(bytes.begin(), bytes.end());
      const uint64_t bit = fault.amount % (8 * bytes.size());
      copy[bit / 8] ^= std::byte{1} << (bit % 8);
      bytes = copy;
      return;
    }
    case Fault::Kind::kDelay:
      message.delay = std::max(message.delay, fault.delay);
      return;
    case Fault::Kind::kAbort:
      return;  // strikes the whole Exchange
  }
}

}  // namespace

std::unique_ptr<Transport> MakeFaultyTransport(std::unique_ptr<Transport> inner, std::vector<Fault> schedule) {
  return std::make_unique<FaultyTransport>(std::move(inner), std::make_shared<Plan>(std::move(schedule)));
}

}  // namespace laconic
