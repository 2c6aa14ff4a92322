#include <cassert>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/optim/optimizer.h"
#include "optim/integer_power.h"

namespace laconic {
namespace {

class AdamW final : public Optimizer {
 public:
  AdamW(const AdamWOptions& options, std::span<const Parameter> parameters) : options_(options) {
    for (const Parameter& parameter : parameters) {
      const size_t elements = parameter.shape.elements();
      moments_.push_back({parameter.name, 0, std::vector<float>(elements), std::vector<float>(elements)});
    }
  }

  void Step(TensorId id, std::span<const float> direction, const StepContext& step, std::span<float> weights) override {
    Moments& moments = moments_[Index(id)];
    assert(direction.size() == weights.size() && moments.first.size() == weights.size());
    ++moments.steps;
    const float b1 = options_.beta1, b2 = options_.beta2;
    const float rate = static_cast<float>(step.learning_rate);
    const float first_correction = static_cast<float>(1 / (1 - internal::IntegerPower(b1, moments.steps)));
    const float second_correction = static_cast<float>(1 / (1 - internal::IntegerPower(b2, moments.steps)));
    for (size_t i = 0; i < weights.size(); ++i) {
      const float d = direction[i];
      const float m = moments.first[i] = b1 * moments.first[i] + (1 - b1) * d;
      const float v = moments.second[i] = b2 * moments.second[i] + (1 - b2) * (d * d);
      const float adaptive = (m * first_correction) / (std::sqrt(v * second_correction) + options_.epsilon);
      weights[i] -= rate * (adaptive + options_.weight_decay * weights[i]);
    }
  }

  std::string ToString() const override {
    return fmt::format("adamw(beta1={}, beta2={}, eps={}, weight_decay={})", options_.beta1, options_.beta2,
                       options_.epsilon, options_.weight_decay);
  }

  void Save(StateWriter& out) const override {
    for (const Moments& moments : moments_) {
      StateWriter scope = out.Scope(moments.name);
      scope.U64("steps", moments.steps);
      scope.Floats("first_moment", moments.first);
      scope.Floats("second_moment", moments.second);
    }
  }

  absl::Status Load(const StateReader& in) override {
    for (Moments& moments : moments_) {
      const StateReader scope = in.Scope(moments.name);
      LACONIC_ASSIGN_OR_RETURN(moments.steps, scope.U64("steps"));
      LACONIC_RETURN_IF_ERROR(scope.Floats("first_moment", moments.first));
      LACONIC_RETURN_IF_ERROR(scope.Floats("second_moment", moments.second));
    }
    return absl::OkStatus();
  }

 private:
  struct Moments {
    std::string name;
    uint64_t steps = 0;  // t of the bias correction: steps made, so a skipped step does not count
    std::vector<float> first, second;
  };

  const AdamWOptions options_;
  std::vector<Moments> moments_;  // by TensorId
};

}  // namespace

std::unique_ptr<Optimizer> MakeAdamW(const AdamWOptions& options, std::span<const Parameter> parameters) {
  return std::make_unique<AdamW>(options, parameters);
}

}  // namespace laconic
