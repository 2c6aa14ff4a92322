// 1-bit LAMB (Li et al. 2021, arXiv 2104.06069): LAMB until its second moment has settled; from then on the ranks'
// momenta travel compressed along the frozen v, as in 1-bit Adam, and each tensor's trust ratio is the mean of those of
// the warm-up times a correction that follows the second moment as it would have been.
//
//   warm-up      LAMB (lamb_step.h);  c <- beta_c c + (1 - beta_c) trust        for each tensor
//   compressed   m' <- compressed mean of (b1 m + (1-b1) g_i)
//                g = (m' - b1 m) / (1-b1);  v' <- b2 v' + (1-b2) g^2             v' starts as the frozen v
//                p = u(m', v);  update = p + weight_decay w
//                f = max_j of the denominators of v over those of v';  f <- f r + 1 - r, r = min(1, |p| / |update|)
//                f clipped to [0.5, 4], and to within 10 % of the last;  w <- w - lr c f update
//
// In space=step what travels is divided by the denominator of the frozen v, as in onebit_adam.cc. An element whose v is
// 0 does not move. In form=adamw c, an average that starts at zero, is bias-corrected like m; in form=published it is
// not, and the warm-up must last 1 / (1 - beta_c) steps at least. The published code multiplies each tensor's momentum
// by a factor that makes all tensors equally large, because they share one scale; our codecs give each tensor, or
// block, a scale of its own, under which such a factor changes nothing.
#include <algorithm>
#include <bit>
#include <cmath>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "optim/adam_parameters.h"
#include "optim/freeze_rule.h"
#include "optim/lamb_step.h"
#include "optim/momentum_message.h"
#include "optim/phased_sync.h"
#include "optim/weights_state.h"

namespace laconic {
namespace {

struct OneBitLambOptions {
  LambOptions lamb;
  AdamSpace space = AdamSpace::kStep;
  FreezeRule freeze;
  double ratio_beta = 0.9;  // beta_c

  std::string ToString() const {
    return fmt::format("onebit-lamb({}, space={}, freeze_step={}, ratio_beta={})", laconic::ToString(lamb),
                       laconic::ToString(space), freeze.ToString(), ratio_beta);
  }
};

constexpr double kLeastFactor = 0.5, kLargestFactor = 4, kFactorChange = 0.1;

class OneBitLamb final : public DistributedOptimizer {
 public:
  OneBitLamb(const OneBitLambOptions& options, std::unique_ptr<PhasedSync> sync)
      : options_(options), freeze_(options.freeze), sync_(std::move(sync)) {
    for (const Parameter& parameter : sync_->parameters()) {
      for (auto* state : {&first_, &second_, &fresh_}) state->emplace_back(parameter.shape.elements());
      ratios_.push_back({});
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
    if (frozen()) {
      for (uint32_t t = 0; t < sync_->tensors(); ++t) MoveAlongMomentum(t);
    } else {
      MoveAlongGradient();
    }
    return absl::OkStatus();
  }

  const StepReport& report() const override { return sync_->report(); }
  std::string Describe() const override {
    return fmt::format("optimizer {}\n{}\n{}", options_.ToString(),
                       frozen() ? fmt::format("compressed since step {}", frozen_at_) : "in warm-up",
                       sync_->Describe());
  }

  void Save(StateWriter& out) const override;
  absl::Status Load(std::span<const StateReader> by_rank, ReshardRule rule) override;

 private:
  struct Ratio {
    double mean = 0;    // c
    double factor = 1;  // f of the last compressed step
  };

  bool frozen() const { return frozen_at_ > 0; }
  const AdamWOptions& adam() const { return options_.lamb.adam; }

  void FillCandidate(TensorId id) {
    internal::FillMomentum(options_.space, adam(), FrozenCorrection(), sync_->parameters()[Index(id)].gradient,
                           first_[Index(id)], second_[Index(id)], sync_->buffer(id));
  }

  // After the freeze.
  internal::AdamCorrection FrozenCorrection() const {
    return internal::AdamCorrection::After(options_.lamb.form, adam(), steps_, frozen_at_);
  }

  void MoveAlongGradient() {
    const auto correction = internal::AdamCorrection::After(options_.lamb.form, adam(), steps_, steps_);
    double norm = 0;
    for (uint32_t t = 0; t < sync_->tensors(); ++t) {
      const float trust =
          internal::LambStep(options_.lamb, correction, sync_->step().learning_rate, sync_->direction(TensorId{t}),
                             first_[t], second_[t], sync_->buffer(TensorId{t}), sync_->parameters()[t].weights);
      ratios_[t].mean = options_.ratio_beta * ratios_[t].mean + (1 - options_.ratio_beta) * trust;
      if (!freeze_.automatic()) continue;
      for (const float v : second_[t]) norm += v;
    }
    if (!freeze_.Freezes(steps_, norm * correction.second, sync_->step().learning_rate)) return;
    frozen_at_ = steps_;
    for (uint32_t t = 0; t < sync_->tensors(); ++t) std::copy(second_[t].begin(), second_[t].end(), fresh_[t].begin());
  }

  void MoveAlongMomentum(uint32_t t) {
    const auto frozen = FrozenCorrection();
    const auto current = internal::AdamCorrection::After(options_.lamb.form, adam(), steps_, steps_);
    const std::span<const float> mean = sync_->direction(TensorId{t});
    const std::span<float> update = sync_->buffer(TensorId{t});  // its message has been sent
    const std::span<float> w = sync_->parameters()[t].weights;
    double step_norm2 = 0, update_norm2 = 0, largest = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      const float v = second_[t][i];
      const float denominator = internal::Denominator(v, frozen, adam().epsilon);
      const float m = internal::TakeMomentum(options_.space, mean[i], v, denominator);
      const float gradient = v > 0 ? (m - adam().beta1 * first_[t][i]) / (1 - adam().beta1) : 0;
      first_[t][i] = m;
      fresh_[t][i] = internal::SecondMoment(adam().beta2, fresh_[t][i], gradient);
      const float step = internal::Adaptive(m, v, frozen, adam().epsilon);
      update[i] = step + adam().weight_decay * w[i];
      step_norm2 += static_cast<double>(step) * step;
      update_norm2 += static_cast<double>(update[i]) * update[i];
      largest = std::max(
          largest, static_cast<double>(denominator) / internal::Denominator(fresh_[t][i], current, adam().epsilon));
    }
    const float rate =
        static_cast<float>(sync_->step().learning_rate * Trust(ratios_[t], step_norm2, update_norm2, largest));
    for (size_t i = 0; i < w.size(); ++i) w[i] -= rate * update[i];
  }

  // c f; f moves.
  double Trust(Ratio& ratio, double step_norm2, double update_norm2, double largest) const {
    double factor = largest;
    if (adam().weight_decay > 0) {
      const double share = update_norm2 > 0 ? std::min(1.0, std::sqrt(step_norm2 / update_norm2)) : 1;
      factor = factor * share + (1 - share);
    }
    factor = std::clamp(factor, kLeastFactor, kLargestFactor);
    ratio.factor = std::clamp(factor, ratio.factor * (1 - kFactorChange), ratio.factor * (1 + kFactorChange));
    const double mean = options_.lamb.form == AdamForm::kPublished
                            ? ratio.mean
                            : ratio.mean / (1 - internal::IntegerPower(options_.ratio_beta, frozen_at_));
    return mean * ratio.factor;
  }

  const OneBitLambOptions options_;
  FreezeRule freeze_;
  std::unique_ptr<PhasedSync> sync_;
  std::vector<AlignedVector<float>> first_, second_, fresh_;  // m, v, v', by TensorId
  std::vector<Ratio> ratios_;                                 // by TensorId
  uint64_t steps_ = 0;                                        // made, so a skipped step does not count
  uint64_t frozen_at_ = 0;                                    // 0: not yet
};

void OneBitLamb::Save(StateWriter& out) const {
  const std::span<const Parameter> parameters = sync_->parameters();
  SaveWeights(parameters, out);
  StateWriter optimizer = out.Scope("optimizer");
  optimizer.U64("steps", steps_);
  optimizer.U64("frozen_at", frozen_at_);
  StateWriter freeze = optimizer.Scope("freeze");
  freeze_.Save(freeze);
  SaveFloats(parameters, "first_moment", first_, optimizer);
  SaveFloats(parameters, "second_moment", second_, optimizer);
  SaveFloats(parameters, "fresh_second_moment", fresh_, optimizer);
  for (size_t t = 0; t < parameters.size(); ++t) {
    StateWriter scope = optimizer.Scope(parameters[t].name);
    scope.U64("ratio", std::bit_cast<uint64_t>(ratios_[t].mean));
    scope.U64("factor", std::bit_cast<uint64_t>(ratios_[t].factor));
  }
  StateWriter sync = out.Scope("sync");
  sync_->Save(sync);
}

absl::Status OneBitLamb::Load(std::span<const StateReader> by_rank, ReshardRule rule) {
  LACONIC_RETURN_IF_ERROR(sync_->Load(Scopes(by_rank, "sync"), rule));
  // All of the rest is equal on all ranks.
  const std::span<const Parameter> parameters = sync_->parameters();
  LACONIC_RETURN_IF_ERROR(LoadWeights(by_rank.front(), parameters));
  const StateReader optimizer = by_rank.front().Scope("optimizer");
  LACONIC_ASSIGN_OR_RETURN(steps_, optimizer.U64("steps"));
  LACONIC_ASSIGN_OR_RETURN(frozen_at_, optimizer.U64("frozen_at"));
  LACONIC_RETURN_IF_ERROR(freeze_.Load(optimizer.Scope("freeze")));
  LACONIC_RETURN_IF_ERROR(LoadFloats(optimizer, "first_moment", parameters, first_));
  LACONIC_RETURN_IF_ERROR(LoadFloats(optimizer, "second_moment", parameters, second_));
  LACONIC_RETURN_IF_ERROR(LoadFloats(optimizer, "fresh_second_moment", parameters, fresh_));
  for (size_t t = 0; t < parameters.size(); ++t) {
    const StateReader scope = optimizer.Scope(parameters[t].name);
    LACONIC_ASSIGN_OR_RETURN(const uint64_t mean, scope.U64("ratio"));
    LACONIC_ASSIGN_OR_RETURN(const uint64_t factor, scope.U64("factor"));
    ratios_[t] = {.mean = std::bit_cast<double>(mean), .factor = std::bit_cast<double>(factor)};
  }
  return absl::OkStatus();
}

}  // namespace

OptimizerMethod OneBitLambMethod() {
  OptimizerMethod method;
  method.info = {.name = "onebit-lamb",
                 .summary =
                     "LAMB until its second moment has settled, then compressed momentum under frozen trust "
                     "ratios and their correction",
                 .travels = "gradients, then momenta",
                 .keeps = "m, v, a second v and a buffer",
                 .source = "Li et al. 2021 (arXiv 2104.06069)",
                 .parameters = LambParameters(),
                 .default_spec = std::string(kOneBitSpec)};
  method.info.parameters.push_back(AdamSpaceParameter());
  method.info.parameters.push_back(FreezeRule::Parameter("freeze_step"));
  method.info.parameters.push_back({"ratio_beta", "number in [0, 1)", "0.9", "decay of the mean trust ratio"});
  method.parse = [parameters = method.info.parameters](const SpecCall& call) -> absl::StatusOr<ParsedOptimizer> {
    SpecArguments arguments(call, parameters);
    OneBitLambOptions options{.lamb = ReadLamb(arguments), .space = ReadAdamSpace(arguments), .freeze = {}};
    LACONIC_ASSIGN_OR_RETURN(options.freeze, FreezeRule::Parse(arguments, "freeze_step", options.lamb.adam.beta2));
    options.ratio_beta = arguments.Number("ratio_beta", options.ratio_beta, 0, std::nextafter(1.0, 0.0));
    LACONIC_RETURN_IF_ERROR(arguments.Finish());
    const double least_steps = 1 / (1 - options.ratio_beta);
    if (options.lamb.form == AdamForm::kPublished && !options.freeze.automatic() &&
        static_cast<double>(options.freeze.steps()) < least_steps * (1 - 1e-9)) {
      return SpecError(call.column, fmt::format("form=published averages trust ratios over 1/(1-ratio_beta) = {:.4g} "
                                                "steps: freeze_step = {} is too soon",
                                                least_steps, options.freeze.steps()));
    }
    const auto make =
        [options](const OptimizerContext& context) -> absl::StatusOr<std::unique_ptr<DistributedOptimizer>> {
      LACONIC_ASSIGN_OR_RETURN(auto sync, PhasedSync::Create(context));
      return std::make_unique<OneBitLamb>(options, std::move(sync));
    };
    return ParsedOptimizer{options.ToString(), make};
  };
  return method;
}

}  // namespace laconic
