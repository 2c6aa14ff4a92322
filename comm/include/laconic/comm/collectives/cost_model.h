// How long each strategy takes for one bucket: what `auto` decides by and `laconic plan` prints. A pure function of
// figures that all ranks share, so that all ranks decide alike and a run can be repeated. docs/plan.md has the
// equations with what they leave out.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>

#include "laconic/base/shape.h"
#include "laconic/comm/collectives/pipeline.h"

namespace laconic {

// Between any two ranks; full duplex.
struct LinkFigures {
  double bits_per_second = 10e9;      // of the line
  double round_trip_seconds = 50e-6;  // of a small message
  // Payload's share of the line: TCP over Ethernet carries 1448 bytes in a frame of 1514.
  double efficiency = 1448.0 / 1514.0;
  // What passes at once after an idle time, in bytes: the depth of the token bucket that shapes the link; 0 on a plain
  // one.
  double burst_bytes = 0;
};

// What the machine of one rank does while all its ranks are at work.
struct HostFigures {
  double copy_bytes_per_second = 10e9;  // memcpy, in bytes copied: two streams of memory
  // The most a rank sends while it receives as much, whatever the link.
  double transport_bytes_per_second = std::numeric_limits<double>::infinity();
  double exchange_seconds = 20e-6;  // one Exchange of nothing, beyond half a round trip
  double ranks_per_core = 1;        // above 1 ranks take turns: what a CPU does takes as many times as long
  // Dense allreduce where no link limits it, in bytes of gradient; absent: from the figures above.
  std::optional<double> dense_bytes_per_second;
};

// One bucket under one codec. Bytes are those of one rank's payloads, frames included. Speeds are of float32 bytes and
// one rank alone on a core. The defaults are what `auto` decides by: a measured speed would make two runs of one seed
// choose differently.
struct BucketFigures {
  uint64_t elements = 0;
  std::optional<uint64_t> gather_bytes;   // of the whole bucket; absent: the codec cannot gather
  std::optional<uint64_t> scatter_bytes;  // of all its shards together; absent: cannot scatter
  int scatter_owners = 0;                 // the first ranks that own shards; 0: all
  std::optional<uint64_t> linear_floats;  // of all rounds together; absent: not linear
  int linear_rounds = 0;
  double control_streams = 0;             // arrays of `elements` that error control reads or writes in Commit
  bool decodes_own = false;               // ... which also decodes what this rank sent (methods with shifts)
  double encode_bytes_per_second = 4e9;   // EncodeResidual
  double decode_bytes_per_second = 8e9;   // DecodeAdd of one payload
  double session_bytes_per_second = 2e9;  // linear: all rounds and the reconstruction
};

// Of a lossless stage: bytes of the codec's body per second.
inline constexpr double kEntropyEncodeBytesPerSecond = 1e9;
inline constexpr double kEntropyDecodeBytesPerSecond = 1.3e9;

// The figures of the bucket of these tensors under `pipeline`, on `ranks` ranks.
//   body_share: bytes a body really has over Compressor::MaxBodyBytes, where an encoding on typical data has shown it;
//   absent: 1, and with a lossless stage what gradients usually leave of the codec's numbers (docs/plan.md).
BucketFigures FiguresOf(const Pipeline& pipeline, std::span<const Shape> tensors, int ranks,
                        std::optional<double> body_share = std::nullopt);

// Of one step of one bucket on one rank, nothing hidden by overlap.
struct CostEstimate {
  double compute_seconds = 0;   // CPU and memory: inspect, encode, decode, add, commit
  double exchange_seconds = 0;  // waiting for bytes
  uint64_t wire_bytes = 0;      // sent by the rank that sends most, headers included

  double seconds() const { return compute_seconds + exchange_seconds; }
};

// nullopt where the codec cannot go this way, and for kAuto and kHierarchical, which name no single exchange.
//   dense    2 (n-1)/n 4d bytes, add 4d            gather  (n-1) b bytes, encode 4d, decode n 4d
//   scatter  2 (n-1)/n b bytes, encode 4d + 4d/n, decode 2 4d   (m owners: the figures of an owner)
//   linear   2 (n-1)/n 4f bytes, one session of 4d
// and for each: inspection of the gradient, error control, headers, and the latency of each Exchange.
std::optional<CostEstimate> EstimateCost(StrategyKind kind, const BucketFigures& bucket, int ranks,
                                         const LinkFigures& link, const HostFigures& host = {});

// Its seconds; infinity for nullopt.
double EstimateSeconds(StrategyKind kind, const BucketFigures& bucket, int ranks, const LinkFigures& link,
                       const HostFigures& host = {});

// What a second lossy compression must gain in time to be worth its error: re-encoding the mean about doubles the error
// of a step (docs/algorithms.md), which no estimate of time shows. So scatter is taken only where it is this many times
// as fast.
inline constexpr double kSecondCompressionPenalty = 3;

// The kind of least time among dense (if allowed), gather, scatter (its time times the penalty) and linear; ties go to
// the earlier in that order.
StrategyKind ChooseStrategy(const BucketFigures& bucket, int ranks, const LinkFigures& link, bool dense_allowed);

// Is a step of this bucket faster with the pipeline's lossless stage than without it? Each by the strategy asked for,
// or the one that `auto` would choose. False where nothing is coded (dense, linear); true for hierarchical, which asks
// again between nodes.
bool EntropyPays(const Pipeline& pipeline, std::span<const Shape> tensors, int ranks, const LinkFigures& link);

}  // namespace laconic
