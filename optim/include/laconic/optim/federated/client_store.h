// The vectors that a method keeps for clients between their rounds: in memory, or in a file that is mapped into it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace laconic {

struct ClientStoreOptions {
  uint32_t clients = 1;
  size_t vectors = 0;   // of each client
  size_t elements = 0;  // d floats each
  // A folder for a sparse file in which the vectors lie, and for checkpoints of it; made if need be. Empty: they lie in
  // memory, and Checkpoint is not to be had.
  std::string folder;
  // Bytes of the file that may stay in this process's memory; beyond it a client's pages leave it at End.
  size_t memory_budget = size_t{1} << 30;
};

// Vectors are zero until written; clients that never took part cost nothing. Different clients may be between Begin and
// End on different threads; everything else one thread at a time, with no client between the two.
//
// A checkpoint of a large store must not copy it: from a Checkpoint on, Begin saves how a client was then, once, to an
// undo log beside the file, and Restore puts that back. The log of one checkpoint is kept until the one after the next,
// so whoever checkpoints something else besides may fail in between and go back to the checkpoint before.
//
// Restore is exact after the process was killed at any moment. After a crash of the whole machine it is so only if none
// of what was written since the last Checkpoint had reached the disk before its undo record.
class ClientStore {
 public:
  // Nothing is lost of what an earlier run left in the folder until the first Begin or Checkpoint; those start from
  // zero unless Restore came before.
  static absl::StatusOr<std::unique_ptr<ClientStore>> Create(const ClientStoreOptions& options);
  virtual ~ClientStore() = default;

  // Client `client`'s vectors, to be read and written between Begin and End of one round of it; the spans are valid
  // until End. Begin saves what Restore needs before anything is written.
  virtual absl::StatusOr<std::span<const std::span<float>>> Begin(uint32_t client) = 0;
  virtual void End(uint32_t client) = 0;

  // Restore comes back to this moment, called `mark`. Durable when it returns. FailedPrecondition without a folder.
  virtual absl::Status Checkpoint(uint64_t mark) = 0;
  // Goes back to the Checkpoint called `mark`, the folder's last or the one before it; that is its last then. NotFound
  // naming the marks there are; DataLoss for files that are not this store's.
  virtual absl::Status Restore(uint64_t mark) = 0;

  virtual uint32_t touched_clients() const = 0;  // those that took part
  virtual size_t memory_bytes() const = 0;       // of vectors that lie in this process's memory, about
  virtual size_t disk_bytes() const = 0;         // of the file and its logs
  // XXH3-64 of one client's vectors, and of these hashes over all clients in order. Never touched is as good as zeros.
  virtual uint64_t Hash(uint32_t client) const = 0;
  uint64_t Hash() const;

  const ClientStoreOptions& options() const { return options_; }

 protected:
  explicit ClientStore(const ClientStoreOptions& options) : options_(options) {}

 private:
  const ClientStoreOptions options_;
};

}  // namespace laconic
