// What a data-parallel trainer holds: gradients in, the direction that all ranks agree on out, compressed on the way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/base/shape.h"
#include "laconic/base/state.h"
#include "laconic/comm/collectives/strategy.h"
#include "laconic/comm/communicator.h"
#include "laconic/comm/transport/paced.h"
#include "laconic/compressors/codec_registry.h"
#include "laconic/optim/parameter.h"

namespace laconic {

// How state is taken over by another number of ranks (GradientSync::Load).
enum class ReshardRule {
  kNone,   // refused
  kMean,   // every rank starts from the mean over the old ranks, so that the correction still owed to the weights,
           // mean(e), is kept
  kReset,  // errors, shifts and momenta start at zero
};

struct GradientSyncOptions {
  uint64_t seed = 0;                // of every random draw; equal on all ranks (the handshake checks)
  size_t bucket_bytes = 1 << 20;    // gradients are sent in buckets of about this many float32 bytes
  size_t min_bytes = 2 << 10;       // tensors smaller than this go dense whatever the spec says
  uint64_t dense_warmup_steps = 0;  // the first steps go uncompressed; error state starts after them
  double clip_norm = 0;  // > 0: gradients are scaled so that the root mean square over ranks of their global norms is
                         // at most this, before compression; gives up overlap (the norm needs all tensors)
  NonFinitePolicy non_finite = NonFinitePolicy::kSkip;
  bool rescale_error =
      false;            // true: error * (previous learning rate / current), so the virtual iterate stays exact; under a
                        // falling rate that error outgrows what a sparse codec can drain (docs/design.md, section 3)
  bool overlap = true;  // false: communication runs inside MarkReady, on the caller's thread
  int encode_threads = 1;                   // same bits for any number
  bool measure_error = false;               // StepReport.relative_error and error_norm cost extra passes
  LinkModel link;                           // for strategy `auto`; unlimited: auto assumes 10 Gbit/s
  const CodecRegistry* registry = nullptr;  // nullptr: CodecRegistry::BuiltIn()
};

// The last finished step on this rank. Bytes count what was handed to the transport, headers and agreement included.
struct StepReport {
  uint64_t step = 0;
  std::string_view phase;  // a DistributedOptimizer's: "warm-up", "compressed"; empty where there is but one
  bool skipped = false;
  std::string skip_reason;        // empty unless skipped
  std::string plan;  // layers' levels, where this step ended with a re-plan of adaptive(...): "fc1.weight=0.0025 ..."
  uint64_t zeroed_elements = 0;   // NonFinitePolicy::kZero
  uint64_t logical_bytes = 0;     // 4 bytes per gradient element
  uint64_t dense_wire_bytes = 0;  // what a ring allreduce would have sent from this rank: 2 (n-1)/n logical
  uint64_t wire_bytes_sent = 0;
  uint64_t wire_bytes_received = 0;
  double encode_seconds = 0;    // preparing, encoding
  double exchange_seconds = 0;  // inside the transport
  double decode_seconds = 0;    // decoding, averaging
  double exposed_seconds = 0;   // the trainer's thread waited this long (inside MarkReady and Finish)
  double relative_error = 0;    // |m - C(m)| / |m| over all compressed tensors (measure_error)
  double error_norm = 0;        // |e| over all tensors (measure_error)
};

// Not thread-safe: Begin, MarkReady and Finish on one thread. Collective: all ranks make the same calls in the same
// order, MarkReady excepted, whose order may differ. Allocates nothing from the second step on, but for the steps that
// end with a re-plan of adaptive(...): the buckets concerned are then sized anew.
class GradientSync {
 public:
  // Plans buckets, sizes all memory, and compares with the other ranks protocol version, tensor names, shapes, spec,
  // options, seed and a hash of the weights: FailedPrecondition naming rank, tensor and both values where they differ,
  // on every rank. Collective.
  //   comm: duplicated; must outlive the GradientSync.   parameters: in the model's order; backward is assumed to run
  //   in reverse. spec: one pipeline, or rules by tensor name (compressors/spec.h). InvalidArgument with column for a
  //   bad spec.
  static absl::StatusOr<std::unique_ptr<GradientSync>> Create(Communicator* comm, std::span<const Parameter> parameters,
                                                              std::string_view spec,
                                                              const GradientSyncOptions& options = {});
  virtual ~GradientSync() = default;

  virtual void Begin(const StepContext& step) = 0;
  // The tensor's gradient is complete and will not be written before Finish returns.
  virtual void MarkReady(TensorId id) = 0;
  // Marks what is not marked yet, waits for all buckets, and makes the step real on success. On an error nothing has
  // changed and directions are unspecified; transport errors are final.
  virtual absl::Status Finish() = 0;

  // Between two steps: errors, shifts and momenta to zero on this rank, as at the start. All ranks do it alike. For
  // when the gradients' place is taken by something of another kind. A warm start stays.
  virtual void ResetState() = 0;

  // The direction to step along, equal bits on all ranks; zeros after a skipped step. Valid until the next Begin.
  virtual std::span<const float> direction(TensorId id) const = 0;
  virtual const StepReport& report() const = 0;

  // The spec with all defaults written out, one line a tensor group; and the strategy that `auto` chose.
  virtual std::string Describe() const = 0;

  virtual void Save(StateWriter& out) const = 0;
  // State saved by the same spec and tensors; `by_rank` holds one reader per rank that saved, in rank order. With as
  // many as size(), continues bit for bit. With another number, `rule` decides; FailedPrecondition under kNone, naming
  // both world sizes.
  virtual absl::Status Load(std::span<const StateReader> by_rank, ReshardRule rule = ReshardRule::kNone) = 0;
};

}  // namespace laconic
