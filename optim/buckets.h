// The buckets of a GradientSync: tensors that travel together, their memory, and the strategy that moves them.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/comm/collectives/strategy.h"
#include "laconic/comm/comm_queue.h"
#include "laconic/optim/gradient_sync.h"
#include "optim/tensor_rules.h"

namespace laconic {

// Tensors that are sent together, and where they stand in this step.
struct Bucket {
  std::vector<GradientSlot> slots;
  std::shared_ptr<const Pipeline> pipeline;
  StrategyOptions options;
  std::unique_ptr<AllreduceStrategy> strategy;
  std::vector<std::shared_ptr<const Compressor>> codecs;  // of the slots, when the strategy was made
  std::unique_ptr<AllreduceStrategy>
      warmup;  // dense, for the first dense_steps; null when there are none or strategy is dense
  uint64_t dense_steps = 0;
  std::vector<float> directions;  // of all slots, one after the other
  size_t waiting = 0;             // tensors not ready yet
  BucketResult result;
  Work work;
};

// In the order they are sent. rules: one per parameter.   pool: must outlive the buckets.
absl::StatusOr<std::vector<Bucket>> MakeBuckets(Communicator& comm, std::span<const Parameter> parameters,
                                                std::span<const TensorRule> rules, const GradientSyncOptions& options,
                                                WorkerPool* pool);

// How a bucket's compressed bytes travel: gather, scatter or linear (hierarchical: between nodes, as the cost model
// sees it), or dense. The same on all ranks.
StrategyKind TravelsBy(const Bucket& bucket, int ranks);

// After slots have been given other codecs: the strategies of their buckets anew, sized for them. Adds the old ones'
// own traffic to `retired`. Collective where MakeStrategy is.
//   keep_state: what lasts of every slot is carried over, error control as it is and a linear session's warm start as
//   far as it fits (LinearSession::TakeOver); else all state is fresh.
absl::Status RemakeStrategies(std::span<Bucket> buckets, Communicator& comm, bool keep_state, Traffic& retired);

}  // namespace laconic
