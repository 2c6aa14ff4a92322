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
#include "optim/adam_step.h"
#include "optim/freeze_rule.h"
#include "optim/momentum_message.h"
#include "optim/phased_sync.h"
#include "optim/weights_state.h"

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

class OneBitAdam final : public DistributedOptimizer {
 public:
  OneBitAdam(const OneBitAdamOptions& options, std::unique_ptr<PhasedSync> sync)
      : options_(options), freeze_(options.freeze), sync_(std::move(sync)) {
    for (const Parameter& parameter : sync_->parameters()) {
      first_.emplace_back(parameter.shape.elements());
      second_.emplace_back(parameter.shape.elements());
    }
  }

  void Begin(const StepContext& step) override {
    if (frozen()) {
      sync_->Begin(step, PhasedSync::Travels::kBuffers, "compressed");
    } else {
      sync_->Begin(step, PhasedSync::Travels::kGradients, "warm-up");
    }
  }
  void MarkReady(TensorId id) override {
    sync_->MarkReady(id, [this](TensorId ready) { FillCandidate(ready); });
  }
  absl::Status Finish() override {
    LACONIC_RETURN_IF_ERROR(sync_->Finish([this](TensorId ready) { FillCandidate(ready); }));
    if (report().skipped) return absl::OkStatus();
    ++steps_;
    frozen() ? MoveAlongMomentum() : MoveAlongGradient();
    return absl::OkStatus();
  }

  const StepReport& report() const override { return sync_->report(); }
  std::string Describe() const override {
    return fmt::format("optimizer {}\n{}\n{}", options_.ToString(),
                       frozen() ? fmt::format("compressed since step {}", frozen_at_) : "in warm-up",
                       sync_->Describe());
  }

  void Save(StateWriter& out) const override {
    SaveWeights(sync_->parameters(), out);
    StateWriter optimizer = out.Scope("optimizer");
    optimizer.U64("steps", steps_);
    optimizer.U64("frozen_at", frozen_at_);
    StateWriter freeze = optimizer.Scope("freeze");
    freeze_.Save(freeze);
    SaveFloats(sync_->parameters(), "first_moment", first_, optimizer);
    SaveFloats(sync_->parameters(), "second_moment", second_, optimizer);
    StateWriter sync = out.Scope("sync");
    sync_->Save(sync);
  }
  absl::Status Load(std::span<const StateReader> by_rank, ReshardRule rule) override {
    LACONIC_RETURN_IF_ERROR(sync_->Load(Scopes(by_rank, "sync"), rule));
    // All of the rest is equal on all ranks.
    LACONIC_RETURN_IF_ERROR(LoadWeights(by_rank.front(), sync_->parameters()));
    const StateReader optimizer = by_rank.front().Scope("optimizer");
    LACONIC_ASSIGN_OR_RETURN(steps_, optimizer.U64("steps"));
    LACONIC_ASSIGN_OR_RETURN(frozen_at_, optimizer.U64("frozen_at"));
    LACONIC_RETURN_IF_ERROR(freeze_.Load(optimizer.Scope("freeze")));
    LACONIC_RETURN_IF_ERROR(LoadFloats(optimizer, "first_moment", sync_->parameters(), first_));
    return LoadFloats(optimizer, "second_moment", sync_->parameters(), second_);
  }

 private:
  bool frozen() const { return frozen_at_ > 0; }

  // What this rank would make of the momentum; m itself moves only when the step has succeeded on all ranks.
  void FillCandidate(TensorId id) {
    internal::FillMomentum(options_.space, options_.adam, FrozenCorrection(), sync_->parameters()[Index(id)].gradient,
                           first_[Index(id)], second_[Index(id)], sync_->buffer(id));
  }

  // After the freeze.
  internal::AdamCorrection FrozenCorrection() const {
    return internal::AdamCorrection::After(options_.form, options_.adam, steps_, frozen_at_);
  }

  void MoveAlongGradient() {
    const auto correction = internal::AdamCorrection::After(options_.form, options_.adam, steps_, steps_);
    for (uint32_t t = 0; t < sync_->tensors(); ++t) {
      internal::AdamStep(options_.adam, correction, sync_->step().learning_rate, sync_->direction(TensorId{t}),
                         first_[t], second_[t], sync_->parameters()[t].weights);
    }
    double norm = 0;
    if (freeze_.automatic()) {
      for (const AlignedVector<float>& second : second_) {
        for (const float v : second) norm += v;
      }
    }
    if (freeze_.Freezes(steps_, norm * correction.second, sync_->step().learning_rate)) frozen_at_ = steps_;
  }

  void MoveAlongMomentum() {
    const auto correction = FrozenCorrection();
    const float rate = static_cast<float>(sync_->step().learning_rate);
    for (uint32_t t = 0; t < sync_->tensors(); ++t) {
      const std::span<const float> mean = sync_->direction(TensorId{t});
      const std::span<float> m = first_[t];
      const std::span<const float> v = second_[t];
      const std::span<float> w = sync_->parameters()[t].weights;
      for (size_t i = 0; i < w.size(); ++i) {
        const float denominator = internal::Denominator(v[i], correction, options_.adam.epsilon);
        m[i] = internal::TakeMomentum(options_.space, mean[i], v[i], denominator);
        w[i] -= rate *
                (internal::Adaptive(m[i], v[i], correction, options_.adam.epsilon) + options_.adam.weight_decay * w[i]);
      }
    }
  }

  const OneBitAdamOptions options_;
  FreezeRule freeze_;
  std::unique_ptr<PhasedSync> sync_;
  std::vector<AlignedVector<float>> first_, second_;  // by TensorId
  uint64_t steps_ = 0;                                // made, so a skipped step does not count
  uint64_t frozen_at_ = 0;                            // F; 0: not yet
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
