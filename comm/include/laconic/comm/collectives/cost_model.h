// How long each strategy takes for one bucket: what `auto` decides by. A pure function of figures that all ranks share,
// so that all ranks decide alike and a run can be repeated.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "laconic/comm/collectives/pipeline.h"

namespace laconic {

// Between any two ranks; full duplex.
struct LinkFigures {
  double bits_per_second = 10e9;
  double round_trip_seconds = 50e-6;
};

// One bucket under one codec. Bytes are those of one rank's payloads, frames included.
struct BucketFigures {
  uint64_t elements = 0;
  std::optional<uint64_t> gather_bytes;   // of the whole bucket; absent: the codec cannot gather
  std::optional<uint64_t> scatter_bytes;  // of all its shards together; absent: cannot scatter
  std::optional<uint64_t> linear_floats;  // of all rounds together; absent: not linear
  int linear_rounds = 0;
  double encode_bytes_per_second = 2e9;  // of float32 input, on one rank
  double decode_bytes_per_second = 4e9;  // of float32 output, per payload
};

// Seconds for one bucket on n ranks, nothing hidden by overlap; infinity where the codec cannot.
//   dense    2 (n-1)/n 4d bytes, 2 ceil(log2 n) messages         gather  (n-1) b bytes, encode d, decode n d
//   scatter  2 (n-1)/n b bytes, encode d + d/n, decode 2 d       linear  2 (n-1)/n 4f bytes, encode d, decode d
// plus half a round trip for each Exchange, the headers' included.
double EstimateSeconds(StrategyKind kind, const BucketFigures& bucket, int ranks, const LinkFigures& link);

// What a second lossy compression must gain in time to be worth its error: re-encoding the mean about doubles the error
// of a step (docs/algorithms.md), which no estimate of time shows. So scatter is taken only where it is this many times
// as fast.
inline constexpr double kSecondCompressionPenalty = 3;

// The kind of least time among dense (if allowed), gather, scatter (its time times the penalty) and linear; ties go to
// the earlier in that order.
StrategyKind ChooseStrategy(const BucketFigures& bucket, int ranks, const LinkFigures& link, bool dense_allowed);

}  // namespace laconic
