// The multiple-choice program and the evolutionary search, against exhaustive search.
#include "laconic/compressors/layer_policy.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "laconic/base/rng.h"
#include "laconic/compressors/layer_evolution.h"
#include "tests/base/matchers.h"

namespace laconic {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Calls visit(choice) for every plan.
template <typename Visit>
void ForEveryPlan(std::span<const LayerTable> layers, const Visit& visit) {
  std::vector<size_t> choice(layers.size());
  while (true) {
    visit(choice);
    size_t layer = 0;
    while (layer < layers.size() && ++choice[layer] == layers[layer].options.size()) choice[layer++] = 0;
    if (layer == layers.size()) return;
  }
}

double LeastCost(std::span<const LayerTable> layers, double budget) {
  double least = std::numeric_limits<double>::infinity();
  ForEveryPlan(layers, [&](const std::vector<size_t>& choice) {
    const LayerPlan plan = PlanOf(layers, choice);
    if (plan.error <= budget) least = std::min(least, plan.cost);
  });
  return least;
}

// algorithms of the paper's kind: eight layers of a network under 2 to 8 bits, error norm / (2^bits - 1).
std::vector<LayerTable> EightLayers(bool squared) {
  const double elements[] = {864, 4608, 9216, 18432, 36864, 64, 5120, 100};
  const double norms[] = {3, 2, 1.5, 1.2, 1, 0.2, 4, 0.5};
  std::vector<LayerTable> layers;
  for (size_t layer = 0; layer < 8; ++layer) {
    LayerTable table{.options = {}, .uniform = 2};
    for (const int bits : {2, 3, 4, 5, 6, 8}) {
      const double error = norms[layer] / (std::pow(2, bits) - 1);
      table.options.push_back({.cost = elements[layer] * bits, .error = squared ? error * error : error});
    }
    layers.push_back(table);
  }
  return layers;
}

TEST(PlanLayers, EightLayersOfANetwork_GivesTheExactOptimum) {
  const std::vector<LayerTable> layers = EightLayers(/*squared=*/false);
  const LayerPlan uniform = UniformPlan(layers);
  EXPECT_EQ(uniform.cost, 301072);
  EXPECT_NEAR(uniform.error, 0.893333, 1e-6);
  const LayerPlan plan = *PlanLayers(layers, uniform.error);
  EXPECT_THAT(plan.choice, ElementsAre(5, 2, 2, 1, 0, 3, 3, 4));  // 8 4 4 3 2 5 5 6 bits
  EXPECT_EQ(plan.cost, 217752);
  EXPECT_NEAR(plan.error, 0.893280, 1e-6);
}

TEST(PlanLayers, SquaredErrors_GivesTheExactOptimum) {
  const std::vector<LayerTable> layers = EightLayers(/*squared=*/true);
  const LayerPlan plan = *PlanLayers(layers, UniformPlan(layers).error);
  EXPECT_THAT(plan.choice, ElementsAre(4, 3, 2, 2, 0, 3, 3, 3));  // 6 5 4 4 2 5 5 5 bits
  EXPECT_EQ(plan.cost, 238964);
}

TEST(PlanLayers, BudgetThatOnlyTheUniformPlanMeets_IsMetByIt) {
  // Rounding each error up to a multiple of budget / 10 000, as the published program does, finds this infeasible or
  // upgrades a layer for nothing.
  const std::vector<LayerTable> layers(
      7, {.options = {{.cost = 1, .error = 1}, {.cost = 10, .error = 0.3}}, .uniform = 0});
  const LayerPlan plan = *PlanLayers(layers, 7);
  EXPECT_THAT(plan.choice, Each(0u));
  EXPECT_EQ(plan.cost, 7);
}

TEST(PlanLayers, ErrorsWhoseSumRounds_StaysWithinTheBudgetOfTheUniformPlan) {
  // 0.1 + 0.2 + 0.3 is not 0.6; the uniform plan's own sum is the budget.
  const std::vector<LayerTable> layers = {{.options = {{2, 0.1}, {1, 0.2}}, .uniform = 0},
                                          {.options = {{3, 0.1}, {2, 0.2}}, .uniform = 1},
                                          {.options = {{4, 0.2}, {3, 0.3}}, .uniform = 1}};
  const double budget = UniformPlan(layers).error;
  const LayerPlan plan = *PlanLayers(layers, budget);
  EXPECT_LE(plan.error, budget);
  EXPECT_EQ(plan.cost, LeastCost(layers, budget));
}

// Layers as c06 draws them: lognormal norms, log-uniform lengths, increasing rates; every layer with its own.
std::vector<LayerTable> RandomLayers(uint64_t seed, size_t most_layers, size_t most_options) {
  const CounterRng rng(RngKey{.seed = seed});
  uint64_t draw = 0;
  const auto uniform = [&] { return rng.Uniform(draw++); };
  std::vector<LayerTable> layers(1 + rng.Below(draw++, static_cast<uint32_t>(most_layers)));
  const size_t options = 2 + rng.Below(draw++, static_cast<uint32_t>(most_options - 1));
  for (LayerTable& table : layers) {
    table.uniform = rng.Below(draw++, static_cast<uint32_t>(options));
    const double elements = std::exp(2 + 8 * uniform());
    const double norm = std::exp(6 * uniform() - 3);
    for (size_t i = 0; i < options; ++i) {
      const double bits = 1 + 9 * uniform();
      table.options.push_back({.cost = std::round(elements * bits), .error = norm * std::pow(2, -bits)});
    }
  }
  return layers;
}

TEST(PlanLayers, RandomInstances_AreFeasibleWithinBudgetAndNextToBruteForce) {
  constexpr int kInstances = 1000;
  double sum = 0, worst = 0;
  for (int instance = 0; instance < kInstances; ++instance) {
    // Of the largest instances, 7^8 plans, there are few: seven in eight have at most five layers.
    const std::vector<LayerTable> layers = RandomLayers(instance, instance % 8 == 0 ? 8 : 5, 7);
    const double budget = UniformPlan(layers).error;
    const absl::StatusOr<LayerPlan> plan = PlanLayers(layers, budget);
    ASSERT_TRUE(plan.ok()) << "instance " << instance << ": " << plan.status();
    ASSERT_LE(plan->error, budget) << "instance " << instance;
    ASSERT_LE(plan->cost, UniformPlan(layers).cost) << "instance " << instance;
    ASSERT_EQ(plan->error, PlanOf(layers, plan->choice).error);
    const double gap = plan->cost / LeastCost(layers, budget) - 1;
    sum += gap;
    worst = std::max(worst, gap);
  }
  EXPECT_LE(sum / kInstances, 0.001);
  EXPECT_LE(worst, 0.01);
}

TEST(PlanLayers, FewStates_StaysFeasibleAndNoDearerThanUniform) {
  for (int instance = 0; instance < 200; ++instance) {
    const std::vector<LayerTable> layers = RandomLayers(instance, 40, 9);
    const LayerPlan uniform = UniformPlan(layers);
    const LayerPlan plan = *PlanLayers(layers, uniform.error, {.max_states = 2});
    EXPECT_LE(plan.error, uniform.error);
    EXPECT_LE(plan.cost, uniform.cost);
  }
}

TEST(PlanLayers, MoreStates_CostNoMore) {
  // 1024 states against 64, on instances too large for exhaustive search; the gap of few states is what cells cost.
  for (int instance = 0; instance < 20; ++instance) {
    const std::vector<LayerTable> layers = RandomLayers(instance, 100, 10);
    const double budget = UniformPlan(layers).error;
    EXPECT_LE(PlanLayers(layers, budget)->cost, PlanLayers(layers, budget, {.max_states = 64})->cost);
  }
}

TEST(PlanLayers, ZeroErrorEverywhere_TakesTheCheapestOptions) {
  const std::vector<LayerTable> layers(3, {.options = {{5, 0}, {1, 0}, {3, 0}}, .uniform = 0});
  const LayerPlan plan = *PlanLayers(layers, 0);
  EXPECT_THAT(plan.choice, Each(1u));
}

TEST(PlanLayers, BudgetBelowTheLeastError_IsRefusedNamingBoth) {
  const std::vector<LayerTable> layers(2, {.options = {{1, 4}, {2, 3}}, .uniform = 0});
  EXPECT_THAT(PlanLayers(layers, 5).status(), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("within 5")));
  EXPECT_THAT(std::string(PlanLayers(layers, 5).status().message()), HasSubstr("is 6"));
  EXPECT_FALSE(PlanLayers(layers, std::numeric_limits<double>::quiet_NaN()).ok());
}

TEST(PlanLayers, BadTables_AreRefusedNamingLayerAndOption) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const LayerTable& bad : {LayerTable{.options = {{1, 1}, {1, nan}}}, LayerTable{.options = {{1, 1}, {-1, 0}}}}) {
    const std::vector<LayerTable> layers = {{.options = {{1, 1}}}, bad};
    EXPECT_THAT(std::string(PlanLayers(layers, 9).status().message()), HasSubstr("layer 1, option 1"));
  }
  EXPECT_FALSE(PlanLayers(std::vector<LayerTable>(1), 9).ok());
}

TEST(EvolvePlan, ErrorsThatDoNotAddUp_FindsTheBestPlanOfTheBudget) {
  // Layers 0 and 1 share what they lose: together at their worst they lose ten times as much. No sum over layers says
  // so.
  std::vector<LayerTable> layers(5, {.options = {{1, 0}, {2, 0}, {3, 0}, {4, 0}}, .uniform = 1});
  const auto error = [](std::span<const size_t> choice, size_t) {
    double sum = choice[0] == 0 && choice[1] == 0 ? 10 : 0;
    for (size_t layer = 0; layer < choice.size(); ++layer) sum += (1.0 + layer) * std::pow(0.5, choice[layer]);
    return sum;
  };
  const double budget = UniformPlan(layers).cost;
  double least = std::numeric_limits<double>::infinity();
  ForEveryPlan(layers, [&](const std::vector<size_t>& choice) {
    if (PlanOf(layers, choice).cost <= budget) least = std::min(least, error(choice, 2));
  });
  const LayerPlan plan = *EvolvePlan(layers, budget, error, {.seed = 1});
  EXPECT_EQ(plan.error, least);
  EXPECT_LE(plan.cost, budget);
}

TEST(EvolvePlan, SameSeed_SamePlan) {
  const std::vector<LayerTable> layers = EightLayers(/*squared=*/true);
  const auto error = [&](std::span<const size_t> choice, size_t) {
    return std::sqrt(PlanOf(layers, {choice.begin(), choice.end()}).error);
  };
  const double budget = UniformPlan(layers).cost;
  const LayerPlan plan = *EvolvePlan(layers, budget, error, {.seed = 3});
  EXPECT_EQ(plan.choice, EvolvePlan(layers, budget, error, {.seed = 3})->choice);
  EXPECT_LT(plan.error, std::sqrt(UniformPlan(layers).error));
  EXPECT_LE(plan.cost, budget);
}

TEST(EvolvePlan, NothingBetterThanUniform_StaysUniform) {
  const std::vector<LayerTable> layers(4, {.options = {{1, 0}, {2, 0}, {3, 0}}, .uniform = 1});
  const LayerPlan plan = *EvolvePlan(layers, 8, [](std::span<const size_t> choice, size_t) {
    for (const size_t option : choice) {
      if (option != 1) return std::numeric_limits<double>::quiet_NaN();  // out of the question
    }
    return 1.0;
  });
  EXPECT_THAT(plan.choice, Each(1u));
  EXPECT_EQ(plan.error, 1);
}

TEST(EvolvePlan, UniformPlanOverTheBudget_StartsLower) {
  const std::vector<LayerTable> layers(4, {.options = {{1, 3}, {2, 2}, {3, 1}}, .uniform = 2});
  const auto error = [&](std::span<const size_t> choice, size_t) {
    return PlanOf(layers, {choice.begin(), choice.end()}).error;
  };
  const LayerPlan plan = *EvolvePlan(layers, 7, error);
  EXPECT_EQ(plan.cost, 7);
  EXPECT_EQ(plan.error, 9);  // cost and error of an option add up to 4
}

TEST(EvolvePlan, CheapestPlanOverTheBudget_IsRefused) {
  const std::vector<LayerTable> layers(2, {.options = {{1, 0}, {2, 0}}, .uniform = 1});
  EXPECT_FALSE(EvolvePlan(layers, 1, [](std::span<const size_t>, size_t) { return 0.0; }).ok());
}

}  // namespace
}  // namespace laconic
