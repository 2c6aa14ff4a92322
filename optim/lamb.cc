#include <cassert>
#include <memory>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "laconic/optim/optimizer.h"
#include "optim/adam_moments.h"
#include "optim/adam_parameters.h"
#include "optim/lamb_step.h"

namespace laconic {
namespace {

class Lamb final : public Optimizer {
 public:
  Lamb(const LambOptions& options, std::span<const Parameter> parameters)
      : options_(options), moments_(internal::MakeMoments(parameters)) {
    for (const Parameter& parameter : parameters) updates_.emplace_back(parameter.shape.elements());
  }

  void Step(TensorId id, std::span<const float> direction, const StepContext& step, std::span<float> weights) override {
    internal::AdamMoments& moments = moments_[Index(id)];
    assert(direction.size() == weights.size() && moments.first.size() == weights.size());
    ++moments.steps;
    const auto correction = internal::AdamCorrection::After(options_.form, options_.adam, moments.steps, moments.steps);
    internal::LambStep(options_, correction, step.learning_rate, direction, moments.first, moments.second,
                       updates_[Index(id)], weights);
  }

  std::string ToString() const override { return fmt::format("lamb({})", laconic::ToString(options_)); }
  void Save(StateWriter& out) const override { internal::SaveMoments(moments_, out); }
  absl::Status Load(const StateReader& in) override { return internal::LoadMoments(in, moments_); }

 private:
  const LambOptions options_;
  std::vector<internal::AdamMoments> moments_;  // by TensorId
  // Of a step; each tensor its own, as steps of different tensors may run side by side.
  std::vector<std::vector<float>> updates_;
};

}  // namespace

std::unique_ptr<Optimizer> MakeLamb(const LambOptions& options, std::span<const Parameter> parameters) {
  return std::make_unique<Lamb>(options, parameters);
}

}  // namespace laconic
