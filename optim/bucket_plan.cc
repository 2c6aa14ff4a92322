#include "optim/bucket_plan.h"

#include <algorithm>
#include <map>

namespace laconic {

std::vector<BucketTensors> PlanBuckets(std::span<const PlannedTensor> tensors, size_t bucket_bytes) {
  struct Open {
    BucketTensors tensors;
    size_t bytes = 0;
  };
  std::map<int, Open> open;  // by group
  std::vector<BucketTensors> buckets;
  for (size_t index = tensors.size(); index-- > 0;) {
    const PlannedTensor& tensor = tensors[index];
    Open& bucket = open[tensor.group];
    if (!bucket.tensors.empty() && bucket.bytes + tensor.bytes > bucket_bytes) {
      buckets.push_back(std::move(bucket.tensors));
      bucket = {};
    }
    bucket.tensors.push_back(index);
    bucket.bytes += tensor.bytes;
  }
  for (auto& [group, bucket] : open) {
    if (!bucket.tensors.empty()) buckets.push_back(std::move(bucket.tensors));
  }
  // Ready when its lowest index is; no two buckets share one, so the order is total.
  std::sort(buckets.begin(), buckets.end(),
            [](const BucketTensors& a, const BucketTensors& b) { return a.back() > b.back(); });
  return buckets;
}

}  // namespace laconic
