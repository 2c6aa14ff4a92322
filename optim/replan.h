// Layer-adaptive compression while training: what one rule adaptive(...) has seen of its tensors' messages, and the
// plan it makes of it (compressors/adaptive.h, compressors/layer_policy.h).
//
// In the last `window` steps before a re-plan each rank sums the messages its error control forms; at the re-plan it
// measures on their mean what every codec of the family would lose and cost, all ranks gather these figures, and each
// computes the same plan from the same numbers. No rank decides for the others, and nothing but figures is sent.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/base/parallel.h"
#include "laconic/base/state.h"
#include "laconic/comm/collectives/cost_model.h"
#include "laconic/comm/collectives/strategy.h"
#include "laconic/comm/communicator.h"
#include "laconic/compressors/adaptive.h"
#include "laconic/compressors/layer_policy.h"
#include "optim/layer_statistics.h"

namespace laconic {

struct ReplanSetting {
  uint64_t seed = 0;
  std::optional<LinkFigures> link;  // given; absent: measured where the objective asks for it
  WorkerPool* pool = nullptr;
  int ranks = 1;
};

// One thread at a time. Holds a float per element of its tensors, for the window.
class Replanner {
 public:
  struct Tensor {
    GradientSlot* slot = nullptr;
    StrategyKind strategy = StrategyKind::kGather;  // how its bucket travels: gather, scatter or linear
  };
  // Of a pipeline with `adaptive`. Slots must stay in place; their codec is that of the uniform setting.
  static absl::StatusOr<std::unique_ptr<Replanner>> Create(const Pipeline& pipeline, const CodecRegistry& registry,
                                                           std::span<const Tensor> tensors,
                                                           const ReplanSetting& setting);

  // Before error control commits a step that succeeded: adds its messages where the step lies in a window.
  //   error_scale: as given to the strategies.
  void Observe(uint64_t step, float error_scale);

  // Does a re-plan follow this step? The same on all ranks.
  bool Due(uint64_t step) const;
  // Makes a new plan and gives slots their codecs; their strategies are then to be made anew. True if any changed.
  // Collective. Where the figures of some rank are no numbers, or no step was seen, the plan stays.
  absl::StatusOr<bool> Replan(Communicator& comm, uint64_t step);

  // The plan in force: "fc1.weight=0.0025 fc2.weight=0.08".
  std::string PlanText() const;

  // Plan, window, and measured speeds and link.
  void Save(StateWriter& out) const;
  // by_rank: one reader per rank that saved; gives slots their codecs. With as many as ranks now, bit for bit; else the
  // window is the mean over the old ranks.
  absl::Status Load(std::span<const StateReader> by_rank, int rank);

 private:
  struct Layer {
    GradientSlot* slot = nullptr;
    StrategyKind strategy = StrategyKind::kGather;
    std::vector<size_t> levels;      // of the family, those this tensor may take
    size_t uniform = 0, chosen = 0;  // of `levels`
    std::vector<float> window;       // sum of messages
    std::vector<float> speeds;       // seconds to encode and decode, by level; empty: not measured
  };

  Replanner(const Pipeline& pipeline, CodecFamily family, const ReplanSetting& setting);

  bool InWindow(uint64_t step) const;
  bool measures_speed() const;
  const Compressor& CodecOf(const Layer& layer, size_t level) const { return *family_.codecs[layer.levels[level]]; }
  void Take(Layer& layer, size_t level);
  // figures_[i]: of this rank, of all layers and levels in order; NaN where a codec refused.
  void MeasureOwn(uint64_t step, bool timed, std::vector<double>& figures);
  void KeepSpeeds(std::span<const double> all, size_t count);
  absl::StatusOr<LayerPlan> Decide(std::span<const double> all, size_t count, uint64_t step) const;
  absl::StatusOr<LayerPlan> LeastTime(std::span<const LayerTable> bytes, double budget) const;
  absl::StatusOr<LayerPlan> LeastError(std::span<const LayerTable> bytes, std::span<const double> all, size_t count,
                                       uint64_t step) const;
  double SecondsOf(const Layer& layer, size_t level, double bytes) const;

  Pipeline pipeline_;
  AdaptiveSpec spec_;
  CodecFamily family_;
  ReplanSetting setting_;
  std::vector<Layer> layers_;
  uint64_t observed_ = 0;  // steps in the window
  std::vector<float> message_;
  CodecProbe probe_;
};

}  // namespace laconic
