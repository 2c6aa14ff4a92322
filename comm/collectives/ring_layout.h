// How the ring allreduce cuts an array: segments, one after the other, each of one chunk a rank.
#pragma once

#include <algorithm>
#include <cstddef>

#include "laconic/comm/collectives/dense.h"

namespace laconic {

// Chunks and halves start at multiples of a cache line.
inline constexpr size_t kAlignmentFloats = 16;

// Arrays that outgrow the last-level cache are worked through in segments of n chunks, so that a chunk is added, and
// the sum sent on, while it is still in the cache. Shorter arrays are one segment: more would only add Exchanges. In
// tests/bench/dense_allreduce.cc on 2 processes of one machine, MPI_Allreduce's time over ours: 64 MiB 2.5 in segments
// and 1.7 in one; 16 MiB 0.75 to 1.2 and 1.0.
inline constexpr size_t kOneSegmentMaxBytes = 16 << 20;
inline constexpr size_t kRingChunkFloats = 256 << 10;

class RingLayout {
 public:
  RingLayout(size_t elements, int ranks) : elements_(elements), ranks_(ranks) {
    longest_segment_ =
        elements * sizeof(float) <= kOneSegmentMaxBytes ? std::max<size_t>(elements, 1) : kRingChunkFloats * ranks;
    segments_ = static_cast<int>((elements + longest_segment_ - 1) / longest_segment_);
  }

  int segments() const { return segments_; }
  size_t longest_chunk() const { return ShardOf(longest_segment_, ranks_, 0, kAlignmentFloats).size(); }
  // The chunk whose sum starts at rank index + 1 and ends at rank index; any integer modulo the ranks.
  ShardRange Chunk(int segment, int index) const {
    const ShardRange whole = ShardOf(elements_, segments_, segment, kAlignmentFloats);
    const int rank = (index % ranks_ + ranks_) % ranks_;
    const ShardRange chunk = ShardOf(whole.size(), ranks_, rank, kAlignmentFloats);
    return {whole.begin + chunk.begin, whole.begin + chunk.end};
  }

 private:
  size_t elements_;
  int ranks_;
  size_t longest_segment_;
  int segments_;
};

}  // namespace laconic
