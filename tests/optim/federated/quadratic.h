// The clients of check 14 as the library sees them.
#pragma once

#include <memory>
#include <vector>

#include "laconic/optim/federated/simulation.h"
#include "tests/golden/federated_quadratic.h"

namespace laconic {

class QuadraticObjective final : public LocalObjective {
 public:
  // The elements in one tensor "x", or, in two, "first" of 18 and "second" of 12.
  explicit QuadraticObjective(int tensors = 1) : weights_(kQuadraticElements), gradient_(kQuadraticElements) {
    const size_t split = tensors == 1 ? kQuadraticElements : 18;
    const std::span<float> w(weights_), g(gradient_);
    parameters_.push_back({tensors == 1 ? "x" : "first", Shape::Flat(split), w.first(split), g.first(split)});
    if (tensors == 1) return;
    parameters_.push_back({"second", Shape::Flat(kQuadraticElements - split), w.subspan(split), g.subspan(split)});
  }

  std::span<const Parameter> parameters() const override { return parameters_; }
  std::span<float> weights() override { return weights_; }
  std::span<const float> gradient() const override { return gradient_; }

  absl::StatusOr<double> Evaluate(const MinibatchKey& key) override {
    double loss = 0;
    for (size_t j = 0; j < kQuadraticElements; ++j) {
      const double a = QuadraticCurvature(key.client, j), from = weights_[j] - QuadraticMinimum(key.client, j);
      gradient_[j] = static_cast<float>(a * from);
      loss += a * from * from / 2;
    }
    return loss;
  }

 private:
  std::vector<float> weights_, gradient_;
  std::vector<Parameter> parameters_;
};

inline Simulation::MakeObjective Quadratics(int tensors = 1) {
  return [tensors]() -> absl::StatusOr<std::unique_ptr<LocalObjective>> {
    return std::make_unique<QuadraticObjective>(tensors);
  };
}

// Check 14's run: S = 5, K = 5, eta_l = 0.02.
inline FederatedPlan QuadraticPlan(std::string method, std::string uplink = "identity") {
  return {.method = std::move(method),
          .uplink = std::move(uplink),
          .work = {.steps = 5, .learning_rate = 0.02},
          .clients = kQuadraticClients,
          .sampled = 5,
          .seed = 1};
}

}  // namespace laconic
