#include "examples/train/run_state.h"

#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic::train {

absl::Status SaveRun(Communicator& comm, const std::string& folder, uint64_t steps, const std::string& fingerprint,
                     const DistributedOptimizer& optimizer) {
  return SaveCheckpoint(comm, folder, steps, fingerprint, [&](StateWriter& out) { optimizer.Save(out); });
}

absl::StatusOr<SavedRun> ReadRun(const std::string& folder, const std::string& fingerprint) {
  LACONIC_ASSIGN_OR_RETURN(const CheckpointIndex index, ReadCheckpointIndex(folder));
  if (index.run != fingerprint) {
    return absl::FailedPreconditionError(fmt::format(
        "the checkpoint in {} belongs to another run\n  saved: {}\n  now:   {}", folder, index.run, fingerprint));
  }
  SavedRun saved = {.steps = index.step, .ranks = {}};
  for (size_t rank = 0; rank < index.files.size(); ++rank) {
    LACONIC_ASSIGN_OR_RETURN(StateArchive archive, ReadCheckpointFile(folder, index, rank));
    saved.ranks.push_back(std::move(archive));
  }
  return saved;
}

absl::Status RestoreRun(const SavedRun& saved, ReshardRule rule, DistributedOptimizer& optimizer) {
  std::vector<StateReader> readers;
  for (const StateArchive& archive : saved.ranks) readers.emplace_back(&archive);
  return optimizer.Load(readers, rule);
}

}  // namespace laconic::train
