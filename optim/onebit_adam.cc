// 1-bit Adam (Tang et al. 2021, arXiv 2102.02888): Adam until its second moment has settled; from then on v is frozen
// and the ranks' momenta travel compressed, with error feedback. With v frozen, Adam is momentum SGD with fixed
// rates for each coordinate, which error feedback is right for; Adam itself, whose v is not linear in what travels, is
// not.
//
//   warm-up, steps 1 to F:  m <- b1 m + (1-b1) g;  v <- b2 v + (1-b2) g^2;  w <- w - lr (u(m, v) + weight_decay w)
//   compressed, F + 1 on:   m <- compressed mean of (b1 m + (1-b1) g_i);    w likewise, with the v of step F
//
// with u of adam_step.h and g the mean gradient; space=step sends what is in parentheses over u's denominator instead,
// clipped to what Adam itself cannot exceed, and multiplies by it again. The codec's noise is then alike in all
// elements' steps; in the published space=plain it is alike in the momenta, and elements whose v is small are thrown
// about. The bias correction of v stays that of step F. An element whose v is 0 has never had a gradient and does not
// move after the freeze (a codec that cannot say zero would send it lr s / eps far). What adam_step.h computes here and
// in AdamW are the same operations in the same order: up to step F the two are equal bit for bit.
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "optim/adam_parameters.h"
#include "optim/frozen_variance.h"

namespace laconic {
namespace {

struct OneBitAdamOptions {
  AdamWOptions adam;
  AdamForm form = AdamForm::kAdamW;
  AdamSpace space = AdamSpace::kStep;
  FreezeRule freeze;

  std::string ToString() const {
    return fmt::format("onebit-adam({}, form={}, space={}, freeze_step={})", laconic::ToString(adam),
                       laconic::ToString(form), laconic::ToString(space), freeze.ToString());
  }
};

class OneBitAdam final : public FrozenVarianceOptimizer {
 public:
  OneBitAdam(const OneBitAdamOptions& options, std::unique_ptr<PhasedSync> sync)
      : FrozenVarianceOptimizer({.adam = options.adam,
                                 .form = options.form,
                                 .space = options.space,
                                 .freeze = options.freeze,
                                 .text = options.ToString()},
                                std::move(sync)) {}

 private:
  void MoveAlongGradient(TensorId id, const internal::AdamCorrection& correction) override {
    internal::AdamStep(adam(), correction, sync().step().learning_rate, sync().direction(id), first(id), second(id),
                       parameters()[Index(id)].weights);
  }

  void MoveAlongMomentum(TensorId id, const internal::AdamCorrection& frozen) override {
    const float rate = static_cast<float>(sync().step().learning_rate);
    const std::span<const float> mean = sync().direction(id), v = second(id);
    const std::span<float> m = first(id), w = parameters()[Index(id)].weights;
    for (size_t i = 0; i < w.size(); ++i) {
      m[i] = TakeMomentum(mean[i], v[i], frozen);
      w[i] -= rate * (internal::Adaptive(m[i], v[i], frozen, adam().epsilon) + adam().weight_decay * w[i]);
    }
  }
};

}  // namespace

OptimizerMethod OneBitAdamMethod() {
  OptimizerMethod method;
  method.info = {.name = "onebit-adam",
                 .summary = "Adam until its second moment has settled, then compressed momentum along the frozen one",
                 .travels = "gradients, then momenta",
                 .keeps = "m, v and a buffer",
                 .source = "Tang et al. 2021 (arXiv 2102.02888)",
                 .parameters = AdamParameters(),
                 .default_spec = std::string(kOneBitSpec)};
  method.info.parameters.push_back(AdamFormParameter());
  method.info.parameters.push_back(AdamSpaceParameter());
  method.info.parameters.push_back(FreezeRule::Parameter("freeze_step"));
  method.parse = [parameters = method.info.parameters](const SpecCall& call) -> absl::StatusOr<ParsedOptimizer> {
    SpecArguments arguments(call, parameters);
    OneBitAdamOptions options{
        .adam = ReadAdam(arguments), .form = ReadAdamForm(arguments), .space = ReadAdamSpace(arguments), .freeze = {}};
    LACONIC_ASSIGN_OR_RETURN(options.freeze, FreezeRule::Parse(arguments, "freeze_step", options.adam.beta2));
    LACONIC_RETURN_IF_ERROR(arguments.Finish());
    const auto make =
        [options](const OptimizerContext& context) -> absl::StatusOr<std::unique_ptr<DistributedOptimizer>> {
      LACONIC_ASSIGN_OR_RETURN(auto sync, PhasedSync::Create(context));
      return std::make_unique<OneBitAdam>(options, std::move(sync));
    };
    return ParsedOptimizer{options.ToString(), make};
  };
  return method;
}

}  // namespace laconic
