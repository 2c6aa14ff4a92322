// Private: a step that a rank makes without the others. Its gradients are looked at and clipped as GradientSync would,
// by this rank alone.
#pragma once

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "laconic/comm/communicator.h"
#include "laconic/optim/gradient_sync.h"
#include "laconic/optim/parameter.h"
#include "optim/gradient_clip.h"

namespace laconic {

// One thread at a time. `comm` and what `parameters` view must outlive it.
class LocalStep {
 public:
  LocalStep(Communicator* comm, std::span<const Parameter> parameters, const GradientSyncOptions& options);

  // Inspects the gradients, then clips them by their global norm. What is not finite becomes 0 (kZero), skips this
  // rank's step (kSkip: report.skipped), or ends the run: then the group is poisoned, since the others do not wait for
  // this rank now but will (kFail, InvalidArgument). Fills in what the report says of a step without traffic.
  absl::Status Finish(const StepContext& step, StepReport& report);

 private:
  uint64_t Zero(std::span<float> gradient) const;

  Communicator* const comm_;
  const std::vector<Parameter> parameters_;
  const NonFinitePolicy non_finite_;
  const GradientClip clip_;
  std::vector<std::span<float>> gradients_;  // by TensorId
};

}  // namespace laconic
