// A keyed permutation of {0, ..., d - 1} that is computed point by point: draws without replacement in O(1) memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace laconic::internal {

// A generalized Feistel network on Z_a x Z_b, a = ceil(sqrt(d)), b = ceil(d / a) (Black and Rogaway 2002): rounds L <-
// L + F(R) mod a and R <- R + F(L) mod b in turn. Points that leave {0, ..., d - 1} are sent through again ("cycle
// walking"); a b < d + a, so few are. F is a 64-bit finalizer under a round key of Philox. Distinct by construction,
// for any F. Were F random, the first two rounds alone would make the image of every point uniform, so each index is
// among the first k with probability k/d exactly; that marginal is all that the bias and the variance of rand-k depend
// on. Six more rounds part the points from one another. Thread-safe (immutable).
class KeyedPermutation {
 public:
  // elements: 1 .. 2^62.
  KeyedPermutation(uint64_t derived_key, uint64_t elements);

  // images[j] = pi(first + j).   first + images.size() <= elements.
  void Images(uint64_t first, std::span<uint64_t> images) const;

 private:
  static constexpr size_t kRounds = 8;

  uint64_t elements_;
  uint64_t rows_;     // a
  uint64_t columns_;  // b
  std::array<uint64_t, kRounds> round_keys_;
};

}  // namespace laconic::internal
