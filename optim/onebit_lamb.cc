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
#include "optim/frozen_variance.h"
#include "optim/lamb_step.h"
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

class OneBitLamb final : public FrozenVarianceOptimizer {
 public:
  OneBitLamb(const OneBitLambOptions& options, std::unique_ptr<PhasedSync> sync)
      : FrozenVarianceOptimizer({.adam = options.lamb.adam,
                                 .form = options.lamb.form,
                                 .space = options.space,
                                 .freeze = options.freeze,
                                 .text = options.ToString()},
                                std::move(sync)),
        options_(options),
        ratios_(parameters().size()) {
    for (const Parameter& parameter : parameters()) fresh_.emplace_back(parameter.shape.elements());
  }

 private:
  struct Ratio {
    double mean = 0;    // c
    double factor = 1;  // f of the last compressed step
  };

  void MoveAlongGradient(TensorId id, const internal::AdamCorrection& correction) override {
    const float trust = internal::LambStep(options_.lamb, correction, sync().step().learning_rate, sync().direction(id),
                                           first(id), second(id), sync().buffer(id), parameters()[Index(id)].weights);
    double& mean = ratios_[Index(id)].mean;
    mean = options_.ratio_beta * mean + (1 - options_.ratio_beta) * trust;
  }

  void OnFreeze() override {
    for (uint32_t t = 0; t < fresh_.size(); ++t) {
      const std::span<const float> v = second(TensorId{t});
      std::copy(v.begin(), v.end(), fresh_[t].begin());
    }
  }

  void MoveAlongMomentum(TensorId id, const internal::AdamCorrection& frozen) override {
    const auto current = internal::AdamCorrection::After(options_.lamb.form, adam(), steps(), steps());
    const std::span<const float> mean = sync().direction(id), v = second(id);
    const std::span<float> m = first(id), fresh = fresh_[Index(id)], w = parameters()[Index(id)].weights;
    const std::span<float> update = sync().buffer(id);  // its message has been sent
    double step_norm2 = 0, update_norm2 = 0, largest = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      const float next = TakeMomentum(mean[i], v[i], frozen);
      const float gradient = v[i] > 0 ? (next - adam().beta1 * m[i]) / (1 - adam().beta1) : 0;
      m[i] = next;
      fresh[i] = internal::SecondMoment(adam().beta2, fresh[i], gradient);
      const float step = internal::Adaptive(next, v[i], frozen, adam().epsilon);
      update[i] = step + adam().weight_decay * w[i];
      step_norm2 += static_cast<double>(step) * step;
      update_norm2 += static_cast<double>(update[i]) * update[i];
      largest = std::max(largest, static_cast<double>(internal::Denominator(v[i], frozen, adam().epsilon)) /
                                      internal::Denominator(fresh[i], current, adam().epsilon));
    }
    const double trust = Trust(ratios_[Index(id)], step_norm2, update_norm2, largest);
    const float rate = static_cast<float>(sync().step().learning_rate * trust);
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
                            : ratio.mean / (1 - internal::IntegerPower(options_.ratio_beta, frozen_at()));
    return mean * ratio.factor;
  }

  void SaveMore(StateWriter& optimizer) const override {
    SaveFloats(parameters(), "fresh_second_moment", fresh_, optimizer);
    for (size_t t = 0; t < ratios_.size(); ++t) {
      StateWriter scope = optimizer.Scope(parameters()[t].name);
      scope.U64("ratio", std::bit_cast<uint64_t>(ratios_[t].mean));
      scope.U64("factor", std::bit_cast<uint64_t>(ratios_[t].factor));
    }
  }
  absl::Status LoadMore(const StateReader& optimizer) override {
    LACONIC_RETURN_IF_ERROR(LoadFloats(optimizer, "fresh_second_moment", parameters(), fresh_));
    for (size_t t = 0; t < ratios_.size(); ++t) {
      const StateReader scope = optimizer.Scope(parameters()[t].name);
      LACONIC_ASSIGN_OR_RETURN(const uint64_t mean, scope.U64("ratio"));
      LACONIC_ASSIGN_OR_RETURN(const uint64_t factor, scope.U64("factor"));
      ratios_[t] = {.mean = std::bit_cast<double>(mean), .factor = std::bit_cast<double>(factor)};
    }
    return absl::OkStatus();
  }

  const OneBitLambOptions options_;
  std::vector<AlignedVector<float>> fresh_;  // v', by TensorId
  std::vector<Ratio> ratios_;                // by TensorId
};

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
