#include "optim/buckets.h"

#include <algorithm>

#include "laconic/base/status.h"
#include "optim/bucket_plan.h"
#include "optim/sync_state.h"

namespace laconic {
namespace {

StrategyOptions OptionsOf(const GradientSyncOptions& options, WorkerPool* pool, size_t bucket) {
  StrategyOptions strategy{.seed = options.seed,
                           .non_finite = options.non_finite,
                           .measure_error = options.measure_error,
                           .pool = pool,
                           .bucket = static_cast<uint32_t>(bucket)};
  if (options.link.bits_per_second > 0) {
    strategy.link = {.bits_per_second = options.link.bits_per_second,
                     .round_trip_seconds = absl::ToDoubleSeconds(options.link.round_trip)};
    strategy.link_known = true;
  }
  return strategy;
}

void FillSlots(Bucket& bucket, std::span<const Parameter> parameters, const BucketTensors& tensors) {
  size_t elements = 0;
  for (size_t tensor : tensors) elements += parameters[tensor].gradient.size();
  bucket.directions.resize(elements);
  bucket.slots.resize(tensors.size());
  size_t offset = 0;
  for (size_t s = 0; s < tensors.size(); ++s) {
    const Parameter& parameter = parameters[tensors[s]];
    GradientSlot& slot = bucket.slots[s];
    slot.id = TensorId{static_cast<uint32_t>(tensors[s])};
    slot.name = parameter.name;
    slot.shape = parameter.shape;
    slot.gradient = parameter.gradient;
    slot.direction = std::span(bucket.directions).subspan(offset, parameter.gradient.size());
    slot.codec = bucket.pipeline->codec;
    offset += parameter.gradient.size();
  }
}

std::vector<std::shared_ptr<const Compressor>> CodecsOf(std::span<const GradientSlot> slots) {
  std::vector<std::shared_ptr<const Compressor>> codecs;
  for (const GradientSlot& slot : slots) codecs.push_back(slot.codec);
  return codecs;
}

absl::Status SetStrategy(Bucket& bucket, Communicator& comm) {
  LACONIC_ASSIGN_OR_RETURN(bucket.strategy, MakeStrategy(*bucket.pipeline, comm, bucket.slots, bucket.options));
  bucket.codecs = CodecsOf(bucket.slots);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Bucket>> MakeBuckets(Communicator& comm, std::span<const Parameter> parameters,
                                                std::span<const TensorRule> rules, const GradientSyncOptions& options,
                                                WorkerPool* pool) {
  std::vector<PlannedTensor> planned;
  for (size_t i = 0; i < parameters.size(); ++i) {
    planned.push_back({.bytes = 4 * parameters[i].gradient.size(), .group = rules[i].group});
  }
  const std::vector<BucketTensors> plan = PlanBuckets(planned, options.bucket_bytes);
  std::vector<Bucket> buckets(plan.size());
  for (size_t b = 0; b < plan.size(); ++b) {
    Bucket& bucket = buckets[b];
    bucket.pipeline = rules[plan[b].front()].pipeline;
    bucket.options = OptionsOf(options, pool, b);
    FillSlots(bucket, parameters, plan[b]);
    LACONIC_RETURN_IF_ERROR(SetStrategy(bucket, comm));
    const ControlOptions& control = bucket.slots.front().control.options();
    if (options.rescale_error && control.participation < 1) {
      return absl::InvalidArgumentError(
          "rescale_error needs every rank in every step: the error of one that is away would keep the unit of an older "
          "rate");
    }
    bucket.dense_steps = std::max<uint64_t>(options.dense_warmup_steps, control.dense_start ? 1 : 0);
    if (bucket.dense_steps > 0 && !bucket.pipeline->dense()) {
      const Pipeline dense{.codec = bucket.pipeline->codec, .strategy = {.kind = StrategyKind::kDense}};
      LACONIC_ASSIGN_OR_RETURN(bucket.warmup, MakeStrategy(dense, comm, bucket.slots, bucket.options));
    }
  }
  return buckets;
}

StrategyKind TravelsBy(const Bucket& bucket, int ranks) {
  const std::string made = bucket.strategy->ToString();
  const StrategyKind kind = FindStrategy(made.substr(0, made.find('(')))->kind;
  if (kind != StrategyKind::kHierarchical) return kind;
  const StrategyKind across = bucket.pipeline->strategy.across;
  if (across != StrategyKind::kAuto) return across;
  std::vector<Shape> tensors;
  for (const GradientSlot& slot : bucket.slots) tensors.push_back(slot.shape);
  return ChooseStrategy(FiguresOf(*bucket.pipeline, tensors, ranks), ranks, bucket.options.link, false);
}

absl::Status RemakeStrategies(std::span<Bucket> buckets, Communicator& comm, bool keep_state, Traffic& retired) {
  for (Bucket& bucket : buckets) {
    if (bucket.codecs == CodecsOf(bucket.slots)) continue;
    StateArchive archive;
    const StateWriter out(&archive);
    for (const GradientSlot& slot : bucket.slots) {
      StateWriter scope = out.Scope(slot.name);
      if (keep_state) SaveSlot(slot, bucket.strategy->ToString(), scope);
    }
    bucket.strategy->AddTraffic(retired);
    LACONIC_RETURN_IF_ERROR(SetStrategy(bucket, comm));
    const StateReader in(&archive);
    for (GradientSlot& slot : bucket.slots) {
      if (keep_state) LACONIC_RETURN_IF_ERROR(TakeOverSlot(in.Scope(slot.name), slot));
    }
  }
  return absl::OkStatus();
}

}  // namespace laconic
