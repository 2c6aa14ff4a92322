// A transport with the promises a trainer needs: every wait has a deadline, the first error ends everything, bytes are
// counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "laconic/comm/transport/shared_memory.h"
#include "laconic/comm/transport/transport.h"

namespace laconic {

// Bytes and messages really handed to the transport by this rank, since construction.
struct Traffic {
  uint64_t bytes_sent = 0;
  uint64_t bytes_received = 0;
  uint64_t messages_sent = 0;
  uint64_t exchanges = 0;
  absl::Duration waiting = absl::ZeroDuration();  // time spent inside Exchange

  Traffic& operator+=(const Traffic& other) {
    bytes_sent += other.bytes_sent;
    bytes_received += other.bytes_received;
    messages_sent += other.messages_sent;
    exchanges += other.exchanges;
    waiting += other.waiting;
    return *this;
  }
};

struct CommunicatorOptions {
  absl::Duration timeout = absl::Seconds(60);  // of each Exchange
};

// What this rank is doing, for error messages. Views must outlive the next SetPhase.
struct Phase {
  std::string_view name;  // "gather bodies"
  uint64_t step = 0;
  std::string_view tensor;  // empty: none in particular
};

// The lists of one Exchange, while they are put together.
struct ExchangeBatch {
  std::vector<Outgoing> sends;
  std::vector<Incoming> receives;
};

// One thread at a time (Abort excepted).
class Communicator {
 public:
  explicit Communicator(std::unique_ptr<Transport> transport, const CommunicatorOptions& options = {});

  int rank() const { return transport_->rank(); }
  int size() const { return transport_->size(); }
  const std::string& host() const { return host_; }
  const Traffic& traffic() const { return traffic_; }
  absl::Duration timeout() const { return options_.timeout; }

  void SetPhase(const Phase& phase) { phase_ = phase; }

  // Transport::Exchange under this communicator's timeout. The first error, here or through Abort, poisons: it is what
  // every later call gives at once. Error text: "rank 1, step 12, tensor fc1.weight, gather bodies: waited 60.0 s
  // (limit 60 s) for rank 3".
  absl::Status Exchange(std::span<const Outgoing> sends, std::span<const Incoming> receives);
  absl::Status Exchange(const ExchangeBatch& batch) { return Exchange(batch.sends, batch.receives); }

  // Whether the ranks can work on each other's memory; the same on all of them.
  bool shares_memory() const { return transport_->shared_memory() != nullptr; }
  // SharedMemory::Meet in the manner of Exchange, where shares_memory(). Counted as one exchange in which `moved_bytes`
  // leave and as many come: those of the work that go from one rank's memory to another's, shared out evenly.
  absl::Status Meet(std::span<std::byte> own, size_t pieces, SharedMemory::Work work, size_t moved_bytes);

  // An empty batch whose memory is reused, so that a step allocates nothing. Valid until the next call.
  ExchangeBatch& NewBatch();

  // The error that poisoned this communicator, or OK.
  absl::Status status() const;
  // Poisons with `why` and aborts the transport, which wakes the peers. Thread-safe.
  void Abort(const absl::Status& why) noexcept;

  // An independent communicator over the same ranks, with the same options. Collective: waits for all of them.
  absl::StatusOr<std::unique_ptr<Communicator>> Duplicate();
  // One communicator for each color, its ranks ordered by (key, rank in this one); nullptr where color < 0. Collective
  // over all ranks.
  absl::StatusOr<std::unique_ptr<Communicator>> Split(int color, int key);

  // At least `bytes` bytes of work memory that collectives share, 64-byte aligned, reused. Valid until the next call.
  std::span<std::byte> Workspace(size_t bytes);

 private:
  std::unique_ptr<Transport> transport_;
  CommunicatorOptions options_;
  std::string host_;
  Traffic traffic_;
  Phase phase_;
  mutable std::mutex mutex_;
  absl::Status poison_;  // guarded by mutex_: Abort may come from another thread
  std::vector<std::byte> workspace_;
  ExchangeBatch batch_;

  // Runs call(options), which ends at the deadline, with all that Exchange promises of it.
  absl::Status UnderDeadline(absl::FunctionRef<absl::Status(const ExchangeOptions&)> call);
  // Keeps the first error and gives it.
  absl::Status Poison(const absl::Status& status);
};

}  // namespace laconic
