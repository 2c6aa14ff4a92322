#include "laconic/compressors/layer_evolution.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "fmt/format.h"
#include "laconic/base/rng.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

constexpr uint32_t kEvolutionStream = 0xe701;

class Evolution {
 public:
  Evolution(std::span<const LayerTable> layers, double budget, const EvolutionOptions& options)
      : layers_(layers),
        budget_(budget),
        options_(options),
        rng_({.seed = options.seed, .rank = RngKey::kSharedRank, .stream = kEvolutionStream}) {
    for (const LayerTable& table : layers) {
      std::vector<size_t> order(table.options.size());
      for (size_t i = 0; i < order.size(); ++i) order[i] = i;
      std::stable_sort(order.begin(), order.end(),
                       [&](size_t a, size_t b) { return table.options[a].cost < table.options[b].cost; });
      std::vector<size_t> rank(order.size());
      for (size_t i = 0; i < order.size(); ++i) rank[order[i]] = i;
      by_cost_.push_back(std::move(order));
      level_.push_back(std::move(rank));
    }
  }

  LayerPlan Run(PlanFitness fitness) {
    const size_t last = options_.survivors.size() - 1;
    LayerPlan parent = Start();
    parent.error = Fitness(fitness, parent.choice, last);
    for (int generation = 0; generation < options_.generations; ++generation) {
      std::vector<Candidate> candidates;
      for (int i = 0; i < options_.offspring; ++i) {
        LayerPlan child = Mutate(parent);
        if (child.choice != parent.choice) candidates.push_back({std::move(child), 0});
      }
      for (size_t stage = 0; stage <= last && !candidates.empty(); ++stage) {
        for (Candidate& candidate : candidates) candidate.fitness = Fitness(fitness, candidate.plan.choice, stage);
        std::stable_sort(candidates.begin(), candidates.end(),
                         [](const Candidate& a, const Candidate& b) { return a.fitness < b.fitness; });
        candidates.resize(std::min(candidates.size(), std::max<size_t>(options_.survivors[stage], 1)));
      }
      if (candidates.empty() || !(candidates.front().fitness < parent.error)) continue;
      parent = std::move(candidates.front().plan);
      parent.error = candidates.front().fitness;
    }
    return parent;
  }

 private:
  struct Candidate {
    LayerPlan plan;
    double fitness = 0;
  };

  static double Fitness(PlanFitness fitness, std::span<const size_t> choice, size_t stage) {
    const double value = fitness(choice, stage);
    return std::isnan(value) ? std::numeric_limits<double>::infinity() : value;
  }

  uint32_t Below(size_t bound) { return rng_.Below(draws_++, static_cast<uint32_t>(bound)); }

  LayerPlan Start() {
    LayerPlan start = UniformPlan(layers_);
    while (start.cost > budget_) {
      Move(start.choice, Below(layers_.size()), -1);
      start = PlanOf(layers_, std::move(start.choice));
    }
    return start;
  }

  // Moves a layer up (+1) or down (-1) in cost and gives the cost added; 0 where it is at the end.
  double Move(std::vector<size_t>& choice, size_t layer, int step) const {
    const size_t level = level_[layer][choice[layer]];
    if (step < 0 ? level == 0 : level + 1 == by_cost_[layer].size()) return 0;
    const double before = layers_[layer].options[choice[layer]].cost;
    choice[layer] = by_cost_[layer][step < 0 ? level - 1 : level + 1];
    return layers_[layer].options[choice[layer]].cost - before;
  }

  LayerPlan Mutate(const LayerPlan& parent) {
    LayerPlan child = parent;
    const size_t moves = 1 + Below(static_cast<size_t>(std::max(options_.most_moves, 1)));
    for (size_t i = 0; i < moves; ++i) {
      LayerPlan moved = child;
      const size_t raised = Below(layers_.size());
      moved.cost += Move(moved.choice, raised, +1);
      // Others make up for it, each as often as it is drawn; if that does not do, the pair is taken back.
      size_t tries = 8 * layers_.size();
      while (moved.cost > budget_ && tries-- > 0) {
        const size_t lowered = Below(layers_.size());
        if (lowered != raised) moved.cost += Move(moved.choice, lowered, -1);
      }
      moved = PlanOf(layers_, std::move(moved.choice));  // the running cost has its roundings
      if (moved.cost <= budget_) child = std::move(moved);
    }
    return child;
  }

  const std::span<const LayerTable> layers_;
  const double budget_;
  const EvolutionOptions& options_;
  const CounterRng rng_;
  uint64_t draws_ = 0;
  std::vector<std::vector<size_t>> by_cost_, level_;  // by layer: options in the order of cost, and where each stands
};

}  // namespace

absl::StatusOr<LayerPlan> EvolvePlan(std::span<const LayerTable> layers, double cost_budget, PlanFitness fitness,
                                     const EvolutionOptions& options) {
  LACONIC_RETURN_IF_ERROR(CheckLayerTables(layers));
  std::vector<size_t> cheapest;
  for (const LayerTable& table : layers) {
    const auto by_cost = [](const LayerOption& x, const LayerOption& y) { return x.cost < y.cost; };
    cheapest.push_back(std::min_element(table.options.begin(), table.options.end(), by_cost) - table.options.begin());
  }
  const double least = PlanOf(layers, std::move(cheapest)).cost;
  if (layers.empty() || !(least <= cost_budget)) {
    return absl::InvalidArgumentError(
        fmt::format("the cheapest plan of {} layers costs {}, the budget is {}", layers.size(), least, cost_budget));
  }
  if (options.survivors.empty()) return absl::InvalidArgumentError("evolution needs at least one stage of selection");
  return Evolution(layers, cost_budget, options).Run(fitness);
}

}  // namespace laconic
