// Which tensors travel together, and in which order buckets go out. A pure function of figures that all ranks share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace laconic {

struct PlannedTensor {
  size_t bytes = 0;  // float32
  int group = 0;     // tensors of one bucket have one group: the same pipeline
};

// Indices into the tensors given, in the order backward finishes them.
using BucketTensors = std::vector<size_t>;

// Backward is assumed to finish tensors from the last to the first. Each group's tensors fill buckets in that order; a
// bucket is closed before it would exceed `bucket_bytes` (a larger tensor has one of its own). Buckets are ordered by
// when their last tensor is ready, which is the order in which all ranks submit them.
std::vector<BucketTensors> PlanBuckets(std::span<const PlannedTensor> tensors, size_t bucket_bytes);

}  // namespace laconic
