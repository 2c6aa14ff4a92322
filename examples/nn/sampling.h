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

// How the training set is divided among ranks.
struct Split {
  enum class Kind {
    kIid,        // at random, in equal parts
    kLabels,     // sorted by kind (Dataset::Kinds), then in equal parts: each rank sees a few kinds only
    kDirichlet,  // each kind is divided by shares drawn from Dirichlet(a, ..., a) (Hsu, Qi and Brown 2019); small a:
                 // few kinds
  };
  Kind kind = Kind::kIid;
  double concentration = 1;  // a

  // iid | labels | dirichlet=a with a in [0.001, 1000].
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
  const uint64_t seed_;
  const int rank_;
  const size_t rows_;
  std::vector<float> inputs_;
  std::vector<uint16_t> labels_;
};

}  // namespace laconic::nn
