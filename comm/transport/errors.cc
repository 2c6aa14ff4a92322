#include "comm/transport/errors.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

absl::Status CheckPeer(const Transport& transport, const char* verb, int peer) {
  if (peer < 0 || peer >= transport.size()) {
    return absl::InvalidArgumentError(
        fmt::format("cannot {} rank {}: the group has ranks 0 to {}", verb, peer, transport.size() - 1));
  }
  if (peer == transport.rank()) {
    return absl::InvalidArgumentError(fmt::format("cannot {} rank {}: it is the own rank", verb, peer));
  }
  return absl::OkStatus();
}

// "60.0 s", and below a second "0.050 s".
std::string ElapsedText(absl::Duration elapsed) {
  const double seconds = absl::ToDoubleSeconds(elapsed);
  return seconds < 1 ? fmt::format("{:.3f} s", seconds) : fmt::format("{:.1f} s", seconds);
}

}  // namespace

absl::Status CheckPeers(const Transport& transport, std::span<const Outgoing> sends,
                        std::span<const Incoming> receives) {
  for (const Outgoing& send : sends) LACONIC_RETURN_IF_ERROR(CheckPeer(transport, "send to", send.to));
  for (const Incoming& receive : receives) {
    LACONIC_RETURN_IF_ERROR(CheckPeer(transport, "receive from", receive.from));
  }
  return absl::OkStatus();
}

absl::StatusOr<int> CheckMembers(const Transport& transport, std::span<const int> members) {
  std::vector<bool> seen(transport.size(), false);
  int own = -1;
  for (size_t i = 0; i < members.size(); ++i) {
    const int member = members[i];
    if (member < 0 || member >= transport.size() || seen[member]) {
      return absl::InvalidArgumentError(
          fmt::format("subgroup of ranks {}: {} is {}", fmt::join(members, ", "), member,
                      member < 0 || member >= transport.size() ? "not a rank of the group" : "there twice"));
    }
    seen[member] = true;
    if (member == transport.rank()) own = static_cast<int>(i);
  }
  if (own < 0) {
    return absl::InvalidArgumentError(
        fmt::format("subgroup of ranks {}: the own rank {} is missing", fmt::join(members, ", "), transport.rank()));
  }
  return own;
}

absl::Status WaitedFor(absl::Duration elapsed, absl::Duration limit, std::vector<int> peers) {
  std::sort(peers.begin(), peers.end());
  peers.erase(std::unique(peers.begin(), peers.end()), peers.end());
  const double limit_seconds = std::round(absl::ToDoubleSeconds(limit) * 1000) / 1000;  // to the millisecond
  return absl::DeadlineExceededError(fmt::format("waited {} (limit {:.6g} s) for rank{} {}", ElapsedText(elapsed),
                                                 limit_seconds, peers.size() == 1 ? "" : "s", fmt::join(peers, ", ")));
}

absl::Status LengthMismatchAtReceiver(int from, size_t sent_bytes, size_t expected_bytes) {
  return absl::DataLossError(fmt::format("the message from rank {} has {} bytes where this rank expects {}", from,
                                         sent_bytes, expected_bytes));
}

absl::Status LengthMismatchAtSender(int to, size_t sent_bytes, size_t expected_bytes) {
  return absl::DataLossError(
      fmt::format("the message to rank {} has {} bytes where it expects {}", to, sent_bytes, expected_bytes));
}

absl::Status LentLengthMismatch(int peer, size_t peer_bytes, size_t own_bytes) {
  return absl::DataLossError(
      fmt::format("rank {} has lent {} bytes where this rank has {}", peer, peer_bytes, own_bytes));
}

}  // namespace laconic::internal
