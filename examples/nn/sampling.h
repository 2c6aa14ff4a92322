// Who trains on which samples, and which of them in which step: pure functions of the seed, so nothing has to be saved.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "examples/nn/dataset.h"
#include "examples/nn/models.h"

namespace laconic::nn {

// How the training set is divided among ranks, or clients.
struct Split {
  enum class Kind {
    kIid,        // at random, in equal parts
    kLabels,     // sorted by kind (Dataset::Kinds), then in equal parts: each rank sees a few kinds only
    kShards,     // sorted by kind, cut into s shards a rank, which are dealt at random (McMahan et al. 2017, s = 2)
    kDirichlet,  // each kind is divided by shares drawn from Dirichlet(a, ..., a) (Hsu, Qi and Brown 2019); small a:
                 // few kinds
    kLognormal,  // at random, in parts of lognormal sizes: the logarithm has the standard deviation s
    kPower,      // at random, the part of rank i (from 1) in proportion to i^-a
  };
  Kind kind = Kind::kIid;
  double parameter = 0;  // s or a

  // iid | labels | shards=1..1000 | dirichlet=A in [0.001, 1000] | lognormal=S in [0, 5] | power=A in [0, 5].
  static absl::StatusOr<Split> Parse(std::string_view text);
  std::string ToString() const;
};

// The samples of each rank, in ascending order: every sample at exactly one rank, at least one at each (InvalidArgument
// when there are fewer samples than ranks). The same on all ranks for equal arguments.
absl::StatusOr<std::vector<std::vector<uint32_t>>> Partition(std::span<const uint16_t> kinds, const Split& split,
                                                             int ranks, uint64_t seed);

// A permutation of 0 .. size-1 that is computed, not stored: four Feistel rounds on the smallest even number of bits
// that holds size, walked until the value is inside. O(1) memory; thread-safe (immutable).
class Permutation {
 public:
  Permutation(uint32_t size, uint64_t derived_key);
  uint32_t operator()(uint32_t index) const;

 private:
  uint32_t size_, half_bits_;
  std::array<uint32_t, 4> keys_;
};

// The order in which one rank draws its samples: without replacement, in a new order each time it has been through all
// of them. One thread at a time.
class DrawOrder {
 public:
  DrawOrder(uint32_t samples, uint64_t seed, uint32_t rank)
      : samples_(samples), seed_(seed), rank_(rank), order_(samples, 0) {}
  // Which of the samples the draw `index` = 0, 1, 2, ... is: a pure function of (seed, rank, index). Cheap for indices
  // close to the last one's.
  uint32_t operator()(uint64_t index);

 private:
  uint32_t samples_;
  uint64_t seed_;
  uint32_t rank_;
  Permutation order_;
  uint64_t pass_ = ~uint64_t{0};
};

// The minibatches of one rank. It draws its samples without replacement, in a new order each time it has been through
// all of them. All memory is sized at construction. One thread at a time.
class Minibatches {
 public:
  // data, samples: must outlive it; samples not empty.
  Minibatches(const Dataset* data, std::span<const uint32_t> samples, size_t rows, uint64_t seed, int rank);

  // Minibatch `index` = 0, 1, 2, ...: a pure function of (seed, rank, index). Valid until the next call.
  Batch At(uint64_t index);

 private:
  const Dataset* data_;
  std::span<const uint32_t> samples_;
  const size_t rows_;
  DrawOrder order_;
  std::vector<float> inputs_;
  std::vector<uint16_t> labels_;
};

}  // namespace laconic::nn
