#include <cassert>
#include <memory>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/optim/optimizer.h"
#include "optim/adam_parameters.h"
#include "optim/lamb_step.h"

namespace laconic {
namespace {

class Lamb final : public Optimizer {
 public:
  Lamb(const LambOptions& options, std::span<const Parameter> parameters) : options_(options) {
    for (const Parameter& parameter : parameters) {
      const size_t elements = parameter.shape.elements();
      moments_.push_back({parameter.name, 0, std::vector<float>(elements), std::vector<float>(elements),
                          std::vector<float>(elements)});
    }
  }

  void Step(TensorId id, std::span<const float> direction, const StepContext& step, std::span<float> weights) override {
    Moments& moments = moments_[Index(id)];
    assert(direction.size() == weights.size() && moments.first.size() == weights.size());
    ++moments.steps;
    const auto correction = internal::AdamCorrection::After(options_.form, options_.adam, moments.steps, moments.steps);
    internal::LambStep(options_, correction, step.learning_rate, direction, moments.first, moments.second,
                       moments.update, weights);
  }

  std::string ToString() const override { return fmt::format("lamb({})", laconic::ToString(options_)); }

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
    std::vector<float> update;  // of a step; each tensor its own, as steps of different tensors may run side by side
  };

  const LambOptions options_;
  std::vector<Moments> moments_;  // by TensorId
};

}  // namespace

std::unique_ptr<Optimizer> MakeLamb(const LambOptions& options, std::span<const Parameter> parameters) {
  return std::make_unique<Lamb>(options, parameters);
}

}  // namespace laconic
