// Everything that a run needs to go on after a crash: the optimizer with its weights. Samples and schedules are
// functions of the step.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/comm/communicator.h"
#include "laconic/optim/checkpoint.h"
#include "laconic/optim/distributed_optimizer.h"

namespace laconic::train {

// Saves the state after `steps` steps. Collective.
absl::Status SaveRun(Communicator& comm, const std::string& folder, uint64_t steps, const std::string& fingerprint,
                     const DistributedOptimizer& optimizer);

// A checkpoint that has been read and not yet been taken over.
struct SavedRun {
  uint64_t steps = 0;
  std::vector<StateArchive> ranks;
};

// FailedPrecondition, naming both, when the checkpoint was made with another fingerprint; NotFound when there is none.
absl::StatusOr<SavedRun> ReadRun(const std::string& folder, const std::string& fingerprint);

// Weights and state of this rank, or what `rule` makes of those of another number of ranks.
absl::Status RestoreRun(const SavedRun& saved, ReshardRule rule, DistributedOptimizer& optimizer);

}  // namespace laconic::train
