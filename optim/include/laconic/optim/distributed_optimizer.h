// A trainer's whole step: gradients in, weights moved alike on all ranks. What travels is the method's business: the
// gradients, a momentum, the weights' change over several steps, or nothing in this one.
//
//   auto optimizer = DistributedOptimizer::Create(&comm, parameters, "adamw", "topk(ratio=0.01)+econtrol");
//   for each step t:
//     (*optimizer)->Begin({.step = t, .learning_rate = rate});
//     backward, calling (*optimizer)->MarkReady(id) as each gradient is complete
//     (*optimizer)->Finish();                       // the weights have moved
//   (*optimizer)->Synchronize();
//
// Who wants the averaged direction and not the step takes GradientSync.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/base/state.h"
#include "laconic/comm/communicator.h"
#include "laconic/optim/gradient_sync.h"
#include "laconic/optim/optimizer.h"
#include "laconic/optim/parameter.h"

namespace laconic {

// Not thread-safe: Begin, MarkReady and Finish on one thread. Collective: all ranks make the same calls in the same
// order, MarkReady excepted, whose order may differ. Allocates nothing from the second step of each phase on.
class DistributedOptimizer {
 public:
  // Sizes all memory and compares with the other ranks what GradientSync::Create compares, and the optimizer.
  // Collective.
  //   comm: duplicated; must outlive the optimizer.   parameters: in the model's order; backward is assumed to run in
  //   reverse; weights equal on all ranks.
  //   optimizer: one of OptimizerTable() with its numbers: "adamw(weight_decay=0.01)", "onebit-adam(freeze_step=auto)".
  //   spec: how what travels is compressed, as GradientSync takes it.
  // InvalidArgument, with column, for a bad optimizer or spec, or a pair that does not go together.
  static absl::StatusOr<std::unique_ptr<DistributedOptimizer>> Create(Communicator* comm,
                                                                      std::span<const Parameter> parameters,
                                                                      std::string_view optimizer, std::string_view spec,
                                                                      const GradientSyncOptions& options = {});
  virtual ~DistributedOptimizer() = default;

  virtual void Begin(const StepContext& step) = 0;
  // The tensor's gradient is complete, and neither it nor the weights will be touched before Finish returns.
  virtual void MarkReady(TensorId id) = 0;
  // Marks what is not marked yet, waits, and moves the weights. After an error, or a step that report() calls skipped,
  // neither weights nor state have moved on any rank; transport errors are final.
  virtual absl::Status Finish() = 0;

  // Methods that take steps of their own between two exchanges: ends the exchange that is due later, now, so that the
  // weights are equal on all ranks again. Nothing where they always are. Collective; after the last step, and wherever
  // else equal weights are wanted (it is a part of the method's trajectory: a resumed run must make it too).
  virtual absl::Status Synchronize() { return absl::OkStatus(); }

  virtual const StepReport& report() const = 0;

  // Optimizer and spec with all defaults written out, and how each tensor travels.
  virtual std::string Describe() const = 0;

  // Weights included, so that a rank which is between two exchanges goes on bit for bit.
  virtual void Save(StateWriter& out) const = 0;
  // State saved by the same optimizer, spec and tensors: weights and all. `by_rank` holds one reader per rank that
  // saved, in rank order. With as many as there are ranks now, continues bit for bit; with another number `rule`
  // decides, and FailedPrecondition under kNone, naming both.
  virtual absl::Status Load(std::span<const StateReader> by_rank, ReshardRule rule = ReshardRule::kNone) = 0;
};

// Every optimizer that Create knows.
std::span<const OptimizerInfo> OptimizerTable();

// The canonical text, all defaults written out; InvalidArgument with column for a bad one.
absl::StatusOr<std::string> CanonicalOptimizer(std::string_view optimizer);

// The spec that this optimizer's source asks for; empty where gradients travel and any will do.
absl::StatusOr<std::string> DefaultSpec(std::string_view optimizer);

}  // namespace laconic
