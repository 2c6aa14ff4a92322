// A training run on disk: one safetensors file per rank and an index that is replaced last, so that a crash at any
// moment leaves the previous checkpoint whole. File names carry the hash of their contents, so a new checkpoint never
// writes into files of an old one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/base/state.h"
#include "laconic/comm/communicator.h"

namespace laconic {

// <folder>/index.json, as read.
struct CheckpointIndex {
  uint64_t step = 0;  // steps done
  std::string run;    // what the caller wants to find again (spec, options; UTF-8), compared by the caller
  struct File {
    std::string name;  // within the folder: "step-50.rank-0-of-4.<hash, 16 hex digits>.safetensors"
    uint64_t bytes = 0;
    uint64_t hash = 0;  // XXH3-64 of the file
  };
  std::vector<File> files;  // one per rank that saved, in rank order
};

// Every rank writes what `save` puts into its archive; when all have succeeded rank 0 replaces the index (temporary
// name, fsync, rename) and removes the files of older checkpoints, as far as it can. Creates the folder, which all
// ranks must see as one. Collective: when one rank fails, all get its error, with its rank, and the previous checkpoint
// stays.
absl::Status SaveCheckpoint(Communicator& comm, const std::string& folder, uint64_t step, const std::string& run,
                            const std::function<void(StateWriter&)>& save);

// NotFound when there is none; DataLoss naming the field when the index is not one (untrusted: strict reader, names
// without folders).
absl::StatusOr<CheckpointIndex> ReadCheckpointIndex(const std::string& folder);

// The archive of one saved rank. DataLoss when the file's length or hash is not the index's; OutOfRange for a rank that
// did not save.
absl::StatusOr<StateArchive> ReadCheckpointFile(const std::string& folder, const CheckpointIndex& index, size_t rank);

// Collective: OK when every rank gives OK; else every rank gets the error of the lowest rank that has one, as "rank 2:
// <message>" (cut at 480 bytes). For work that each rank does alone and all must have done. One Allgather of 512 bytes
// per rank.
absl::Status AgreeOnStatus(Communicator& comm, const absl::Status& own);

}  // namespace laconic
