#include <cassert>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/optim/optimizer.h"
#include "optim/adam_parameters.h"
#include "optim/adam_step.h"

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
    const auto correction = internal::AdamCorrection::After(AdamForm::kAdamW, options_, moments.steps, moments.steps);
    internal::AdamStep(options_, correction, step.learning_rate, direction, moments.first, moments.second, weights);
  }

  std::string ToString() const override { return fmt::format("adamw({})", laconic::ToString(options_)); }

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
