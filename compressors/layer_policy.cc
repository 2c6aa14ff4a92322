#include "laconic/compressors/layer_policy.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <tuple>
#include <utility>

#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Bounds that are sums in another order than PlanOf's may be off by this share; plans themselves are checked exactly.
constexpr double kRounding = 1e-12;

// An option worth having: no other of its layer is as good in one figure and better in the other.
struct Choice {
  LayerOption option;
  size_t index = 0;  // in the table
};

// Options worth having, cost ascending and so error descending.
std::vector<Choice> Efficient(const LayerTable& table) {
  std::vector<Choice> sorted;
  for (size_t i = 0; i < table.options.size(); ++i) sorted.push_back({table.options[i], i});
  std::sort(sorted.begin(), sorted.end(), [](const Choice& a, const Choice& b) {
    return std::tuple(a.option.cost, a.option.error, a.index) < std::tuple(b.option.cost, b.option.error, b.index);
  });
  std::vector<Choice> kept;
  for (const Choice& choice : sorted) {
    if (kept.empty() || choice.option.error < kept.back().option.error) kept.push_back(choice);
  }
  return kept;
}

bool Better(const LayerPlan& a, const LayerPlan& b) { return std::pair(a.cost, a.error) < std::pair(b.cost, b.error); }

// The program of one call: the layers' efficient options and the best plan found so far, which is always within budget.
class LayerProgram {
 public:
  LayerProgram(std::span<const LayerTable> layers, double budget) : layers_(layers), budget_(budget) {
    for (const LayerTable& table : layers) choices_.push_back(Efficient(table));
    std::vector<size_t> least_error;
    for (const std::vector<Choice>& choices : choices_) least_error.push_back(choices.back().index);
    best_ = PlanOf(layers_, std::move(least_error));
  }

  // Of the plans looked at; over the budget only if every plan is.
  const LayerPlan& best() const { return best_; }

  void Offer(std::vector<size_t> choice) {
    const LayerPlan plan = PlanOf(layers_, std::move(choice));
    if (plan.error <= budget_ && Better(plan, best_)) best_ = plan;
  }

  // The greedy plan of the relaxed program, in which a layer may take a mixture of options: from the cheapest options
  // up the convex hulls, in the order of error saved per cost, until the error fits. The step at which it fits gives
  // the price of error for the Lagrangian bound.
  void SolveRelaxed() {
    struct Step {
      double price;  // cost of one unit of error less
      size_t layer, to;
    };
    std::vector<Step> steps;
    for (size_t layer = 0; layer < choices_.size(); ++layer) {
      const std::vector<Choice>& choices = choices_[layer];
      for (size_t from = 0; from + 1 < choices.size();) {
        Step best{kInfinity, layer, from + 1};
        for (size_t to = from + 1; to < choices.size(); ++to) {
          const double price = (choices[to].option.cost - choices[from].option.cost) /
                               (choices[from].option.error - choices[to].option.error);
          if (price <= best.price) best = {price, layer, to};
        }
        steps.push_back(best);
        from = best.to;
      }
    }
    std::stable_sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) { return a.price < b.price; });
    std::vector<size_t> choice;
    double error = 0;
    for (const std::vector<Choice>& choices : choices_) {
      choice.push_back(choices.front().index);
      error += choices.front().option.error;
    }
    for (const Step& step : steps) {
      if (error <= budget_) break;
      const Choice& to = choices_[step.layer][step.to];
      error += to.option.error - layers_[step.layer].options[choice[step.layer]].error;
      choice[step.layer] = to.index;
      price_ = std::isfinite(step.price) ? step.price : price_;
    }
    Offer(std::move(choice));
    Fill();
  }

  // Repeats, on the best plan: of the moves of one layer that still fit the budget, the one that saves most.
  void Fill() {
    while (true) {
      const double spare = budget_ - best_.error;
      double most_saved = 0;
      std::vector<size_t> filled;
      for (size_t layer = 0; layer < layers_.size(); ++layer) {
        const LayerOption& now = layers_[layer].options[best_.choice[layer]];
        for (const Choice& to : choices_[layer]) {
          const double saved = now.cost - to.option.cost;
          if (saved <= most_saved || to.option.error - now.error > spare) continue;
          most_saved = saved;
          filled = best_.choice;
          filled[layer] = to.index;
        }
      }
      if (most_saved <= 0) return;
      const double before = best_.cost;
      Offer(std::move(filled));
      if (!(best_.cost < before)) return;  // it fitted only before rounding
    }
  }

  // The dynamic program with at most `max_states` partial plans. False if it had to tell errors apart by cells.
  bool Solve(size_t max_states) {
    exact_ = true;
    FillBounds();
    std::vector<State> front = {{}};
    std::vector<std::vector<Origin>> origins;
    for (size_t layer = 0; layer < choices_.size(); ++layer) {
      std::vector<State> next = Extend(front, layer, max_states);
      origins.emplace_back();
      for (const State& state : next) origins.back().push_back(state.origin);
      front = std::move(next);
    }
    if (front.empty()) return exact_;  // nothing beats the best plan
    std::vector<size_t> choice(choices_.size());
    size_t state = front.size() - 1;  // the cheapest
    for (size_t layer = choices_.size(); layer-- > 0;) {
      const Origin origin = origins[layer][state];
      choice[layer] = choices_[layer][origin.choice].index;
      state = origin.state;
    }
    Offer(std::move(choice));
    Fill();
    return exact_;
  }

 private:
  struct Origin {
    uint32_t state = 0;   // in the front before
    uint32_t choice = 0;  // of the layer
  };
  struct State {
    double error = 0, cost = 0;
    Origin origin;
  };

  // least_error_[l], least_priced_[l]: over the layers from l on, the least error and the least cost + price * error.
  void FillBounds() {
    const size_t count = choices_.size();
    least_error_.assign(count + 1, 0);
    least_priced_.assign(count + 1, 0);
    for (size_t layer = count; layer-- > 0;) {
      double priced = kInfinity;
      for (const Choice& choice : choices_[layer]) {
        priced = std::min(priced, choice.option.cost + price_ * choice.option.error);
      }
      least_error_[layer] = least_error_[layer + 1] + choices_[layer].back().option.error;
      least_priced_[layer] = least_priced_[layer + 1] + priced;
    }
  }

  // The partial plans of the layers up to `layer` that may become a plan better than the best, error ascending and cost
  // descending.
  std::vector<State> Extend(const std::vector<State>& front, size_t layer, size_t max_states) {
    const double highest_error = (budget_ - least_error_[layer + 1]) + kRounding * budget_;
    const double highest_priced = best_.cost + price_ * budget_ - least_priced_[layer + 1];
    const double slack = kRounding * (std::abs(best_.cost) + price_ * budget_);
    std::vector<State> all;
    for (uint32_t choice = 0; choice < choices_[layer].size(); ++choice) {
      const LayerOption& option = choices_[layer][choice].option;
      for (uint32_t from = 0; from < front.size(); ++from) {
        const State state{front[from].error + option.error, front[from].cost + option.cost, {from, choice}};
        if (state.error > highest_error) break;  // and so are those after it
        if (state.cost + price_ * state.error > highest_priced + slack) continue;
        all.push_back(state);
      }
    }
    if (all.size() > 2 * max_states) return ParetoFront(CheapestOfCells(all, max_states));
    std::sort(all.begin(), all.end(),
              [](const State& a, const State& b) { return std::pair(a.error, a.cost) < std::pair(b.error, b.cost); });
    std::vector<State> next = ParetoFront(all);
    return next.size() > max_states ? ParetoFront(CheapestOfCells(next, max_states)) : next;
  }

  // One state for each cell of the range of errors, the cheapest; and the one of least error, which can always be
  // completed. By error ascending.
  std::vector<State> CheapestOfCells(const std::vector<State>& states, size_t cells) {
    exact_ = false;
    const auto by_error = [](const State& a, const State& b) {
      return std::pair(a.error, a.cost) < std::pair(b.error, b.cost);
    };
    const auto [least, most] = std::minmax_element(states.begin(), states.end(), by_error);
    const double width = (most->error - least->error) / static_cast<double>(cells - 1);
    std::vector<State> cheapest(cells, State{.error = 0, .cost = kInfinity, .origin = {}});
    for (const State& state : states) {
      const double cell = width > 0 ? (state.error - least->error) / width : 0;
      State& kept = cheapest[std::min(cells - 1, static_cast<size_t>(cell))];
      if (std::pair(state.cost, state.error) < std::pair(kept.cost, kept.error)) kept = state;
    }
    std::vector<State> kept = {*least};
    for (const State& state : cheapest) {
      if (state.cost < kInfinity) kept.push_back(state);
    }
    std::sort(kept.begin(), kept.end(), by_error);  // within a cell the least of all may lie on either side
    return kept;
  }

  static std::vector<State> ParetoFront(const std::vector<State>& by_error) {
    std::vector<State> front;
    for (const State& state : by_error) {
      if (front.empty() || state.cost < front.back().cost) front.push_back(state);
    }
    return front;
  }

  const std::span<const LayerTable> layers_;
  const double budget_;
  std::vector<std::vector<Choice>> choices_;
  LayerPlan best_;
  double price_ = 0;  // what a unit of error costs in the relaxed program; any value gives a valid bound
  std::vector<double> least_error_, least_priced_;
  bool exact_ = true;
};

}  // namespace

absl::Status CheckLayerTables(std::span<const LayerTable> layers) {
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    const LayerTable& table = layers[layer];
    if (table.uniform >= table.options.size()) {
      return absl::InvalidArgumentError(
          fmt::format("layer {} has {} options and no number {}", layer, table.options.size(), table.uniform));
    }
    for (size_t i = 0; i < table.options.size(); ++i) {
      const LayerOption& option = table.options[i];
      const bool good =
          std::isfinite(option.cost) && std::isfinite(option.error) && option.cost >= 0 && option.error >= 0;
      if (!good) {
        return absl::InvalidArgumentError(
            fmt::format("layer {}, option {}: cost {} and error {} must be finite and "
                        "not negative",
                        layer, i, option.cost, option.error));
      }
    }
  }
  return absl::OkStatus();
}

LayerPlan PlanOf(std::span<const LayerTable> layers, std::vector<size_t> choice) {
  LayerPlan plan{.choice = std::move(choice)};
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    const LayerOption& option = layers[layer].options[plan.choice[layer]];
    plan.cost += option.cost;
    plan.error += option.error;
  }
  return plan;
}

LayerPlan UniformPlan(std::span<const LayerTable> layers) {
  std::vector<size_t> choice;
  for (const LayerTable& table : layers) choice.push_back(table.uniform);
  return PlanOf(layers, std::move(choice));
}

absl::StatusOr<LayerPlan> PlanLayers(std::span<const LayerTable> layers, double error_budget,
                                     const LayerProgramOptions& options) {
  LACONIC_RETURN_IF_ERROR(CheckLayerTables(layers));
  LayerProgram program(layers, error_budget);
  if (!(program.best().error <= error_budget)) {
    return absl::InvalidArgumentError(
        fmt::format("no plan keeps the error within {}: the least that {} layers reach is {}", error_budget,
                    layers.size(), program.best().error));
  }
  program.Offer(UniformPlan(layers).choice);
  program.SolveRelaxed();
  // A few states give a good plan quickly, and a good plan lets the bound drop most states of the next round.
  const size_t max_states = std::max<size_t>(options.max_states, 2);
  if (!program.Solve(std::min<size_t>(max_states, 128)) && max_states > 128) program.Solve(max_states);
  return program.best();
}

}  // namespace laconic
