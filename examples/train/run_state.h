// Everything that a run needs to go on after a crash: weights, optimizer, compression state. Samples and schedules are
// functions of the step.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/comm/communicator.h"
#include "laconic/optim/checkpoint.h"
#include "laconic/optim/gradient_sync.h"
#include "laconic/optim/optimizer.h"

namespace laconic::train {

// Saves the state after `steps` steps. Collective.
absl::Status SaveRun(Communicator& comm, const std::string& folder, uint64_t steps, const std::string& fingerprint,
                     std::span<const Parameter> parameters, const Optimizer& optimizer, const GradientSync& sync);

// A checkpoint that has been read and not yet been taken over.
struct SavedRun {
  uint64_t steps = 0;
  std::vector<StateArchive> ranks;
};

// FailedPrecondition, naming both, when the checkpoint was made with another fingerprint; NotFound when there is none.
absl::StatusOr<SavedRun> ReadRun(const std::string& folder, const std::string& fingerprint);

// Weights and optimizer, equal on all ranks. Before GradientSync::Create, which compares the weights.
absl::Status RestoreModel(const SavedRun& saved, std::span<const Parameter> parameters, Optimizer& optimizer);

// Errors, shifts and warm starts of this rank, or what `rule` makes of those of another number of ranks.
absl::Status RestoreSync(const SavedRun& saved, ReshardRule rule, GradientSync& sync);

}  // namespace laconic::train
