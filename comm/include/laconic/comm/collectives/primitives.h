// Collectives over bytes, each a few Exchanges. Called by all ranks in the same order; counts agreed beforehand.
// n = size(), B = bytes of one rank's part. Wire bytes are per rank, sent.
#pragma once

#include <cstddef>
#include <span>

#include "absl/status/status.h"
#include "laconic/comm/communicator.h"

namespace laconic {

// Direct: one Exchange, (n-1) B bytes. `all` holds n parts of own.size() bytes in rank order, the own one included.
absl::Status Allgather(Communicator& comm, std::span<const std::byte> own, std::span<std::byte> all);

// Direct, parts of unequal length: parts[i] receives rank i's part and is exactly as long; parts[rank] is the own one,
// filled in.
absl::Status Allgatherv(Communicator& comm, std::span<const std::span<std::byte>> parts);

// Direct, one Exchange: outgoing[j] goes to rank j and incoming[i] comes from rank i, exactly as long. The own entries
// are copied, and must be equally long (or both empty).
absl::Status Alltoallv(Communicator& comm, std::span<const std::span<const std::byte>> outgoing,
                       std::span<const std::span<std::byte>> incoming);

// Binomial tree from `root`: ceil(log2 n) Exchanges.
absl::Status Broadcast(Communicator& comm, int root, std::span<std::byte> bytes);

// Dissemination: ceil(log2 n) Exchanges of empty messages.
absl::Status Barrier(Communicator& comm);

}  // namespace laconic
