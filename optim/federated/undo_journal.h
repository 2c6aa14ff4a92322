// The checkpoints of a ClientStore on disk: which there are, and how the clients that changed since were then.
//
//   <folder>/clients.checkpoints    a state file: the last checkpoint and the one before, each with its mark, its log's
//                                   number and who had taken part; replaced as a whole
//   <folder>/clients.undo-<number>  a log for each: records of client (u32), whether it had vectors (u32), XXH3-64 of
//                                   what follows seeded with these 8 bytes, and its vectors if it had any
//
// A record is in its log before the client's vectors change, so a log that breaks off within a record lacks only what
// has not changed.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/optim/federated/client_store.h"
#include "optim/federated/mapped_memory.h"

namespace laconic::internal {

// Record is thread-safe; everything else one thread at a time.
class UndoJournal {
 public:
  // client_bytes: of all vectors of one client as they lie in the store.
  UndoJournal(const ClientStoreOptions& options, size_t client_bytes);

  // Removes what an earlier run left.
  absl::Status Clear();

  // Whether there is a checkpoint, so that changes must be recorded.
  bool records() const { return log_.valid(); }
  // Client `client` is about to change from `vectors` (client_bytes; empty: it never took part).
  absl::Status Record(uint32_t client, std::span<const std::byte> vectors);

  // A checkpoint of the store as it is; its data is durable already. touched: by client, 0 or 1.
  absl::Status Checkpoint(uint64_t mark, std::span<const uint8_t> touched);

  // OK where there is a checkpoint `mark` of a store like this one. NotFound, DataLoss.
  absl::Status Find(uint64_t mark) const;

  // Goes back to checkpoint `mark`: calls undo(client, vectors) (empty: back to zeros) for whatever has changed since,
  // then `flush`, and gives who had taken part by then.
  using Undo = absl::FunctionRef<void(uint32_t client, std::span<const std::byte> vectors)>;
  absl::StatusOr<std::vector<uint8_t>> Restore(uint64_t mark, Undo undo, absl::FunctionRef<absl::Status()> flush);

  size_t disk_bytes() const;

 private:
  struct Entry {
    uint64_t mark = 0;
    uint64_t log = 0;  // its number
    std::vector<uint8_t> touched;
  };

  std::string IndexPath() const;
  std::string LogPath(uint64_t number) const;
  absl::StatusOr<std::vector<Entry>> ReadIndex() const;
  absl::StatusOr<std::vector<Entry>> ReadIndexWith(uint64_t mark) const;  // NotFound where none is `mark`
  // Makes `entries` the index, the last of them with a log that is new and empty.
  absl::Status Replace(std::vector<Entry> entries);
  absl::Status Replay(uint64_t log, Undo undo);

  const ClientStoreOptions options_;
  const size_t client_bytes_;
  std::vector<Entry> entries_;  // the last checkpoint, and before it the one before; empty: there is none
  std::mutex mutex_;            // guards what follows, while clients are recorded
  FileDescriptor log_;          // of the last one
  size_t log_bytes_ = 0;
  std::vector<std::byte> record_;  // work memory
};

}  // namespace laconic::internal
