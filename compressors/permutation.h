// A keyed permutation of {0, ..., d - 1} that is computed point by point: draws without replacement.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "compressors/kernels/sparse.h"

namespace laconic::internal {

// A generalized Feistel network on Z_a x Z_b, a = ceil(sqrt(d)), b = ceil(d / a) (Black and Rogaway 2002): rounds L <-
// L + F(K, R) mod a and R <- R + F(K', L) mod b in turn, F(K, v) = floor(n Mix(v + K) / 2^32) with n = a or b. Points
// that leave {0, ..., d - 1} are sent through again ("cycle walking"); a b < d + a, so few are. Distinct by
// construction, for any F. Mix is a bijection of 32 bits, so under a uniform round key F is uniform, up to the share n
// 2^-32 <= 2^-16 by which floor is not: after the first two rounds, whose keys are independent, so is the image of
// every point. Each index is then among the first k with probability k/d; that marginal is all that the bias and the
// variance of rand-k depend on. Six more rounds part the points from one another. Thread-safe (immutable).
class KeyedPermutation {
 public:
  static constexpr uint64_t kMaxElements = 0xffffffffu;

  // elements: 1 .. kMaxElements.
  KeyedPermutation(uint64_t derived_key, uint64_t elements);

  // images[j] = pi(first + j).   first + images.size() <= elements.
  void Images(uint64_t first, std::span<uint32_t> images) const;

 private:
  uint64_t elements_;
  kernels::FeistelNetwork network_;
};

// Fills `positions` with the first positions.size() images of the permutation of `elements` under `derived_key`, in
// ascending order: a random subset of {0, ..., elements - 1}. O(positions.size()).
//   elements: positions.size() .. KeyedPermutation::kMaxElements.   work: as many as positions, for sorting.
void DrawPositions(uint64_t derived_key, uint64_t elements, std::span<uint32_t> positions, std::span<uint32_t> work);

}  // namespace laconic::internal
