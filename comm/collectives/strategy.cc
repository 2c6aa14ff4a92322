#include "laconic/comm/collectives/strategy.h"

#include <algorithm>

#include "comm/collectives/strategies.h"
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/dense.h"
#include "laconic/compressors/payload.h"

namespace laconic {

absl::Status SizeControls(const Pipeline& pipeline, std::span<GradientSlot> bucket,
                          absl::FunctionRef<Shape(const GradientSlot&)> encoded_shape) {
  for (GradientSlot& slot : bucket) {
    slot.codec = pipeline.codec;
    const Shape shape = encoded_shape(slot);
    LACONIC_RETURN_IF_ERROR(Annotate(slot.codec->Supports(shape), "tensor " + slot.name));
    LACONIC_ASSIGN_OR_RETURN(const ControlOptions options,
                             ResolveControl(pipeline.control, slot.codec->traits(shape), slot.codec->ToString()));
    slot.control = ErrorControl(options, slot.shape.elements());
  }
  return absl::OkStatus();
}

std::span<float> BucketDirections(std::span<GradientSlot> bucket) {
  size_t elements = 0;
  for (const GradientSlot& slot : bucket) elements += slot.direction.size();
  return {bucket.front().direction.data(), elements};
}

namespace {

// May this pipeline's codec and control be scattered, as far as one tensor is concerned?
bool CanScatter(const Pipeline& pipeline, const Shape& shard) {
  if (!pipeline.codec->Supports(shard).ok()) return false;
  const Traits traits = pipeline.codec->traits(shard);
  const absl::StatusOr<ControlOptions> control = ResolveControl(pipeline.control, traits, pipeline.codec->ToString());
  return control.ok() && CheckOwner(*control, traits, pipeline.codec->ToString()).ok();
}

// What the cost model needs to know of a bucket under this pipeline.
BucketFigures FiguresOf(const Pipeline& pipeline, std::span<const GradientSlot> bucket, int ranks) {
  const Compressor& codec = *pipeline.codec;
  BucketFigures figures{.gather_bytes = 0, .scatter_bytes = 0, .linear_floats = 0};
  for (const GradientSlot& slot : bucket) {
    figures.elements += slot.shape.elements();
    if (!codec.Supports(slot.shape).ok()) figures.gather_bytes.reset();
    if (figures.gather_bytes) *figures.gather_bytes += kPayloadHeaderBytes + codec.MaxBodyBytes(slot.shape);
    for (int rank = 0; rank < ranks; ++rank) {
      const Shape shard = Shape::Flat(ShardOf(slot.shape.elements(), ranks, rank, kShardAlignment).size());
      if (!CanScatter(pipeline, shard)) figures.scatter_bytes.reset();
      if (figures.scatter_bytes) *figures.scatter_bytes += kPayloadHeaderBytes + codec.MaxBodyBytes(shard);
    }
    const std::unique_ptr<LinearSession> session = codec.NewLinearSession(slot.shape, RngKey{}.Shared());
    if (session == nullptr) figures.linear_floats.reset();
    if (figures.linear_floats) {
      figures.linear_rounds = std::max(figures.linear_rounds, session->rounds());
      for (int round = 0; round < session->rounds(); ++round) *figures.linear_floats += session->RoundFloats(round);
    }
  }
  return figures;
}

}  // namespace

absl::StatusOr<std::unique_ptr<AllreduceStrategy>> MakeStrategy(const Pipeline& pipeline, Communicator& comm,
                                                                std::span<GradientSlot> bucket,
                                                                const StrategyOptions& options) {
  if (pipeline.strategy.kind == StrategyKind::kAuto) {
    Pipeline resolved = pipeline;
    resolved.strategy = {.kind = ChooseStrategy(FiguresOf(pipeline, bucket, comm.size()), comm.size(), options.link,
                                                pipeline.strategy.dense_allowed)};
    return MakeStrategy(resolved, comm, bucket, options);
  }
  switch (pipeline.strategy.kind) {
    case StrategyKind::kDense:
      return MakeDenseStrategy(comm, bucket, options);
    case StrategyKind::kGather:
      return MakeGatherStrategy(pipeline, comm, bucket, options);
    case StrategyKind::kScatter:
      return MakeScatterStrategy(pipeline, comm, bucket, options);
    case StrategyKind::kLinear:
      return MakeLinearStrategy(pipeline, comm, bucket, options);
    case StrategyKind::kHierarchical:
      return MakeHierarchicalStrategy(pipeline, comm, bucket, options);
    case StrategyKind::kAuto:
      break;
  }
  return absl::InvalidArgumentError(fmt::format("strategy of {} is not resolved", pipeline.ToString()));
}

}  // namespace laconic
