// The plain method: every step the gradients travel, and all ranks step alike along their mean.
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "optim/optimizer_methods.h"
#include "optim/weights_state.h"

namespace laconic {
namespace {

class SynchronousOptimizer final : public DistributedOptimizer {
 public:
  SynchronousOptimizer(std::span<const Parameter> parameters, std::unique_ptr<Optimizer> optimizer,
                       std::unique_ptr<GradientSync> sync)
      : parameters_(parameters.begin(), parameters.end()), optimizer_(std::move(optimizer)), sync_(std::move(sync)) {}

  void Begin(const StepContext& step) override {
    step_ = step;
    sync_->Begin(step);
  }
  void MarkReady(TensorId id) override { sync_->MarkReady(id); }
  absl::Status Finish() override {
    LACONIC_RETURN_IF_ERROR(sync_->Finish());
    if (sync_->report().skipped) return absl::OkStatus();
    for (uint32_t i = 0; i < parameters_.size(); ++i) {
      optimizer_->Step(TensorId{i}, sync_->direction(TensorId{i}), step_, parameters_[i].weights);
    }
    return absl::OkStatus();
  }

  const StepReport& report() const override { return sync_->report(); }
  std::string Describe() const override {
    return fmt::format("optimizer {}\n{}", optimizer_->ToString(), sync_->Describe());
  }

  void Save(StateWriter& out) const override {
    SaveWeights(parameters_, out);
    StateWriter optimizer = out.Scope("optimizer");
    optimizer_->Save(optimizer);
    StateWriter sync = out.Scope("sync");
    sync_->Save(sync);
  }
  absl::Status Load(std::span<const StateReader> by_rank, ReshardRule rule) override {
    LACONIC_RETURN_IF_ERROR(sync_->Load(Scopes(by_rank, "sync"), rule));
    LACONIC_RETURN_IF_ERROR(LoadWeights(by_rank.front(), parameters_));  // these two are equal on all ranks
    return optimizer_->Load(by_rank.front().Scope("optimizer"));
  }

 private:
  const std::vector<Parameter> parameters_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<GradientSync> sync_;
  StepContext step_;
};

}  // namespace

std::vector<OptimizerMethod> SynchronousMethods() {
  std::vector<OptimizerMethod> methods;
  for (const OptimizerInfo& info : ElementwiseOptimizers()) {
    methods.push_back(
        {info, [](const SpecCall& call) -> absl::StatusOr<ParsedOptimizer> {
           LACONIC_ASSIGN_OR_RETURN(const auto checked, MakeOptimizer(call, {}));
           const auto make =
               [call](const OptimizerContext& context) -> absl::StatusOr<std::unique_ptr<DistributedOptimizer>> {
             LACONIC_ASSIGN_OR_RETURN(auto optimizer, MakeOptimizer(call, context.parameters));
             LACONIC_ASSIGN_OR_RETURN(
                 auto sync, GradientSync::Create(context.comm, context.parameters, context.spec, context.options));
             return std::make_unique<SynchronousOptimizer>(context.parameters, std::move(optimizer), std::move(sync));
           };
           return ParsedOptimizer{checked->ToString(), make};
         }});
  }
  return methods;
}

}  // namespace laconic
