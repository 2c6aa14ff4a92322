// How much to compress each layer when errors do not add up over layers: a search that only ever compares whole plans
// (EvoPress: Sieberling, Kuznedelev, Kurtic and Alistarh 2024, arXiv 2410.14649).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "laconic/compressors/layer_policy.h"

namespace laconic {

struct EvolutionOptions {
  uint64_t seed = 0;
  int generations = 60;
  int offspring = 32;                         // of each generation
  std::vector<size_t> survivors = {8, 2, 1};  // of the selection's stages; the last leaves one
  int most_moves = 3;                         // pairs of moves that tell an offspring from its parent
};

// The error of a whole plan, lower is better. Stages go from cheap and rough (0) to the one that counts
// (survivors.size() - 1). Calls may repeat. Infinity or NaN: this plan is out of the question.
using PlanFitness = absl::FunctionRef<double(std::span<const size_t> choice, size_t stage)>;

// A plan of little error with cost <= cost_budget, found from the uniform one: an offspring is its parent after a few
// paired moves, some layer one option up in cost and others down until the cost fits again, and replaces it if it
// survives every stage and is strictly better in the last. So the result is never worse than the uniform plan. Where
// that costs more than the budget, the search starts from it lowered, layers drawn at random, until it fits.
// LayerPlan.error is its last fitness. Deterministic in tables, fitness and seed.
// InvalidArgument for a bad table, and where even the cheapest plan costs more than the budget.
absl::StatusOr<LayerPlan> EvolvePlan(std::span<const LayerTable> layers, double cost_budget, PlanFitness fitness,
                                     const EvolutionOptions& options = {});

}  // namespace laconic
