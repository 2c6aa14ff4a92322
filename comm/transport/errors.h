// Checks and error texts that all transports share.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "laconic/comm/transport/transport.h"

namespace laconic::internal {

// InvalidArgument unless every peer is a rank of the group other than the own one.
absl::Status CheckPeers(const Transport& transport, std::span<const Outgoing> sends,
                        std::span<const Incoming> receives);

// The new rank of the own one. InvalidArgument unless `members` are ranks of the group, no one twice, the own one among
// them.
absl::StatusOr<int> CheckMembers(const Transport& transport, std::span<const int> members);

// DeadlineExceeded "waited 60.0 s (limit 60 s) for ranks 2, 3". `peers` in any order, repeats allowed.
absl::Status WaitedFor(absl::Duration elapsed, absl::Duration limit, std::vector<int> peers);

// DataLoss, as the receiver and as the sender see it.
absl::Status LengthMismatchAtReceiver(int from, size_t sent_bytes, size_t expected_bytes);
absl::Status LengthMismatchAtSender(int to, size_t sent_bytes, size_t expected_bytes);

// SharedMemory::Meet with arrays of unequal length.
absl::Status LentLengthMismatch(int peer, size_t peer_bytes, size_t own_bytes);

}  // namespace laconic::internal
