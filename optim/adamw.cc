#include <cassert>
#include <memory>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "laconic/optim/optimizer.h"
#include "optim/adam_moments.h"
#include "optim/adam_parameters.h"
#include "optim/adam_step.h"

namespace laconic {
namespace {

class AdamW final : public Optimizer {
 public:
  AdamW(const AdamWOptions& options, std::span<const Parameter> parameters)
      : options_(options), moments_(internal::MakeMoments(parameters)) {}

  void Step(TensorId id, std::span<const float> direction, const StepContext& step, std::span<float> weights) override {
    internal::AdamMoments& moments = moments_[Index(id)];
    assert(direction.size() == weights.size() && moments.first.size() == weights.size());
    ++moments.steps;
    const auto correction = internal::AdamCorrection::After(AdamForm::kAdamW, options_, moments.steps, moments.steps);
    internal::AdamStep(options_, correction, step.learning_rate, direction, moments.first, moments.second, weights);
  }

  std::string ToString() const override { return fmt::format("adamw({})", laconic::ToString(options_)); }
  void Save(StateWriter& out) const override { internal::SaveMoments(moments_, out); }
  absl::Status Load(const StateReader& in) override { return internal::LoadMoments(in, moments_); }

 private:
  const AdamWOptions options_;
  std::vector<internal::AdamMoments> moments_;  // by TensorId
};

}  // namespace

std::unique_ptr<Optimizer> MakeAdamW(const AdamWOptions& options, std::span<const Parameter> parameters) {
  return std::make_unique<AdamW>(options, parameters);
}

}  // namespace laconic
