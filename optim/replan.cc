#include "optim/replan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/primitives.h"
#include "laconic/compressors/layer_evolution.h"
#include "laconic/compressors/payload.h"
#include "optim/link_probe.h"

namespace laconic {
namespace {

constexpr uint32_t kMeasureStream = 0xada9;  // random draws of codecs that are being measured
constexpr size_t kRun = 1024;                // elements of a message formed at a time
constexpr double kCredible = 0.95;           // share of the seconds below which a plan of more bytes is believed faster

// Figures of one layer at one level, as ranks exchange them.
constexpr size_t kFigures = 4;
enum Figure : size_t { kSquaredError, kBytes, kEncodeSeconds, kDecodeSeconds };

// May a tensor of this shape take this codec, under the pipeline's control and strategy?
bool MayTake(const Pipeline& pipeline, const std::shared_ptr<const Compressor>& codec, StrategyKind kind,
             const Shape& shape, int ranks) {
  if (!codec->Supports(shape).ok()) return false;
  if (!ResolveControl(pipeline.control, codec->traits(shape), codec->ToString()).ok()) return false;
  Pipeline with = pipeline;
  with.codec = codec;
  const BucketFigures figures = FiguresOf(with, std::span(&shape, 1), ranks);
  switch (kind) {
    case StrategyKind::kScatter:
      return figures.scatter_bytes.has_value();
    case StrategyKind::kLinear:
      return figures.linear_floats.has_value();
    default:
      return figures.gather_bytes.has_value();
  }
}

}  // namespace

Replanner::Replanner(const Pipeline& pipeline, CodecFamily family, const ReplanSetting& setting)
    : pipeline_(pipeline), spec_(*pipeline.adaptive), family_(std::move(family)), setting_(setting), message_(kRun) {}

absl::StatusOr<std::unique_ptr<Replanner>> Replanner::Create(const Pipeline& pipeline, const CodecRegistry& registry,
                                                             std::span<const Tensor> tensors,
                                                             const ReplanSetting& setting) {
  LACONIC_ASSIGN_OR_RETURN(CodecFamily family, MakeFamily(*pipeline.adaptive, registry));
  std::unique_ptr<Replanner> replanner(new Replanner(pipeline, std::move(family), setting));
  const CodecFamily& codecs = replanner->family_;
  for (const Tensor& tensor : tensors) {
    Layer layer{.slot = tensor.slot, .strategy = tensor.strategy, .levels = {}, .window = {}, .speeds = {}};
    for (size_t level = 0; level < codecs.codecs.size(); ++level) {
      const bool uniform = level == codecs.uniform;
      if (!uniform && !MayTake(pipeline, codecs.codecs[level], tensor.strategy, tensor.slot->shape, setting.ranks)) {
        continue;
      }
      if (uniform) layer.uniform = layer.chosen = layer.levels.size();
      layer.levels.push_back(level);
    }
    layer.window.resize(tensor.slot->shape.elements());
    replanner->layers_.push_back(std::move(layer));
  }
  return replanner;
}

bool Replanner::Due(uint64_t step) const {
  const uint64_t done = step + 1;
  return done >= spec_.warmup && (done - spec_.warmup) % spec_.every == 0;
}

bool Replanner::InWindow(uint64_t step) const {
  const uint64_t done = step + 1;
  const uint64_t until =
      done <= spec_.warmup ? spec_.warmup - done : (spec_.every - (done - spec_.warmup) % spec_.every) % spec_.every;
  return until < spec_.window;
}

bool Replanner::measures_speed() const {
  return spec_.objective == LayerObjective::kTime && spec_.speed == CodecSpeed::kMeasured;
}

void Replanner::Observe(uint64_t step, float error_scale) {
  if (!InWindow(step)) return;
  for (Layer& layer : layers_) {
    // Where ranks' messages are summed before they are decoded, each rank's error is a random walk along what its
    // gradients differ from the others' (docs/algorithms.md, section 4): noise that the sum cancels and that would
    // drown what the layers have in common. There the gradient alone counts.
    const bool summed = layer.strategy == StrategyKind::kLinear;
    const Message message =
        summed ? Message(layer.slot->gradient) : layer.slot->control.Prepare(layer.slot->gradient, error_scale);
    for (size_t first = 0; first < layer.window.size(); first += kRun) {
      const size_t count = std::min(kRun, layer.window.size() - first);
      const std::span<float> run = std::span(message_).first(count);
      message.Form(first, run);
      for (size_t i = 0; i < count; ++i) layer.window[first + i] += run[i];
    }
  }
  ++observed_;
}

absl::StatusOr<bool> Replanner::Replan(Communicator& comm, uint64_t step) {
  if (observed_ == 0 || layers_.empty()) return false;
  comm.SetPhase({.name = "re-plan", .step = step, .tensor = layers_.front().slot->name});
  const bool timed = measures_speed() && layers_.front().speeds.empty();
  if (timed && !setting_.link) {
    LACONIC_ASSIGN_OR_RETURN(setting_.link, ProbeLink(comm));
  }
  std::vector<double> own;
  MeasureOwn(step, timed, own);
  for (Layer& layer : layers_) std::fill(layer.window.begin(), layer.window.end(), 0.0f);
  observed_ = 0;
  std::vector<double> all(own.size() * comm.size());
  LACONIC_RETURN_IF_ERROR(Allgather(comm, std::as_bytes(std::span(own)), std::as_writable_bytes(std::span(all))));
  if (!std::all_of(all.begin(), all.end(), [](double figure) { return std::isfinite(figure); })) return false;
  if (timed) KeepSpeeds(all, own.size());
  LACONIC_ASSIGN_OR_RETURN(const LayerPlan plan, Decide(all, own.size(), step));
  bool changed = false;
  for (size_t i = 0; i < layers_.size(); ++i) {
    changed = changed || layers_[i].chosen != plan.choice[i];
    Take(layers_[i], plan.choice[i]);
  }
  return changed;
}

void Replanner::Take(Layer& layer, size_t level) {
  layer.chosen = level;
  layer.slot->codec = family_.codecs[layer.levels[level]];
}

void Replanner::MeasureOwn(uint64_t step, bool timed, std::vector<double>& figures) {
  const ParallelScope scope(setting_.pool);
  const float share = 1.0f / static_cast<float>(observed_);
  for (Layer& layer : layers_) {
    for (float& value : layer.window) value *= share;
    const RngKey key{.seed = setting_.seed,
                     .step = step,
                     .tensor = Index(layer.slot->id),
                     .rank = RngKey::kSharedRank,
                     .stream = kMeasureStream};
    for (size_t level = 0; level < layer.levels.size(); ++level) {
      const auto measured =
          probe_.Measure(CodecOf(layer, level), layer.strategy, layer.slot->shape, layer.window, key, timed);
      const double nan = std::numeric_limits<double>::quiet_NaN();
      const LevelFigures found = measured.ok() ? *measured : LevelFigures{.squared_error = nan};
      figures.insert(figures.end(), {found.squared_error, found.bytes, found.encode_seconds, found.decode_seconds});
    }
  }
}

// The mean over ranks: all of them work at the same time.
void Replanner::KeepSpeeds(std::span<const double> all, size_t count) {
  const size_t ranks = all.size() / count;
  size_t at = 0;
  for (Layer& layer : layers_) {
    layer.speeds.clear();
    for (size_t level = 0; level < layer.levels.size(); ++level, at += kFigures) {
      for (const Figure figure : {kEncodeSeconds, kDecodeSeconds}) {
        double sum = 0;
        for (size_t rank = 0; rank < ranks; ++rank) sum += all[rank * count + at + figure];
        layer.speeds.push_back(static_cast<float>(sum / static_cast<double>(ranks)));
      }
    }
  }
}

absl::StatusOr<LayerPlan> Replanner::Decide(std::span<const double> all, size_t count, uint64_t step) const {
  const size_t ranks = all.size() / count;
  std::vector<LayerTable> tables;
  double least_error = 0;
  size_t at = 0;
  for (const Layer& layer : layers_) {
    LayerTable table{.options = {}, .uniform = layer.uniform};
    double least = std::numeric_limits<double>::infinity();
    for (size_t level = 0; level < layer.levels.size(); ++level, at += kFigures) {
      LayerOption option;
      for (size_t rank = 0; rank < ranks; ++rank) {
        const double* figures = &all[rank * count + at];
        const bool squared = spec_.error == LayerErrorMeasure::kSquared;
        option.error += squared ? figures[kSquaredError] : std::sqrt(figures[kSquaredError]);
        option.cost += figures[kBytes];
      }
      option.error /= static_cast<double>(ranks);
      option.cost /= static_cast<double>(ranks);
      least = std::min(least, option.error);
      table.options.push_back(option);
    }
    least_error += least;
    tables.push_back(std::move(table));
  }
  if (spec_.objective == LayerObjective::kEvolution) return LeastError(tables, all, count, step);
  // Below alpha = 1 even the dearest levels may not do; then they are what comes closest.
  const double budget = std::max(spec_.alpha * UniformPlan(tables).error, least_error);
  return spec_.objective == LayerObjective::kTime ? LeastTime(tables, budget) : PlanLayers(tables, budget);
}

double Replanner::SecondsOf(const Layer& layer, size_t level, double bytes) const {
  Pipeline with = pipeline_;
  with.codec = family_.codecs[layer.levels[level]];
  const Shape& shape = layer.slot->shape;
  const double most_bytes = static_cast<double>(with.codec->MaxBodyBytes(shape));
  const double share = layer.strategy == StrategyKind::kLinear || most_bytes == 0
                           ? 1
                           : std::max(0.0, bytes - static_cast<double>(kPayloadHeaderBytes)) / most_bytes;
  BucketFigures figures = FiguresOf(with, std::span(&shape, 1), setting_.ranks, share);
  if (!layer.speeds.empty()) {
    const double floats = 4 * static_cast<double>(shape.elements());
    constexpr double kShortest = 1e-9;
    const double encode = std::max<double>(layer.speeds[2 * level], kShortest);
    figures.encode_bytes_per_second = figures.session_bytes_per_second = floats / encode;
    figures.decode_bytes_per_second = floats / std::max<double>(layer.speeds[2 * level + 1], kShortest);
  }
  return EstimateSeconds(layer.strategy, figures, setting_.ranks, setting_.link.value_or(LinkFigures{}));
}

// The plan of least bytes, unless that of least time (or no plan at all) is faster by more than measured codec speeds err: more
// bytes for a gain that may not be one would be a loss on every link that is shared. So asking for time never costs any.
absl::StatusOr<LayerPlan> Replanner::LeastTime(std::span<const LayerTable> bytes, double budget) const {
  std::vector<LayerTable> seconds(bytes.begin(), bytes.end());
  for (size_t i = 0; i < seconds.size(); ++i) {
    for (size_t level = 0; level < seconds[i].options.size(); ++level) {
      double& cost = seconds[i].options[level].cost;
      cost = SecondsOf(layers_[i], level, cost);
    }
  }
  LACONIC_ASSIGN_OR_RETURN(LayerPlan best, PlanLayers(seconds, budget));
  LACONIC_ASSIGN_OR_RETURN(const LayerPlan fewest_bytes, PlanLayers(bytes, budget));
  const LayerPlan other = PlanOf(seconds, fewest_bytes.choice);
  return best.cost < kCredible * other.cost ? best : other;
}

absl::StatusOr<LayerPlan> Replanner::LeastError(std::span<const LayerTable> bytes, std::span<const double> all,
                                                size_t count, uint64_t step) const {
  const EvolutionOptions options{.seed = setting_.seed ^ step};
  const size_t ranks = all.size() / count;
  // The mean over ranks of the norm of all a rank loses, which is no sum over layers. Early stages look at fewer ranks.
  const auto fitness = [&](std::span<const size_t> choice, size_t stage) {
    const size_t share = size_t{1} << (options.survivors.size() - 1 - stage);
    const size_t asked = (ranks + share - 1) / share;
    double sum = 0;
    for (size_t rank = 0; rank < asked; ++rank) {
      double squared = 0;
      size_t at = rank * count;
      for (size_t i = 0; i < layers_.size(); ++i) {
        squared += all[at + choice[i] * kFigures + kSquaredError];
        at += layers_[i].levels.size() * kFigures;
      }
      sum += std::sqrt(squared);
    }
    return sum / static_cast<double>(asked);
  };
  double least = 0;
  for (const LayerTable& table : bytes) {
    const auto by_cost = [](const LayerOption& a, const LayerOption& b) { return a.cost < b.cost; };
    least += std::min_element(table.options.begin(), table.options.end(), by_cost)->cost;
  }
  return EvolvePlan(bytes, std::max(spec_.alpha * UniformPlan(bytes).cost, least), fitness, options);
}

std::string Replanner::PlanText() const {
  std::string text;
  for (const Layer& layer : layers_) {
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", layer.slot->name,
                        FormatNumber(family_.levels[layer.levels[layer.chosen]]));
  }
  return text;
}

}  // namespace laconic
