// How long a training step takes under a spec: the cost model of `auto` (laconic/comm/collectives/cost_model.h) for
// each bucket, and how buckets hide behind backward. Pure functions; docs/plan.md has the equations.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "laconic/comm/collectives/cost_model.h"
#include "tools/plan/tensors.h"

namespace laconic::tools {

// What a codec does here. Speeds are of float32 bytes on one thread.
struct CodecFigures {
  double encode_bytes_per_second = 0;   // EncodeResidual, error added
  double decode_bytes_per_second = 0;   // DecodeAdd
  double session_bytes_per_second = 0;  // linear codecs: a whole session; else 0
  double body_share = 1;                // bytes of a body over Compressor::MaxBodyBytes
  double relative_error = 0;            // |x - C(x)| / |x| of one message
};

// Of a codec on tensors like `shape`.
using CodecFiguresOf = std::function<absl::StatusOr<CodecFigures>(const Compressor& codec, const Shape& shape)>;

struct Setting {
  int ranks = 2;
  LinkFigures link;
  HostFigures host;
  double compute_seconds = 0;       // of a step on one rank: forward, backward, optimizer, no communication
  double backward_share = 2.0 / 3;  // of compute_seconds, at its end; gradients become ready evenly over it
  bool overlap = true;              // MarkReady is called in backward; false: communication follows it
  size_t bucket_bytes = 1 << 20;    // GradientSyncOptions
  size_t min_bytes = 2 << 10;
};

// One bucket as it will run.
struct PlannedBucket {
  StrategyKind kind{};
  CostEstimate cost;
  double ready_seconds = 0;  // after the step's begin, if nothing disturbs backward
};

struct SpecPlan {
  std::string spec;
  std::string runs_as;  // strategies of the buckets: "gather", "dense and scatter"
  bool dense = false;   // nothing is compressed
  double step_seconds = 0;
  double compute_seconds = 0;   // of communication: codecs and memory, all buckets
  double exchange_seconds = 0;  // waiting for bytes, all buckets
  uint64_t wire_bytes = 0;      // sent by one rank
  double relative_error = 0;    // of one message, root mean square over compressed elements and 0 elsewhere
  size_t buckets = 0;

  double communication_seconds() const { return compute_seconds + exchange_seconds; }
};

// A bucket before the link is known.
struct BucketOutline {
  std::shared_ptr<const Pipeline> pipeline;
  BucketFigures figures;   // with the codec's figures here
  BucketFigures assumed;   // with the model's own speeds: what `auto` decides by in a run
  double ready_share = 1;  // of backward, after which its gradients are there
  double relative_error = 0;
};

// InvalidArgument for hierarchical, which is not modelled.
absl::StatusOr<BucketOutline> OutlineBucket(std::shared_ptr<const Pipeline> pipeline, std::span<const Shape> shapes,
                                            const CodecFigures& codec, int ranks);
// InvalidArgument where codec and strategy do not go together.
absl::StatusOr<PlannedBucket> PlanBucket(const BucketOutline& bucket, const Setting& setting);

// A model under a spec: buckets as GradientSync makes them, codecs measured. A value type.
class SpecOutline {
 public:
  // InvalidArgument for a bad spec, or one that OutlineBucket refuses; and what `codecs` says.
  static absl::StatusOr<SpecOutline> Create(const ModelTensors& model, const std::string& spec,
                                            const CodecFiguresOf& codecs, const Setting& setting);
  // Under a setting of the same ranks, bucket_bytes and min_bytes.
  absl::StatusOr<SpecPlan> Plan(const Setting& setting) const;

 private:
  std::string spec_;
  std::vector<BucketOutline> buckets_;
};

// The end of a step whose buckets run one after the other, each when it is ready and the one before has ended. With
// less than two cores a rank what a bucket computes is taken from backward.
double StepSeconds(std::span<const PlannedBucket> buckets, const Setting& setting);

// The link rate at which `spec` communicates as fast as `dense`, between 100 kbit/s and 100 Tbit/s: below it
// compression wins. 0: it never wins; infinity: it wins at every rate.
absl::StatusOr<double> BreakEvenBitsPerSecond(const SpecOutline& dense, const SpecOutline& spec,
                                              const Setting& setting);

// Index of the best: the least step time, where among those within 2 % the one that loses least wins.
size_t BestPlan(std::span<const SpecPlan> plans);

}  // namespace laconic::tools
