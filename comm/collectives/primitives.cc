// In the comments: n ranks, B the bytes of one rank's part.
#include "laconic/comm/collectives/primitives.h"

#include <fmt/core.h>

#include <cstring>

#include "laconic/base/status.h"

namespace laconic {
namespace {

// Peers in the order own + 1, own + 2, ..., so that at any moment different ranks send to different ones.
int After(const Communicator& comm, int distance) { return (comm.rank() + distance) % comm.size(); }
int Before(const Communicator& comm, int distance) { return (comm.rank() + comm.size() - distance) % comm.size(); }

void CopyBytes(std::span<const std::byte> from, std::span<std::byte> to) {
  if (!from.empty()) std::memmove(to.data(), from.data(), from.size());
}

absl::Status CheckPartCount(const char* collective, size_t parts, const Communicator& comm) {
  if (parts == static_cast<size_t>(comm.size())) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{}: {} parts for {} ranks", collective, parts, comm.size()));
}

}  // namespace

absl::Status Allgather(Communicator& comm, std::span<const std::byte> own, std::span<std::byte> all) {
  const size_t part_bytes = own.size();
  if (all.size() != part_bytes * comm.size()) {
    return absl::InvalidArgumentError(
        fmt::format("allgather: {} bytes cannot hold {} parts of {} bytes", all.size(), comm.size(), part_bytes));
  }
  ExchangeBatch& batch = comm.NewBatch();
  for (int distance = 1; distance < comm.size(); ++distance) {
    const int from = Before(comm, distance);
    batch.sends.push_back({After(comm, distance), own});
    batch.receives.push_back({from, all.subspan(from * part_bytes, part_bytes)});
  }
  CopyBytes(own, all.subspan(comm.rank() * part_bytes, part_bytes));
  return comm.Exchange(batch);
}

absl::Status Allgatherv(Communicator& comm, std::span<const std::span<std::byte>> parts) {
  LACONIC_RETURN_IF_ERROR(CheckPartCount("allgatherv", parts.size(), comm));
  ExchangeBatch& batch = comm.NewBatch();
  for (int distance = 1; distance < comm.size(); ++distance) {
    const int from = Before(comm, distance);
    batch.sends.push_back({After(comm, distance), parts[comm.rank()]});
    batch.receives.push_back({from, parts[from]});
  }
  return comm.Exchange(batch);
}

absl::Status Alltoallv(Communicator& comm, std::span<const std::span<const std::byte>> outgoing,
                       std::span<const std::span<std::byte>> incoming) {
  LACONIC_RETURN_IF_ERROR(CheckPartCount("alltoallv", outgoing.size(), comm));
  LACONIC_RETURN_IF_ERROR(CheckPartCount("alltoallv", incoming.size(), comm));
  const std::span<const std::byte> own_out = outgoing[comm.rank()];
  const std::span<std::byte> own_in = incoming[comm.rank()];
  if (own_out.size() != own_in.size()) {
    return absl::InvalidArgumentError(
        fmt::format("alltoallv: the own part has {} bytes going out and {} coming in", own_out.size(), own_in.size()));
  }
  ExchangeBatch& batch = comm.NewBatch();
  for (int distance = 1; distance < comm.size(); ++distance) {
    const int to = After(comm, distance);
    const int from = Before(comm, distance);
    batch.sends.push_back({to, outgoing[to]});
    batch.receives.push_back({from, incoming[from]});
  }
  CopyBytes(own_out, own_in);
  return comm.Exchange(batch);
}

// Ranks are counted from the root: position 0 has the bytes. In round k (reach = 2^k) each position below 2^k passes
// them on to the position 2^k above it, so the number of positions that have them doubles.
absl::Status Broadcast(Communicator& comm, int root, std::span<std::byte> bytes) {
  const int n = comm.size();
  if (root < 0 || root >= n) {
    return absl::InvalidArgumentError(fmt::format("broadcast: root {} is not one of {} ranks", root, n));
  }
  const int position = (comm.rank() + n - root) % n;
  for (int reach = 1; reach < n; reach *= 2) {
    ExchangeBatch& batch = comm.NewBatch();
    if (position < reach && position + reach < n) batch.sends.push_back({After(comm, reach), bytes});
    if (position >= reach && position < 2 * reach) batch.receives.push_back({Before(comm, reach), bytes});
    LACONIC_RETURN_IF_ERROR(comm.Exchange(batch));
  }
  return absl::OkStatus();
}

// After the round with distance 2^k each rank has heard, directly or not, of the 2^(k+1) - 1 ranks before it (Hensgen,
// Finkel and Manber 1988).
absl::Status Barrier(Communicator& comm) {
  for (int distance = 1; distance < comm.size(); distance *= 2) {
    const Outgoing token{After(comm, distance), {}};
    const Incoming answer{Before(comm, distance), {}};
    LACONIC_RETURN_IF_ERROR(comm.Exchange(std::span(&token, 1), std::span(&answer, 1)));
  }
  return absl::OkStatus();
}

}  // namespace laconic
