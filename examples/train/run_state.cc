#include "examples/train/run_state.h"

#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic::train {

absl::Status SaveRun(Communicator& comm, const std::string& folder, uint64_t steps, const std::string& fingerprint,
                     std::span<const Parameter> parameters, const Optimizer& optimizer, const GradientSync& sync) {
  return SaveCheckpoint(comm, folder, steps, fingerprint, [&](StateWriter& out) {
    StateWriter weights = out.Scope("weights");
    for (const Parameter& parameter : parameters) weights.Floats(parameter.name, parameter.weights, parameter.shape);
    StateWriter optimizer_state = out.Scope("optimizer");
    optimizer.Save(optimizer_state);
    StateWriter sync_state = out.Scope("sync");
    sync.Save(sync_state);
  });
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

absl::Status RestoreModel(const SavedRun& saved, std::span<const Parameter> parameters, Optimizer& optimizer) {
  const StateReader in(&saved.ranks.front());
  for (const Parameter& parameter : parameters) {
    LACONIC_RETURN_IF_ERROR(in.Scope("weights").Floats(parameter.name, parameter.weights));
  }
  return optimizer.Load(in.Scope("optimizer"));
}

absl::Status RestoreSync(const SavedRun& saved, ReshardRule rule, GradientSync& sync) {
  std::vector<StateReader> readers;
  for (const StateArchive& archive : saved.ranks) readers.push_back(StateReader(&archive).Scope("sync"));
  return sync.Load(readers, rule);
}

}  // namespace laconic::train
