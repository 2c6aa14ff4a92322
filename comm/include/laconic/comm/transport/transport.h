// The one primitive every collective is written in: a batch of byte sends and receives that returns when all are done.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace laconic {

enum class Memory { kHost, kCuda };

// A device stream as an opaque handle (cudaStream_t); null on the host.
struct Stream {
  void* handle = nullptr;
};

struct Outgoing {
  int to = 0;
  std::span<const std::byte> bytes;
};
struct Incoming {
  int from = 0;
  std::span<std::byte> bytes;  // the length agreed beforehand, exactly
};

struct ExchangeOptions {
  absl::Time deadline = absl::InfiniteFuture();
  Stream stream{};
};

class SharedMemory;

// One rank's end of a fixed group of ranks. One thread at a time (Abort excepted).
//
// The k-th message from i to j meets the k-th receive at j from i, over the whole life of the transport: no tags. All
// sends and receives of one Exchange progress together, so a batch in which everybody sends and receives cannot
// deadlock, in any order. Empty messages are legal and are messages. Neither `to` nor `from` may be the own rank.
class Transport {
 public:
  virtual ~Transport() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual Memory memory() const { return Memory::kHost; }

  // Host: OK means that all of `receives` have arrived and the spans of `sends` are free again. CUDA: enqueued on the
  // stream. Errors (each poisons this end: every later Exchange gives the same error at once; peers that wait for it
  // get Unavailable where the transport can tell them):
  //   DeadlineExceeded  a peer was silent; names the peers still missing, elapsed and limit
  //   Unavailable       a peer is gone or aborted; carries its reason
  //   DataLoss          a message had another length than the receive: names peer, both lengths
  //   InvalidArgument   a rank out of range
  virtual absl::Status Exchange(std::span<const Outgoing> sends, std::span<const Incoming> receives,
                                const ExchangeOptions& options) = 0;

  // Poisons this end and wakes every rank blocked on it with Unavailable("... rank 2 aborted: <why>"). Thread-safe,
  // idempotent. MPI: prints `why`, then ends the job (MPI_Abort): Open MPI 4.1 cannot tell survivors.
  virtual void Abort(const absl::Status& why) noexcept = 0;

  // The own end of a new group whose rank i is rank members[i] of this one, with an order of messages of its own.
  // `members` holds the own rank and no rank twice. Collective over the members, which pass equal lists; other ranks
  // take no part.
  virtual absl::StatusOr<std::unique_ptr<Transport>> Subgroup(std::span<const int> members) = 0;

  // Subgroup of all ranks in their order: another transport over the same group. Collective.
  absl::StatusOr<std::unique_ptr<Transport>> Duplicate();

  // The machine this rank runs on, equal for ranks that share memory; groups ranks for hierarchical strategies.
  virtual std::string host() const { return "localhost"; }

  // The way around messages for ranks of one address space (shared_memory.h); null where there is none, on all ranks of
  // a group alike. Decorators have none: what they do to messages must be seen.
  virtual SharedMemory* shared_memory() { return nullptr; }
};

}  // namespace laconic
