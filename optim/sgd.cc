#include <cassert>
#include <memory>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/optim/optimizer.h"

namespace laconic {
namespace {

class Sgd final : public Optimizer {
 public:
  Sgd(const SgdOptions& options, std::span<const Parameter> parameters) : options_(options) {
    for (const Parameter& parameter : parameters) {
      names_.push_back(parameter.name);
      velocity_.emplace_back(options.momentum > 0 ? parameter.shape.elements() : 0);
    }
  }

  void Step(TensorId id, std::span<const float> direction, const StepContext& step, std::span<float> weights) override {
    assert(direction.size() == weights.size());
    const float rate = static_cast<float>(step.learning_rate);
    if (options_.momentum == 0) {
      for (size_t i = 0; i < weights.size(); ++i) {
        weights[i] -= rate * (direction[i] + options_.weight_decay * weights[i]);
      }
      return;
    }
    std::vector<float>& velocity = velocity_[Index(id)];
    assert(velocity.size() == weights.size());
    for (size_t i = 0; i < weights.size(); ++i) {
      const float d = direction[i] + options_.weight_decay * weights[i];
      velocity[i] = options_.momentum * velocity[i] + d;
      weights[i] -= rate * (options_.nesterov ? d + options_.momentum * velocity[i] : velocity[i]);
    }
  }

  std::string ToString() const override {
    return fmt::format("sgd(momentum={}, nesterov={}, weight_decay={})", options_.momentum, options_.nesterov,
                       options_.weight_decay);
  }

  void Save(StateWriter& out) const override {
    for (size_t i = 0; i < names_.size() && options_.momentum > 0; ++i) {
      StateWriter scope = out.Scope(names_[i]);
      scope.Floats("velocity", velocity_[i]);
    }
  }

  absl::Status Load(const StateReader& in) override {
    for (size_t i = 0; i < names_.size() && options_.momentum > 0; ++i) {
      LACONIC_RETURN_IF_ERROR(in.Scope(names_[i]).Floats("velocity", velocity_[i]));
    }
    return absl::OkStatus();
  }

 private:
  const SgdOptions options_;
  std::vector<std::string> names_;
  std::vector<std::vector<float>> velocity_;  // by TensorId; empty without momentum
};

}  // namespace

std::unique_ptr<Optimizer> MakeSgd(const SgdOptions& options, std::span<const Parameter> parameters) {
  return std::make_unique<Sgd>(options, parameters);
}

}  // namespace laconic
