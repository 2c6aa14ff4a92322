#include "tools/plan/step.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "absl/status/status.h"
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/compressors/spec.h"
#include "optim/bucket_plan.h"
#include "optim/tensor_rules.h"
#include "tools/specs.h"

namespace laconic::tools {
namespace {

constexpr double kTie = 0.02;
constexpr double kSlowestLink = 1e5, kFastestLink = 1e14;

// The tensors as GradientSync sees them. Rules look at sizes only, so that all share one array.
std::vector<Parameter> ParametersOf(const ModelTensors& model, std::vector<float>& room) {
  uint64_t largest = 0;
  for (const NamedShape& tensor : model.tensors) largest = std::max(largest, tensor.shape.elements());
  room.resize(largest);
  std::vector<Parameter> parameters;
  for (const NamedShape& tensor : model.tensors) {
    const std::span<float> values = std::span(room).first(tensor.shape.elements());
    parameters.push_back({.name = tensor.name, .shape = tensor.shape, .weights = values, .gradient = values});
  }
  return parameters;
}

// The shape in the middle of the bucket's bytes: half of them lie in tensors no larger.
Shape TypicalShape(std::span<const Shape> shapes) {
  std::vector<const Shape*> sorted;
  uint64_t elements = 0;
  for (const Shape& shape : shapes) {
    sorted.push_back(&shape);
    elements += shape.elements();
  }
  std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return a->elements() < b->elements(); });
  uint64_t below = 0;
  for (const Shape* shape : sorted) {
    below += shape->elements();
    if (2 * below >= elements) return *shape;
  }
  return Shape::Flat(1);
}

std::string RunsAs(std::span<const PlannedBucket> buckets) {
  std::set<std::string> names;
  for (const PlannedBucket& bucket : buckets) names.insert(std::string(StrategyName(bucket.kind)));
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " and ") + name;
  return text;
}

}  // namespace

absl::StatusOr<BucketOutline> OutlineBucket(std::shared_ptr<const Pipeline> pipeline, std::span<const Shape> shapes,
                                            const CodecFigures& codec, int ranks) {
  if (pipeline->strategy.kind == StrategyKind::kHierarchical) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: hierarchical is not modelled; plan its strategy between nodes, with --ranks the number of nodes",
        pipeline->ToString()));
  }
  if (!pipeline->dense()) {
    const Compressor& compressor = *pipeline->codec;
    const Traits traits = compressor.traits(shapes.front());
    LACONIC_RETURN_IF_ERROR(ResolveControl(pipeline->control, traits, compressor.ToString()).status());
  }
  BucketOutline bucket{.assumed = FiguresOf(*pipeline, shapes, ranks), .relative_error = codec.relative_error};
  bucket.figures = codec.body_share == 1 ? bucket.assumed : FiguresOf(*pipeline, shapes, ranks, codec.body_share);
  if (codec.encode_bytes_per_second > 0) bucket.figures.encode_bytes_per_second = codec.encode_bytes_per_second;
  if (codec.decode_bytes_per_second > 0) bucket.figures.decode_bytes_per_second = codec.decode_bytes_per_second;
  if (codec.session_bytes_per_second > 0) bucket.figures.session_bytes_per_second = codec.session_bytes_per_second;
  bucket.pipeline = std::move(pipeline);
  return bucket;
}

absl::StatusOr<PlannedBucket> PlanBucket(const BucketOutline& bucket, const Setting& setting) {
  const Pipeline& pipeline = *bucket.pipeline;
  PlannedBucket planned{.kind = pipeline.strategy.kind};
  if (planned.kind == StrategyKind::kAuto) {
    planned.kind = ChooseStrategy(bucket.assumed, setting.ranks, setting.link, pipeline.strategy.dense_allowed);
  }
  const std::optional<CostEstimate> cost =
      EstimateCost(planned.kind, bucket.figures, setting.ranks, setting.link, setting.host);
  if (!cost) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {} cannot go by {} on these tensors; `laconic methods` says "
                    "which codecs each strategy takes",
                    pipeline.ToString(), pipeline.codec->ToString(), StrategyName(planned.kind)));
  }
  planned.cost = *cost;
  planned.ready_seconds =
      setting.compute_seconds * (1 - setting.backward_share + setting.backward_share * bucket.ready_share);
  return planned;
}

absl::StatusOr<SpecOutline> SpecOutline::Create(const ModelTensors& model, const std::string& spec,
                                                const CodecFiguresOf& codecs, const Setting& setting) {
  std::vector<float> room;
  const std::vector<Parameter> parameters = ParametersOf(model, room);
  LACONIC_ASSIGN_OR_RETURN(const std::vector<SpecRule> parsed, ParseSpec(spec));
  LACONIC_ASSIGN_OR_RETURN(const std::vector<TensorRule> rules,
                           MatchRules(parsed, CodecRegistry::BuiltIn(), parameters, setting.min_bytes));
  std::vector<PlannedTensor> planned;
  std::map<int, std::vector<Shape>> shapes_of_group;
  for (size_t i = 0; i < rules.size(); ++i) {
    planned.push_back({.bytes = 4 * model.tensors[i].shape.elements(), .group = rules[i].group});
    shapes_of_group[rules[i].group].push_back(model.tensors[i].shape);
  }
  std::vector<uint64_t> from_here(model.tensors.size() + 1);  // elements of tensors i, i + 1, ...
  for (size_t i = model.tensors.size(); i-- > 0;) from_here[i] = from_here[i + 1] + model.tensors[i].shape.elements();

  SpecOutline outline;
  outline.spec_ = spec;
  for (const BucketTensors& tensors : PlanBuckets(planned, setting.bucket_bytes)) {
    const TensorRule& rule = rules[tensors.front()];
    LACONIC_RETURN_IF_ERROR(RefuseAdaptive(*rule.pipeline));
    std::vector<Shape> shapes;
    for (size_t tensor : tensors) shapes.push_back(model.tensors[tensor].shape);
    CodecFigures codec;
    if (!rule.pipeline->dense()) {
      LACONIC_ASSIGN_OR_RETURN(codec, codecs(*rule.pipeline->codec, TypicalShape(shapes_of_group[rule.group])));
    }
    LACONIC_ASSIGN_OR_RETURN(BucketOutline bucket, OutlineBucket(rule.pipeline, shapes, codec, setting.ranks));
    bucket.ready_share = static_cast<double>(from_here[tensors.back()]) / static_cast<double>(from_here[0]);
    outline.buckets_.push_back(std::move(bucket));
  }
  return outline;
}

absl::StatusOr<SpecPlan> SpecOutline::Plan(const Setting& setting) const {
  SpecPlan plan{.spec = spec_, .dense = true, .buckets = buckets_.size()};
  std::vector<PlannedBucket> buckets;
  double lost = 0, elements = 0;
  for (const BucketOutline& outline : buckets_) {
    LACONIC_ASSIGN_OR_RETURN(const PlannedBucket bucket, PlanBucket(outline, setting));
    const double bucket_elements = static_cast<double>(outline.figures.elements);
    plan.compute_seconds += bucket.cost.compute_seconds;
    plan.exchange_seconds += bucket.cost.exchange_seconds;
    plan.wire_bytes += bucket.cost.wire_bytes;
    elements += bucket_elements;
    if (bucket.kind != StrategyKind::kDense) {
      plan.dense = false;
      lost += outline.relative_error * outline.relative_error * bucket_elements;
    }
    buckets.push_back(bucket);
  }
  plan.relative_error = std::sqrt(lost / elements);
  plan.runs_as = RunsAs(buckets);
  plan.step_seconds = StepSeconds(buckets, setting);
  return plan;
}

double StepSeconds(std::span<const PlannedBucket> buckets, const Setting& setting) {
  const bool spare_core = setting.host.ranks_per_core <= 0.5;
  double end = 0;    // of the last bucket so far
  double delay = 0;  // of backward, by what buckets computed
  for (const PlannedBucket& bucket : buckets) {
    const double ready = setting.overlap ? bucket.ready_seconds + delay : setting.compute_seconds;
    end = std::max(end, ready) + bucket.cost.seconds();
    if (setting.overlap && !spare_core) delay += bucket.cost.compute_seconds;
  }
  return std::max(end, setting.compute_seconds + delay);
}

absl::StatusOr<double> BreakEvenBitsPerSecond(const SpecOutline& dense, const SpecOutline& spec,
                                              const Setting& setting) {
  const auto gain = [&](double bits_per_second) -> absl::StatusOr<double> {
    Setting at = setting;
    at.link.bits_per_second = bits_per_second;
    LACONIC_ASSIGN_OR_RETURN(const SpecPlan uncompressed, dense.Plan(at));
    LACONIC_ASSIGN_OR_RETURN(const SpecPlan compressed, spec.Plan(at));
    return uncompressed.communication_seconds() - compressed.communication_seconds();
  };
  LACONIC_ASSIGN_OR_RETURN(const double at_slowest, gain(kSlowestLink));
  if (!(at_slowest > 0)) return 0;
  LACONIC_ASSIGN_OR_RETURN(const double at_fastest, gain(kFastestLink));
  if (at_fastest > 0) return std::numeric_limits<double>::infinity();
  double low = std::log(kSlowestLink), high = std::log(kFastestLink);
  for (int halving = 0; halving < 20; ++halving) {  // to 2e-5 of the rate
    const double middle = (low + high) / 2;
    LACONIC_ASSIGN_OR_RETURN(const double gained, gain(std::exp(middle)));
    (gained > 0 ? low : high) = middle;
  }
  return std::exp((low + high) / 2);
}

size_t BestPlan(std::span<const SpecPlan> plans) {
  double least = std::numeric_limits<double>::infinity();
  for (const SpecPlan& plan : plans) least = std::min(least, plan.step_seconds);
  size_t best = plans.size();
  for (size_t i = 0; i < plans.size(); ++i) {
    if (plans[i].step_seconds > least * (1 + kTie)) continue;
    if (best == plans.size() || plans[i].relative_error < plans[best].relative_error) best = i;
  }
  return best;
}

}  // namespace laconic::tools
