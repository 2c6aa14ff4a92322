// The vectors that a method keeps for clients between their rounds: in memory, or past a budget in a file that is
// mapped into it.
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
  size_t vectors = 0;                      // of each client
  size_t elements = 0;                     // d floats each
  size_t memory_budget = size_t{1} << 30;  // bytes; beyond it the vectors lie in a sparse file in `folder`
  std::string folder;                      // empty: always in memory
};

// Vectors are zero until written; clients that never took part cost nothing. Different clients from different threads.
//
// A checkpoint of a large store must not copy it: the store keeps, for each client that changed since the last
// Checkpoint, how it was then (an undo log beside the file), so that Restore goes back to that point after a crash at
// any moment.
class ClientStore {
 public:
  static absl::StatusOr<std::unique_ptr<ClientStore>> Create(const ClientStoreOptions& options);
  virtual ~ClientStore() = default;

  // Client `client`'s vectors, to be read and written between Begin and End of one round of it; the spans are valid
  // until End. Begin saves what Restore needs before anything is written.
  virtual absl::StatusOr<std::span<const std::span<float>>> Begin(uint32_t client) = 0;
  virtual void End(uint32_t client) = 0;

  // From here on Restore comes back to this moment, called `mark`. Durable when it returns, where there is a folder.
  virtual absl::Status Checkpoint(uint64_t mark) = 0;
  // Goes back to the last Checkpoint of the folder, which must be `mark` (NotFound, DataLoss otherwise).
  virtual absl::Status Restore(uint64_t mark) = 0;

  virtual uint32_t touched_clients() const = 0;  // those that took part
  virtual size_t memory_bytes() const = 0;       // of vectors that lie in memory
  virtual size_t disk_bytes() const = 0;         // of the file, undo log included
  // XXH3-64 over all vectors of all clients in order, untouched ones as zeros.
  virtual uint64_t Hash() const = 0;
};

}  // namespace laconic
