// Sums of floats over all ranks, uncompressed. The order of additions is fixed by rank numbers alone, and each element
// is summed once and then copied, so all ranks end with equal bits on any transport. Ranks that share memory do the
// additions of the chosen algorithm in place, without its messages: one exchange, 2 (n-1)/n B bytes.
#pragma once

#include <cstddef>
#include <span>

#include "absl/status/status.h"
#include "laconic/comm/communicator.h"

namespace laconic {

enum class DenseAlgorithm {
  kAuto,  // halving-doubling for short arrays (1 MiB with 2^k ranks, else 16 KiB), ring for longer ones
  // 2 (n-1) Exchanges (above 16 MiB: for each segment of n MiB), 2 (n-1)/n B bytes: bandwidth optimal (Patarasuk and
  // Yuan 2009).
  kRing,
  kHalvingDoubling,  // 2 log2 n Exchanges, 2 (n-1)/n B bytes with n = 2^k ranks (Rabenseifner 2004); others fold first,
                     // up to 2 B bytes
};

// values <- sum over ranks of values. B = 4 values.size() bytes.
absl::Status AllreduceSum(Communicator& comm, std::span<float> values,
                          DenseAlgorithm algorithm = DenseAlgorithm::kAuto);

// values <- (sum over ranks) * (1 / n).
absl::Status AllreduceMean(Communicator& comm, std::span<float> values,
                           DenseAlgorithm algorithm = DenseAlgorithm::kAuto);

// [begin, end) of shard `index` when `elements` are split into `shards` contiguous parts whose lengths are multiples of
// `alignment` (the last ones take what is left and may be empty). The same on all ranks; ring chunks and scatter shards
// are these.
struct ShardRange {
  size_t begin = 0;
  size_t end = 0;
  size_t size() const { return end - begin; }
};
ShardRange ShardOf(size_t elements, int shards, int index, size_t alignment);

}  // namespace laconic
