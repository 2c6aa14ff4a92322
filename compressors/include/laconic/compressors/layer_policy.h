// How much to compress each layer: one option a layer, least total cost within an error budget (the multiple-choice
// program of L-GreCo: Alimohammadi, Markov, Frantar and Alistarh 2024, arXiv 2210.17357). Pure functions of tables, so
// ranks that agree on the tables agree on the plan.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace laconic {

// One way to compress a layer. Both figures are finite, not negative, and add up over layers.
struct LayerOption {
  double cost = 0;   // bytes, or seconds
  double error = 0;  // |x - C(x)|, say
};

struct LayerTable {
  std::vector<LayerOption> options;  // at least one, in any order
  size_t uniform = 0;                // the option of the setting that is the same for all layers
};

struct LayerPlan {
  std::vector<size_t> choice;  // by layer: which option
  double cost = 0, error = 0;  // sums over layers, added up in their order
};

// InvalidArgument naming layer and option where a table is empty, holds a number that is negative or not finite, or has
// no option `uniform`.
absl::Status CheckLayerTables(std::span<const LayerTable> layers);

// The sums of a choice; one option per layer.
LayerPlan PlanOf(std::span<const LayerTable> layers, std::vector<size_t> choice);
// Every layer at its `uniform` option.
LayerPlan UniformPlan(std::span<const LayerTable> layers);

struct LayerProgramOptions {
  // Partial plans that are kept side by side. Up to as many the answer is exact; beyond, errors are told apart only by
  // this many cells of the budget, the cheapest partial plan of each cell being kept with its own, unrounded error.
  size_t max_states = 1024;
};

// Least cost with error <= error_budget, the sum taken as PlanOf does: never over the budget by a rounding, and never
// dearer than UniformPlan where that is within it. InvalidArgument when no plan is, or for a bad table.
//
// A dynamic program over the Pareto front of partial plans (cost, error), where those are dropped that a Lagrangian
// bound shows cannot beat the best plan known. The published program rounds each layer's error up to a multiple of
// budget / 10 000, which makes the uniform setting itself infeasible; here no error is ever rounded.
// O(layers * options * max_states).
absl::StatusOr<LayerPlan> PlanLayers(std::span<const LayerTable> layers, double error_budget,
                                     const LayerProgramOptions& options = {});

}  // namespace laconic
