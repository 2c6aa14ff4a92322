#include "laconic/comm/transport/paced.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <numeric>
#include <vector>

#include "comm/transport/decorator.h"
#include "comm/transport/errors.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

// Nanoseconds of the monotonic clock, which all processes of a machine share.
using Nanoseconds = int64_t;

Nanoseconds Now() { return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// One rank's wire to the switch, shared by its transport and the subgroups of it. Thread-safe.
class Link {
 public:
  explicit Link(const LinkModel& model)
      : ns_per_byte_(model.bits_per_second > 0 ? 8e9 / model.bits_per_second : 0),
        one_way_(absl::ToInt64Nanoseconds(model.round_trip / 2)) {}

  // When the first bit of a message posted at `posted` leaves the egress.
  Nanoseconds Send(Nanoseconds posted, size_t bytes) {
    std::lock_guard lock(mutex_);
    const Nanoseconds start = std::max(posted, egress_free_);
    egress_free_ = start + Occupation(bytes);
    return start;
  }
  // When the last bit of a message whose first bit left its sender at `start` has come in.
  Nanoseconds Receive(Nanoseconds start, size_t bytes) {
    std::lock_guard lock(mutex_);
    ingress_free_ = std::max(start + one_way_, ingress_free_) + Occupation(bytes);
    return ingress_free_;
  }
  Nanoseconds Occupation(size_t bytes) const {
    return static_cast<Nanoseconds>(ns_per_byte_ * static_cast<double>(bytes));
  }

 private:
  const double ns_per_byte_;
  const Nanoseconds one_way_;
  std::mutex mutex_;
  Nanoseconds egress_free_ = 0;   // guarded by mutex_
  Nanoseconds ingress_free_ = 0;  // guarded by mutex_
};

// In front of each message goes one with the time at which the message's first bit left the sender's egress. So the
// receiver knows when it arrives, however late it asks for it.
class PacedTransport final : public internal::TransportDecorator {
 public:
  PacedTransport(std::unique_ptr<Transport> inner, std::shared_ptr<Link> link)
      : TransportDecorator(std::move(inner)), link_(std::move(link)) {}

  absl::Status Exchange(std::span<const Outgoing> sends, std::span<const Incoming> receives,
                        const ExchangeOptions& options) override;
  absl::StatusOr<std::unique_ptr<Transport>> Subgroup(std::span<const int> members) override {
    LACONIC_ASSIGN_OR_RETURN(std::unique_ptr<Transport> inner, inner_->Subgroup(members));
    return std::make_unique<PacedTransport>(std::move(inner), link_);
  }

 private:
  absl::Status ExchangeWithStamps(std::span<const Outgoing> sends, std::span<const Incoming> receives,
                                  const ExchangeOptions& options);
  // When each receive has left the ingress, into arrivals_; gives the last one.
  Nanoseconds Arrivals(std::span<const Incoming> receives);

  std::shared_ptr<Link> link_;
  // Work memory of Exchange.
  std::vector<Outgoing> inner_sends_;
  std::vector<Incoming> inner_receives_;
  std::vector<Nanoseconds> sent_, received_, arrivals_;  // of each send, of each receive
  std::vector<size_t> order_;
};

absl::Status PacedTransport::Exchange(std::span<const Outgoing> sends, std::span<const Incoming> receives,
                                      const ExchangeOptions& options) {
  LACONIC_RETURN_IF_ERROR(poison_.status());
  const absl::Time start = absl::Now();
  Nanoseconds due = Now();
  sent_.clear();
  for (const Outgoing& send : sends) {
    sent_.push_back(link_->Send(due, send.bytes.size()));
  }
  if (absl::Status inner = ExchangeWithStamps(sends, receives, options); !inner.ok()) return poison_.Set(inner);
  for (size_t i = 0; i < sends.size(); ++i) {
    due = std::max(due, sent_[i] + link_->Occupation(sends[i].bytes.size()));
  }
  due = std::max(due, Arrivals(receives));

  const Nanoseconds now = Now();
  const absl::Duration left = options.deadline - absl::Now();
  const bool late = absl::Nanoseconds(due - now) > left;
  const Nanoseconds until = late ? now + absl::ToInt64Nanoseconds(left) : due;
  if (until > now && !sleeper_.SleepUntil(std::chrono::steady_clock::time_point(std::chrono::nanoseconds(until)))) {
    return poison_.status();
  }
  if (!late) return absl::OkStatus();

  std::vector<int> peers;
  for (size_t i = 0; i < receives.size(); ++i) {
    if (arrivals_[i] > until) peers.push_back(receives[i].from);
  }
  for (size_t i = 0; i < sends.size(); ++i) {
    if (sent_[i] + link_->Occupation(sends[i].bytes.size()) > until) peers.push_back(sends[i].to);
  }
  return poison_.Set(internal::WaitedFor(absl::Now() - start, options.deadline - start, std::move(peers)));
}

absl::Status PacedTransport::ExchangeWithStamps(std::span<const Outgoing> sends, std::span<const Incoming> receives,
                                                const ExchangeOptions& options) {
  inner_sends_.clear();
  inner_receives_.clear();
  received_.resize(receives.size());
  for (size_t i = 0; i < sends.size(); ++i) {
    inner_sends_.push_back({sends[i].to, std::as_bytes(std::span(&sent_[i], 1))});
    inner_sends_.push_back(sends[i]);
  }
  for (size_t i = 0; i < receives.size(); ++i) {
    inner_receives_.push_back({receives[i].from, std::as_writable_bytes(std::span(&received_[i], 1))});
    inner_receives_.push_back(receives[i]);
  }
  return inner_->Exchange(inner_sends_, inner_receives_, options);
}

Nanoseconds PacedTransport::Arrivals(std::span<const Incoming> receives) {
  arrivals_.resize(receives.size());
  order_.resize(receives.size());
  std::iota(order_.begin(), order_.end(), size_t{0});
  // The messages of one Exchange enter in the order in which they were sent (ties: in the order of the receives).
  std::sort(order_.begin(), order_.end(),
            [this](size_t a, size_t b) { return received_[a] != received_[b] ? received_[a] < received_[b] : a < b; });
  Nanoseconds last = 0;
  for (const size_t i : order_) {
    arrivals_[i] = link_->Receive(received_[i], receives[i].bytes.size());
    last = std::max(last, arrivals_[i]);
  }
  return last;
}

}  // namespace

std::unique_ptr<Transport> MakePacedTransport(std::unique_ptr<Transport> inner, const LinkModel& link) {
  return std::make_unique<PacedTransport>(std::move(inner), std::make_shared<Link>(link));
}

}  // namespace laconic
