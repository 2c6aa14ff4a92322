// The threshold that the k largest of some magnitudes reach, exactly, without sorting them.
#pragma once

#include <cstdint>
#include <span>

namespace laconic::internal {

// The k largest keys (kernels/sparse.h) are those above `key` and `ties` of the `equal` ones.
struct Threshold {
  uint32_t key = 0;
  uint64_t ties = 0;
  uint64_t equal = 0;
};

// 1 <= k <= values.size() < 2^32. NaNs are above infinity. Uses ScratchUse::kBits. O(values.size()): about one pass
// over many values, a few where they tie or are few.
Threshold FindThreshold(std::span<const float> values, uint64_t k);

}  // namespace laconic::internal
