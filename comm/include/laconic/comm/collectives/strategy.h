// How the tensors of one bucket become their mean over ranks: the common interface of dense, gather, scatter, linear
// and hierarchical, one file each in comm/collectives/.
//
// A step of one bucket:  Run    every slot: prepare the message, encode, exchange, decode; mean(s) is left in
// slot.direction
//                        Commit every slot: error control moves, slot.direction becomes the direction
// or, if any bucket of the step failed or was skipped, no Commit: then nothing that lasts has changed on any rank.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/base/shape.h"
#include "laconic/comm/collectives/cost_model.h"
#include "laconic/comm/collectives/pipeline.h"
#include "laconic/comm/communicator.h"
#include "laconic/compressors/compressor.h"
#include "laconic/compressors/error_control.h"

namespace laconic {

class WorkerPool;

// One optimizer step, as every rank sees it alike.
struct StepContext {
  uint64_t step = 0;
  double learning_rate = 1;
};

// What happens when a rank's gradient holds a NaN or an infinity. All ranks do the same.
enum class NonFinitePolicy {
  kSkip,  // the step is skipped on all ranks and no state moves; StepReport says who, what and where
  kFail,  // Finish gives InvalidArgument on all ranks, naming rank, tensor, index and value
  kZero,  // the bad elements count as 0; StepReport counts them
};

// One tensor on one rank: where its gradient lies, and everything about it that lasts from step to step.
struct GradientSlot {
  TensorId id{};
  std::string name;
  Shape shape;
  std::span<float> gradient;   // d floats, this rank's; only NonFinitePolicy::kZero writes to it
  std::span<float> direction;  // d floats; the slots of one bucket lie next to each other, in order
  std::shared_ptr<const Compressor> codec;  // null: the pipeline's; slots of one bucket may have codecs of their own
  ErrorControl control;                    // of this rank's message
  ErrorControl owner;                      // scatter: of the shard this rank re-encodes
  size_t owner_begin = 0;                  // where in the tensor that shard begins
  std::unique_ptr<LinearSession> session;  // linear
  bool follows = false;  // hierarchical: this rank sends nothing between nodes, its control keeps H alone
};

// The same on all ranks, fixed when the strategy is made.
struct StrategyOptions {
  uint64_t seed = 0;
  NonFinitePolicy non_finite = NonFinitePolicy::kSkip;
  bool measure_error = false;
  WorkerPool* pool = nullptr;  // encodes and decodes tensors in parallel; nullptr: on the calling thread
  uint32_t bucket = 0;         // position in the plan, part of every fingerprint
  LinkFigures link;            // what `auto` decides by
  bool link_known = false;     // else `link` is a guess, and a lossless stage stays whatever it says
};

// What one Run found and cost on this rank.
struct BucketResult {
  struct NonFinite {
    int rank = 0;
    TensorId tensor{};
    uint64_t index = 0;
    float value = 0;
  };
  std::optional<NonFinite>
      non_finite;  // agreed by all ranks (kSkip, kFail): the first by (rank, tensor); nothing was exchanged
  uint64_t zeroed_elements = 0;  // this rank's (kZero)
  double encode_seconds = 0;
  double decode_seconds = 0;
  double message_norm2 = 0;   // sum of |m|^2 over the bucket (measure_error)
  double residual_norm2 = 0;  // sum of |m - C(m)|^2
};

// Made for one bucket and one communicator; holds the buffers, sized once. One thread at a time.
class AllreduceStrategy {
 public:
  virtual ~AllreduceStrategy() = default;

  // What runs, for a person: "gather".
  virtual std::string ToString() const = 0;

  // Every rank calls it with the same step and bucket. Before any gradient moves, ranks exchange a small header with a
  // fingerprint of (step, bucket, tensors, codec), non-finite findings and payload lengths. Allocates nothing after the
  // first call.
  //   error_scale: see ErrorControl::Prepare.
  // Errors: transport errors (final); FailedPrecondition when another rank is at another step or bucket; DataLoss for a
  // bad payload (names rank and tensor); what a rank's encoder said, on all ranks.
  virtual absl::Status Run(Communicator& comm, std::span<GradientSlot> bucket, const StepContext& step,
                           float error_scale, BucketResult& result) = 0;
  virtual void Commit(std::span<GradientSlot> bucket) = 0;

  // Adds what went over communicators of the strategy's own.
  virtual void AddTraffic(Traffic& total) const {}
};

// The strategy `pipeline.strategy` for this bucket; `auto` is resolved first, alike on all ranks, and a lossless stage
// that does not pay on a known link is left out. Sizes the slots'
// control, owner and session. InvalidArgument when codec, control and strategy do not go together, with the reason.
// Collective for hierarchical (it splits `comm`).
//   bucket: slots with id, name, shape, gradient, direction set; must stay in place.
absl::StatusOr<std::unique_ptr<AllreduceStrategy>> MakeStrategy(const Pipeline& pipeline, Communicator& comm,
                                                                std::span<GradientSlot> bucket,
                                                                const StrategyOptions& options);

}  // namespace laconic
