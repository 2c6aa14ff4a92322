// In the comments: n ranks, x[i] the values of rank i. A piece of work is a range of elements, summed block by block in
// the ranks' own arrays: whoever has the piece is the only one to touch the range, so the array in which a sum grows
// needs no copy, and a block of all ranks stays in the first-level cache until the sum has been copied to all.
#include "comm/collectives/shared_sum.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "comm/collectives/ring_layout.h"

namespace laconic {
namespace {

// A piece keeps one core busy for longer than it takes to wake another (some 20 us); a block of n = 2 to 4 ranks fits
// the first-level cache.
constexpr size_t kPieceFloats = 64 << 10;
constexpr size_t kBlockFloats = 2 << 10;

using Arrays = std::span<const std::span<std::byte>>;

// Elements [begin, end) of one rank.
std::span<float> Floats(Arrays arrays, int rank, const ShardRange& range) {
  return {reinterpret_cast<float*>(arrays[rank].data()) + range.begin, range.size()};
}

void Add(std::span<const float> terms, std::span<float> sums) {
  const float* __restrict in = terms.data();
  float* __restrict out = sums.data();
  for (size_t i = 0; i < sums.size(); ++i) out[i] += in[i];
}

// The sum that stands at rank `from`, times `factor`, to all ranks.
void Spread(Arrays arrays, int from, const ShardRange& block, float factor) {
  const std::span<float> sum = Floats(arrays, from, block);
  if (factor != 1.0f) {
    for (float& value : sum) value *= factor;
  }
  for (int rank = 0; rank < static_cast<int>(arrays.size()); ++rank) {
    if (rank != from) std::memcpy(Floats(arrays, rank, block).data(), sum.data(), sum.size_bytes());
  }
}

// Two ranks: both orders of additions are x[0] + x[1], in one pass.
void SumOfTwo(Arrays arrays, const ShardRange& block, float factor) {
  float* __restrict a = Floats(arrays, 0, block).data();
  float* __restrict b = Floats(arrays, 1, block).data();
  const size_t count = block.size();
  for (size_t i = 0; i < count; ++i) a[i] = b[i] = (a[i] + b[i]) * factor;
}

// ((x[c+1] + x[c+2]) + ...) + x[c].
void RingSum(Arrays arrays, int chunk, const ShardRange& block, float factor) {
  const int n = static_cast<int>(arrays.size());
  const int first = (chunk + 1) % n;
  for (int step = 1; step < n; ++step) {
    Add(Floats(arrays, (first + step) % n, block), Floats(arrays, first, block));
  }
  Spread(arrays, first, block, factor);
}

// With p the largest power of two <= n: x[r] += x[r+p]; then for the distances p/2, p/4, ... 1: x[r] += x[r + distance]
// for all r < distance. Halving adds the same pairs, each at whichever of the two ranks keeps that half.
void HalvingDoublingSum(Arrays arrays, const ShardRange& block, float factor) {
  const int n = static_cast<int>(arrays.size());
  const int p = static_cast<int>(std::bit_floor(static_cast<unsigned>(n)));
  for (int rank = 0; rank + p < n; ++rank) Add(Floats(arrays, rank + p, block), Floats(arrays, rank, block));
  for (int distance = p / 2; distance >= 1; distance /= 2) {
    for (int rank = 0; rank < distance; ++rank) {
      Add(Floats(arrays, rank + distance, block), Floats(arrays, rank, block));
    }
  }
  Spread(arrays, 0, block, factor);
}

// sum(block) for each block of piece `index` of `range`.
template <typename Sum>
void ForBlocks(const ShardRange& range, size_t index, const Sum& sum) {
  const size_t end = std::min(range.end, range.begin + (index + 1) * kPieceFloats);
  for (size_t begin = range.begin + index * kPieceFloats; begin < end; begin += kBlockFloats) {
    sum(ShardRange{begin, std::min(end, begin + kBlockFloats)});
  }
}

size_t PiecesOf(size_t elements) { return (elements + kPieceFloats - 1) / kPieceFloats; }

absl::Status Meet(Communicator& comm, std::span<float> values, size_t pieces, SharedMemory::Work work) {
  const size_t moved_bytes = 2 * (comm.size() - 1) * values.size_bytes() / comm.size();
  return comm.Meet(std::as_writable_bytes(values), pieces, work, moved_bytes);
}

}  // namespace

absl::Status SharedRingSum(Communicator& comm, std::span<float> values, float factor) {
  if (comm.size() == 2) return SharedHalvingDoublingSum(comm, values, factor);
  const RingLayout layout(values.size(), comm.size());
  const size_t pieces_per_chunk = PiecesOf(layout.longest_chunk());
  const size_t pieces = pieces_per_chunk * comm.size() * layout.segments();
  return Meet(comm, values, pieces, [&](size_t piece, Arrays arrays) {
    const size_t chunk_of_all = piece / pieces_per_chunk;
    const int chunk = static_cast<int>(chunk_of_all % arrays.size());
    const int segment = static_cast<int>(chunk_of_all / arrays.size());
    ForBlocks(layout.Chunk(segment, chunk), piece % pieces_per_chunk,
              [&](const ShardRange& block) { RingSum(arrays, chunk, block, factor); });
  });
}

absl::Status SharedHalvingDoublingSum(Communicator& comm, std::span<float> values, float factor) {
  return Meet(comm, values, PiecesOf(values.size()), [&](size_t piece, Arrays arrays) {
    ForBlocks(ShardRange{0, values.size()}, piece, [&](const ShardRange& block) {
      arrays.size() == 2 ? SumOfTwo(arrays, block, factor) : HalvingDoublingSum(arrays, block, factor);
    });
  });
}

}  // namespace laconic
