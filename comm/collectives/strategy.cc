#include "laconic/comm/collectives/strategy.h"

#include <vector>

#include "comm/collectives/strategies.h"
#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

std::vector<Shape> ShapesOf(std::span<const GradientSlot> bucket) {
  std::vector<Shape> shapes;
  for (const GradientSlot& slot : bucket) shapes.push_back(slot.shape);
  return shapes;
}

}  // namespace

absl::Status SizeControls(const Pipeline& pipeline, std::span<GradientSlot> bucket,
                          absl::FunctionRef<Shape(const GradientSlot&)> encoded_shape) {
  for (GradientSlot& slot : bucket) {
    if (slot.codec == nullptr) slot.codec = pipeline.codec;
    const Shape shape = encoded_shape(slot);
    LACONIC_RETURN_IF_ERROR(Annotate(slot.codec->Supports(shape), "tensor " + slot.name));
    LACONIC_ASSIGN_OR_RETURN(const ControlOptions options,
                             ResolveControl(pipeline.control, slot.codec->traits(shape), slot.codec->ToString()));
    slot.control = ErrorControl(options, slot.shape.elements());
  }
  return absl::OkStatus();
}

absl::Status CheckAllTakePart(std::string_view strategy, std::span<const GradientSlot> bucket) {
  const double participation = bucket.front().control.options().participation;
  if (participation == 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{} needs every rank in every step; participation = {} goes with gather and scatter", strategy,
                  FormatNumber(participation)));
}

std::span<float> BucketDirections(std::span<GradientSlot> bucket) {
  size_t elements = 0;
  for (const GradientSlot& slot : bucket) elements += slot.direction.size();
  return {bucket.front().direction.data(), elements};
}

Pipeline WithEntropyIfItPays(const Pipeline& pipeline, int ranks, std::span<GradientSlot> bucket,
                             const StrategyOptions& options) {
  const bool stays =
      !pipeline.has_entropy() || !options.link_known || EntropyPays(pipeline, ShapesOf(bucket), ranks, options.link);
  if (stays) return pipeline;
  Pipeline without = pipeline.WithoutEntropy();
  for (GradientSlot& slot : bucket) {
    if (slot.codec == pipeline.codec) slot.codec = without.codec;
  }
  return without;
}

absl::StatusOr<std::unique_ptr<AllreduceStrategy>> MakeStrategy(const Pipeline& pipeline, Communicator& comm,
                                                                std::span<GradientSlot> bucket,
                                                                const StrategyOptions& options) {
  if (const Pipeline paying = WithEntropyIfItPays(pipeline, comm.size(), bucket, options);
      paying.has_entropy() != pipeline.has_entropy()) {
    return MakeStrategy(paying, comm, bucket, options);
  }
  if (pipeline.strategy.kind == StrategyKind::kAuto) {
    Pipeline resolved = pipeline;
    resolved.strategy = {.kind = ChooseStrategy(FiguresOf(pipeline, ShapesOf(bucket), comm.size()), comm.size(),
                                                options.link, pipeline.strategy.dense_allowed)};
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
