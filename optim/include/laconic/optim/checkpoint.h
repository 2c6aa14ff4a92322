// A training run on disk: one safetensors file per rank and an index that is replaced last, so that a crash at any moment leaves the
// previous checkpoint whole.
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
  uint64_t step = 0;               // steps done
  std::string run;                 // what the caller wants to find again (spec, options), compared by the caller
  struct File {
    std::string name;              // within the folder: "step-50.rank-0-of-4.safetensors"
    uint64_t bytes = 0;
    uint64_t hash = 0;             // XXH3-64 of the file
  };
  std::vector<File> files;         // one per rank that saved, in rank order
};

// Every rank writes what `save` puts into its archive; when all have succeeded rank 0 replaces the index (temporary name, fsync, rename),
// then files of older checkpoints are removed. Collective: all ranks get an error if one has. Creates the folder.
absl::Status SaveCheckpoint(Communicator& comm, const std::string& folder, uint64_t step, const std::string& run,
                            const std::function<void(StateWriter&)>& save);

// NotFound when there is none; DataLoss naming the field when the index is not one (untrusted: strict reader, names without folders).
absl::StatusOr<CheckpointIndex> ReadCheckpointIndex(const std::string& folder);

// The archive of one saved rank. DataLoss when the file's length or hash is not the index's.
absl::StatusOr<StateArchive> ReadCheckpointFile(const std::string& folder, const CheckpointIndex& index, size_t rank);

}  // namespace laconic
