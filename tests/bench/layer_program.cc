// How long the layer program takes, and how far few states are from many: instances of 200 layers with 10 options.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include "fmt/format.h"
#include "laconic/base/rng.h"
#include "laconic/compressors/layer_policy.h"

namespace laconic {
namespace {

// d elements at 1 to 10 bits, error norm 2^-bits: lengths over four decades, norms over two; `noise` spreads sizes and
// errors so that no two partial plans are alike.
std::vector<LayerTable> Instance(uint64_t seed, size_t layers, size_t options, double noise) {
  const CounterRng rng(RngKey{.seed = seed});
  uint64_t draw = 0;
  std::vector<LayerTable> tables(layers);
  for (LayerTable& table : tables) {
    table.uniform = options / 2;
    const double elements = std::pow(10, 2 + 4 * rng.Uniform(draw++)), norm = std::pow(10, 2 * rng.Uniform(draw++));
    for (size_t i = 0; i < options; ++i) {
      const double bits = 1 + static_cast<double>(i) + noise * rng.Uniform(draw++);
      table.options.push_back({.cost = elements * bits / 8, .error = norm * std::pow(2, -bits)});
    }
  }
  return tables;
}

int Main() {
  constexpr int kInstances = 20;
  fmt::print("{:>6} {:>7} {:>5}  {:>10} {:>10}  {:>15}  {:>10}\n", "layers", "options", "noise", "median ms",
             "worst ms", "gap to 16384", "of uniform");
  for (const double noise : {0.0, 0.9}) {
    for (const size_t layers : {50, 200}) {
      std::vector<double> milliseconds;
      double worst_gap = 0, share = 0;
      for (uint64_t seed = 0; seed < kInstances; ++seed) {
        const std::vector<LayerTable> tables = Instance(seed, layers, 10, noise);
        const LayerPlan uniform = UniformPlan(tables);
        const auto begin = std::chrono::steady_clock::now();
        const LayerPlan plan = *PlanLayers(tables, uniform.error);
        const auto end = std::chrono::steady_clock::now();
        milliseconds.push_back(std::chrono::duration<double, std::milli>(end - begin).count());
        const LayerPlan reference = *PlanLayers(tables, uniform.error, {.max_states = 16384});
        worst_gap = std::max(worst_gap, plan.cost / reference.cost - 1);
        share += plan.cost / uniform.cost / kInstances;
      }
      std::sort(milliseconds.begin(), milliseconds.end());
      fmt::print("{:>6} {:>7} {:>5}  {:>10.2f} {:>10.2f}  {:>14.4f}%  {:>9.1f}%\n", layers, 10, noise,
                 milliseconds[kInstances / 2], milliseconds.back(), 100 * worst_gap, 100 * share);
    }
  }
  return 0;
}

}  // namespace
}  // namespace laconic

int main() { return laconic::Main(); }
