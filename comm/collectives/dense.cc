// In the comments: n ranks, r the own one, B = 4 values.size() bytes.
#include "laconic/comm/collectives/dense.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "comm/collectives/ring_layout.h"
#include "comm/collectives/shared_sum.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

// Up to here halving-doubling's fewer Exchanges weigh more than the ring's better use of the cache. With other than 2^k
// ranks it sends up to twice the bytes, so that it pays only while those hardly count. Measured in-process and over MPI
// on 2 cores with 2 to 8 ranks.
constexpr size_t kHalvingDoublingMaxBytes = 1 << 20;
constexpr size_t kFoldedHalvingDoublingMaxBytes = 16 << 10;

std::span<std::byte> Bytes(std::span<float> values) { return std::as_writable_bytes(values); }

std::span<float> FloatWorkspace(Communicator& comm, size_t count) {
  return {reinterpret_cast<float*>(comm.Workspace(count * sizeof(float)).data()), count};
}

// Sends `outgoing` to one rank while `incoming` arrives from another (or the same).
absl::Status SendReceive(Communicator& comm, int to, std::span<float> outgoing, int from, std::span<float> incoming) {
  const Outgoing send{to, Bytes(outgoing)};
  const Incoming receive{from, Bytes(incoming)};
  return comm.Exchange(std::span(&send, 1), std::span(&receive, 1));
}

void Add(std::span<const float> terms, std::span<float> sums) {
  const float* __restrict in = terms.data();
  float* __restrict out = sums.data();
  for (size_t i = 0; i < sums.size(); ++i) out[i] += in[i];
}

void Scale(std::span<float> values, float factor) {
  if (factor == 1.0f) return;
  for (float& value : values) value *= factor;
}

// One segment, cut into n chunks. The sum of chunk c starts at rank c+1 and travels once around the ring to rank c,
// each rank adding its own values: (((x[c+1] + x[c+2]) + ...) + x[c]). Then the finished chunks travel around once
// more.
//   step s of reduce:  r sends chunk r-1-s to r+1, and adds what it gets from r-1 to chunk r-2-s    (s = 0 .. n-2; ends
//   with chunk r) step s of gather:  r sends chunk r-s to r+1, and stores what it gets from r-1 as chunk r-1-s   (s = 0
//   .. n-2)
absl::Status RingSegment(Communicator& comm, std::span<float> values, const RingLayout& layout, int segment,
                         float factor, std::span<float> scratch) {
  const int n = comm.size();
  const int next = (comm.rank() + 1) % n;
  const int previous = (comm.rank() + n - 1) % n;
  const auto chunk = [&](int index) {
    const ShardRange range = layout.Chunk(segment, index);
    return values.subspan(range.begin, range.size());
  };
  for (int step = 0; step < n - 1; ++step) {
    const std::span<float> sums = chunk(comm.rank() - 2 - step);
    const std::span<float> terms = scratch.first(sums.size());
    LACONIC_RETURN_IF_ERROR(SendReceive(comm, next, chunk(comm.rank() - 1 - step), previous, terms));
    Add(terms, sums);
  }
  Scale(chunk(comm.rank()), factor);
  for (int step = 0; step < n - 1; ++step) {
    LACONIC_RETURN_IF_ERROR(
        SendReceive(comm, next, chunk(comm.rank() - step), previous, chunk(comm.rank() - 1 - step)));
  }
  return absl::OkStatus();
}

absl::Status Ring(Communicator& comm, std::span<float> values, float factor) {
  const RingLayout layout(values.size(), comm.size());
  const std::span<float> scratch = FloatWorkspace(comm, layout.longest_chunk());
  for (int segment = 0; segment < layout.segments(); ++segment) {
    LACONIC_RETURN_IF_ERROR(RingSegment(comm, values, layout, segment, factor, scratch));
  }
  return absl::OkStatus();
}

// Let p be the largest power of two <= n. Ranks p, p+1, ... first hand their values to r - p and get the result back in
// the end (B bytes each way); the others work in pairs.
//   halving:   the distance goes p/2, p/4, ... 1. The pair r, r ^ distance splits the range they share: the lower rank
//   keeps the lower
//              half. Each sends the other's half and adds what it gets to its own. In the end each holds 1/p of the
//              sum.
//   doubling:  the same pairs in reverse order exchange what they have, (p-1)/p B bytes in all.
absl::Status HalvingDoubling(Communicator& comm, std::span<float> values, float factor) {
  const int n = comm.size();
  const int p = static_cast<int>(std::bit_floor(static_cast<unsigned>(n)));
  const int rank = comm.rank();
  const std::span<float> scratch = FloatWorkspace(comm, values.size());

  if (rank >= p) {
    const Outgoing terms{rank - p, Bytes(values)};
    LACONIC_RETURN_IF_ERROR(comm.Exchange(std::span(&terms, 1), {}));
    const Incoming sums{rank - p, Bytes(values)};
    return comm.Exchange({}, std::span(&sums, 1));
  }
  if (rank + p < n) {
    const Incoming terms{rank + p, Bytes(scratch)};
    LACONIC_RETURN_IF_ERROR(comm.Exchange({}, std::span(&terms, 1)));
    Add(scratch, values);
  }

  // The range this rank shares with 2 * distance ranks, as it was before each halving.
  std::array<ShardRange, 32> ranges;
  int rounds = 0;
  ShardRange range{0, values.size()};
  const auto halves = [&](const ShardRange& whole, int distance) {
    const size_t middle = whole.begin + ShardOf(whole.size(), 2, 0, kAlignmentFloats).end;
    const ShardRange lower{whole.begin, middle};
    const ShardRange upper{middle, whole.end};
    return (rank & distance) == 0 ? std::pair(lower, upper) : std::pair(upper, lower);  // own, other
  };
  const auto part = [&](const ShardRange& r) { return values.subspan(r.begin, r.size()); };

  for (int distance = p / 2; distance >= 1; distance /= 2) {
    const auto [own, other] = halves(range, distance);
    const std::span<float> terms = scratch.first(own.size());
    const int peer = rank ^ distance;
    LACONIC_RETURN_IF_ERROR(SendReceive(comm, peer, part(other), peer, terms));
    Add(terms, part(own));
    ranges[rounds++] = range;
    range = own;
  }
  Scale(part(range), factor);
  for (int distance = 1; distance < p; distance *= 2) {
    const auto [own, other] = halves(ranges[--rounds], distance);
    const int peer = rank ^ distance;
    LACONIC_RETURN_IF_ERROR(SendReceive(comm, peer, part(own), peer, part(other)));
  }

  if (rank + p < n) {
    const Outgoing sums{rank + p, Bytes(values)};
    LACONIC_RETURN_IF_ERROR(comm.Exchange(std::span(&sums, 1), {}));
  }
  return absl::OkStatus();
}

absl::Status Allreduce(Communicator& comm, std::span<float> values, DenseAlgorithm algorithm, float factor) {
  if (comm.size() == 1) return comm.status();
  const bool folded = !std::has_single_bit(static_cast<unsigned>(comm.size()));
  const bool small = values.size_bytes() <= (folded ? kFoldedHalvingDoublingMaxBytes : kHalvingDoublingMaxBytes);
  if (algorithm == DenseAlgorithm::kHalvingDoubling || (algorithm == DenseAlgorithm::kAuto && small)) {
    return comm.shares_memory() ? SharedHalvingDoublingSum(comm, values, factor)
                                : HalvingDoubling(comm, values, factor);
  }
  return comm.shares_memory() ? SharedRingSum(comm, values, factor) : Ring(comm, values, factor);
}

}  // namespace

absl::Status AllreduceSum(Communicator& comm, std::span<float> values, DenseAlgorithm algorithm) {
  return Allreduce(comm, values, algorithm, 1.0f);
}

absl::Status AllreduceMean(Communicator& comm, std::span<float> values, DenseAlgorithm algorithm) {
  return Allreduce(comm, values, algorithm, 1.0f / static_cast<float>(comm.size()));
}

ShardRange ShardOf(size_t elements, int shards, int index, size_t alignment) {
  const size_t per_shard = (elements + shards - 1) / shards;
  const size_t length = (per_shard + alignment - 1) / alignment * alignment;
  const size_t begin = std::min(elements, length * index);
  return {begin, std::min(elements, begin + length)};
}

}  // namespace laconic
