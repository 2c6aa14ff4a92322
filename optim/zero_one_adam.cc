// 0/1 Adam (Lu et al. 2022, arXiv 2202.06009): one bit or none at all. Exact gradients travel ever more seldom, to keep
// the second moment; compressed ones in between. Once v is frozen the ranks step alone and exchange the compressed sum
// of their steps ever more seldom. zero_one_schedule.h says which step does what.
//
//   variance   g = mean g_i;  m <- b1 m + (1-b1) g;  v <- b2 v + (1-b2) g^2;  w <- w - lr (u + decay w)
//
//   gradient   g = compressed mean g_i;  m <- b1 m + (1-b1) g;  w <- w - lr (u + decay w)
//
//   local      m <- b1 m + (1-b1) g_i;  c <- c - lr u;  r <- r + lr;  w = a + c
//
//   exchange   as local, then s = compressed mean of c D;
//              a <- (1 - r decay) a + s / D;  m <- -s / (r f);  w = a;  c = 0;  r = 0
//
// u = m f / D is the step of adam_step.h, D its denominator; a the weights of the last exchange, c this rank's change
// since then, r the sum of its learning rates. An element whose v is 0 does not move. What travels is another quantity
// in the second part, so the compression's errors start again at zero; there they are in units of the weights' change,
// which other learning rates leave right.
//
// This is space=plain, as published. In space=step g / D travels instead of g, clipped to what Adam itself cannot
// exceed and multiplied by D again, and c instead of c D. The codec's noise is then alike in all elements' steps; in
// plain space elements whose v is small are thrown about, and v is exact ever more seldom.
//
// Where we differ from the published code: it subtracts the change from the weights to find those of the last exchange,
// which rounds differently on each rank, so that replicas drift apart; we keep them (a). It lets weight decay into the
// change and from there into the momentum; ours is applied when the change is. Its counters and errors are lost with a
// checkpoint; ours are part of it.
#include <bit>
#include <cmath>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "optim/adam_parameters.h"
#include "optim/adam_step.h"
#include "optim/phased_sync.h"
#include "optim/weights_state.h"
#include "optim/zero_one_schedule.h"

namespace laconic {
namespace {

using Kind = ZeroOneSchedule::Kind;

struct ZeroOneAdamOptions {
  AdamWOptions adam;
  AdamForm form = AdamForm::kAdamW;
  AdamSpace space = AdamSpace::kStep;
  ZeroOneOptions schedule;

  std::string ToString() const {
    return fmt::format(
        "zero-one-adam({}, form={}, space={}, var_freeze_step={}, kappa={}, local_step_scaler={}, "
        "local_step_clipper={})",
        laconic::ToString(adam), laconic::ToString(form), laconic::ToString(space), schedule.var_freeze_step,
        schedule.kappa, schedule.local_step_scaler, schedule.local_step_clipper);
  }
};

class ZeroOneAdam final : public DistributedOptimizer {
 public:
  ZeroOneAdam(const ZeroOneAdamOptions& options, std::unique_ptr<PhasedSync> sync)
      : options_(options), schedule_(options.schedule), sync_(std::move(sync)) {
    for (const Parameter& parameter : sync_->parameters()) {
      for (auto* state : {&first_, &second_, &change_, &agreed_}) state->emplace_back(parameter.shape.elements());
    }
  }

  void Begin(const StepContext& step) override {
    using Travels = PhasedSync::Travels;
    learning_rate_ = step.learning_rate;
    // In the second part errors are in units of the weights' change: no rate to rescale them by.
    const StepContext in_weights = {.step = step.step, .learning_rate = 1};
    switch (schedule_.Next()) {
      case Kind::kVariance:
        return sync_->Begin(step, Travels::kGradients, "variance");
      case Kind::kGradient:
        return sync_->Begin(step, Travels::kBuffers, "gradient");
      case Kind::kExchange:
        return sync_->Begin(in_weights, Travels::kBuffers, "exchange");
      case Kind::kLocal:
        return sync_->Begin(in_weights, Travels::kNothing, "local");
    }
  }
  void MarkReady(TensorId id) override {
    sync_->MarkReady(id, [this](TensorId ready) { FillBuffer(ready); });
  }
  absl::Status Finish() override {
    LACONIC_RETURN_IF_ERROR(sync_->Finish([this](TensorId ready) { FillBuffer(ready); }));
    const Kind kind = schedule_.Next();
    // Nobody hears of a local step that is skipped: it counts, or the ranks would count differently.
    if (report().skipped && kind != Kind::kLocal) return absl::OkStatus();
    if (kind == Kind::kVariance) StepAlongGradient();
    if (kind == Kind::kGradient) StepAlongCompressedGradient();
    if (kind == Kind::kLocal) StepAlone();
    if (kind == Kind::kExchange) TakeChanges(rates_ + learning_rate_);
    const bool was_frozen = schedule_.variance_frozen();
    schedule_.Advance();
    if (!was_frozen && schedule_.variance_frozen()) BeginSecondPart();
    return absl::OkStatus();
  }

  absl::Status Synchronize() override {
    if (!schedule_.variance_frozen() || rates_ == 0) return absl::OkStatus();
    sync_->Begin(sync_->step(), PhasedSync::Travels::kBuffers, "exchange");
    LACONIC_RETURN_IF_ERROR(sync_->Finish([this](TensorId id) { FillChange(id); }));
    TakeChanges(rates_);
    return absl::OkStatus();
  }

  const StepReport& report() const override { return sync_->report(); }
  std::string Describe() const override {
    return fmt::format("optimizer {}\n{} variance rounds in {} steps\n{}", options_.ToString(),
                       schedule_.variance_rounds(), schedule_.done(), sync_->Describe());
  }

  void Save(StateWriter& out) const override;
  absl::Status Load(std::span<const StateReader> by_rank, ReshardRule rule) override;

 private:
  internal::AdamCorrection Correction(uint64_t steps) const {
    return internal::AdamCorrection::After(options_.form, options_.adam, steps, schedule_.variance_rounds());
  }
  float Denominator(float v, const internal::AdamCorrection& correction) const {
    return internal::Denominator(v, correction, options_.adam.epsilon);
  }
  bool in_steps() const { return options_.space == AdamSpace::kStep; }
  // u of a step alone.
  float OwnStep(float m, float v, const internal::AdamCorrection& correction) const {
    const float step = internal::Adaptive(m, v, correction, options_.adam.epsilon);
    return in_steps() ? internal::Clip(step, largest_step_) : step;
  }

  // What travels, of the step that is not made yet: this rank's gradient, or its change after this step, times D.
  void FillBuffer(TensorId id) {
    const std::span<const float> gradient = sync_->parameters()[Index(id)].gradient;
    const std::span<float> buffer = sync_->buffer(id);
    const auto correction = Correction(schedule_.done() + 1);
    const std::span<const float> m = first_[Index(id)], v = second_[Index(id)], c = change_[Index(id)];
    if (schedule_.Next() == Kind::kGradient) {
      if (!in_steps()) {
        std::copy(gradient.begin(), gradient.end(), buffer.begin());
        return;
      }
      const float largest = internal::LargestGradient(options_.adam);
      for (size_t i = 0; i < m.size(); ++i) {
        buffer[i] = internal::WhereAlive(v[i], internal::Clip(gradient[i] / Denominator(v[i], correction), largest));
      }
      return;
    }
    const float rate = static_cast<float>(learning_rate_);
    for (size_t i = 0; i < m.size(); ++i) {
      const float next = internal::FirstMoment(options_.adam.beta1, m[i], gradient[i]);
      const float change = c[i] - rate * OwnStep(next, v[i], correction);
      buffer[i] = internal::WhereAlive(v[i], change) * (in_steps() ? 1 : Denominator(v[i], correction));
    }
  }
  void FillChange(TensorId id) {
    const auto correction = Correction(schedule_.done());
    const std::span<const float> v = second_[Index(id)], c = change_[Index(id)];
    const std::span<float> buffer = sync_->buffer(id);
    for (size_t i = 0; i < c.size(); ++i) buffer[i] = c[i] * (in_steps() ? 1 : Denominator(v[i], correction));
  }

  void StepAlongGradient() {
    const auto correction = internal::AdamCorrection::After(options_.form, options_.adam, schedule_.done() + 1,
                                                            schedule_.variance_rounds() + 1);
    for (uint32_t t = 0; t < sync_->tensors(); ++t) {
      internal::AdamStep(options_.adam, correction, learning_rate_, sync_->direction(TensorId{t}), first_[t],
                         second_[t], sync_->parameters()[t].weights);
    }
  }

  void StepAlongCompressedGradient() {
    const auto correction = Correction(schedule_.done() + 1);
    const float rate = static_cast<float>(learning_rate_);
    for (uint32_t t = 0; t < sync_->tensors(); ++t) {
      const std::span<const float> gradient = sync_->direction(TensorId{t});
      const std::span<const float> v = second_[t];
      const std::span<float> w = sync_->parameters()[t].weights;
      for (size_t i = 0; i < w.size(); ++i) {
        const float g = gradient[i] * (in_steps() ? Denominator(v[i], correction) : 1);
        const float m = first_[t][i] = internal::FirstMoment(options_.adam.beta1, first_[t][i], g);
        const float u = v[i] > 0 ? internal::Adaptive(m, v[i], correction, options_.adam.epsilon) : 0;
        w[i] -= rate * (u + options_.adam.weight_decay * w[i]);
      }
    }
  }

  void StepAlone() {
    rates_ += learning_rate_;
    if (report().skipped) return;
    const auto correction = Correction(schedule_.done() + 1);
    const float rate = static_cast<float>(learning_rate_);
    for (uint32_t t = 0; t < sync_->tensors(); ++t) {
      const Parameter& parameter = sync_->parameters()[t];
      const std::span<const float> v = second_[t];
      for (size_t i = 0; i < v.size(); ++i) {
        const float m = first_[t][i] = internal::FirstMoment(options_.adam.beta1, first_[t][i], parameter.gradient[i]);
        if (v[i] > 0) change_[t][i] -= rate * OwnStep(m, v[i], correction);
        parameter.weights[i] = agreed_[t][i] + change_[t][i];
      }
    }
  }

  // The mean change D of all ranks, over which learning rates added up to `rates`, takes the place of this rank's own.
  void TakeChanges(double rates) {
    const auto correction = Correction(schedule_.done() + 1);
    const float shrink = static_cast<float>(rates * options_.adam.weight_decay);
    const float to_momentum = rates > 0 ? static_cast<float>(-1 / (rates * correction.first)) : 0;
    for (uint32_t t = 0; t < sync_->tensors(); ++t) {
      const std::span<const float> mean = sync_->direction(TensorId{t});
      const std::span<const float> v = second_[t];
      const std::span<float> w = sync_->parameters()[t].weights;
      for (size_t i = 0; i < w.size(); ++i) {
        const float denominator = Denominator(v[i], correction);
        float a = agreed_[t][i];
        a -= shrink * a;
        if (v[i] > 0) a += in_steps() ? mean[i] : mean[i] / denominator;
        w[i] = agreed_[t][i] = a;
        first_[t][i] = v[i] > 0 ? (in_steps() ? mean[i] * denominator : mean[i]) * to_momentum : 0;
        change_[t][i] = 0;
      }
    }
    rates_ = 0;
  }

  void BeginSecondPart() {
    sync_->ResetState();
    for (uint32_t t = 0; t < sync_->tensors(); ++t) {
      const std::span<const float> w = sync_->parameters()[t].weights;
      std::copy(w.begin(), w.end(), agreed_[t].begin());
    }
  }

  const ZeroOneAdamOptions options_;
  const float largest_step_ = internal::LargestStep(options_.adam);
  ZeroOneSchedule schedule_;
  std::unique_ptr<PhasedSync> sync_;
  std::vector<AlignedVector<float>> first_, second_;   // m, v, by TensorId
  std::vector<AlignedVector<float>> change_, agreed_;  // c, a; of the second part
  double rates_ = 0;                                   // r
  double learning_rate_ = 0;                           // of this step
};

void ZeroOneAdam::Save(StateWriter& out) const {
  SaveWeights(sync_->parameters(), out);
  StateWriter optimizer = out.Scope("optimizer");
  optimizer.U64("rates", std::bit_cast<uint64_t>(rates_));
  StateWriter schedule = optimizer.Scope("schedule");
  schedule_.Save(schedule);
  SaveFloats(sync_->parameters(), "first_moment", first_, optimizer);
  SaveFloats(sync_->parameters(), "second_moment", second_, optimizer);
  SaveFloats(sync_->parameters(), "change", change_, optimizer);
  SaveFloats(sync_->parameters(), "agreed_weights", agreed_, optimizer);
  StateWriter sync = out.Scope("sync");
  sync_->Save(sync);
}

absl::Status ZeroOneAdam::Load(std::span<const StateReader> by_rank, ReshardRule rule) {
  LACONIC_RETURN_IF_ERROR(sync_->Load(Scopes(by_rank, "sync"), rule));
  const bool reshard = static_cast<int>(by_rank.size()) != sync_->ranks();
  const StateReader& in = by_rank[reshard ? 0 : sync_->rank()];
  const StateReader optimizer = in.Scope("optimizer");
  const std::span<const Parameter> parameters = sync_->parameters();
  LACONIC_RETURN_IF_ERROR(LoadWeights(in, parameters));
  LACONIC_ASSIGN_OR_RETURN(const uint64_t rates, optimizer.U64("rates"));
  LACONIC_RETURN_IF_ERROR(schedule_.Load(optimizer.Scope("schedule")));
  LACONIC_RETURN_IF_ERROR(LoadFloats(optimizer, "second_moment", parameters, second_));
  LACONIC_RETURN_IF_ERROR(LoadFloats(optimizer, "agreed_weights", parameters, agreed_));
  rates_ = std::bit_cast<double>(rates);
  if (!reshard) {
    LACONIC_RETURN_IF_ERROR(LoadFloats(optimizer, "first_moment", parameters, first_));
    return LoadFloats(optimizer, "change", parameters, change_);
  }
  // Momenta and changes, which differ between two exchanges: all start from the mean; or from no change.
  const std::vector<StateReader> optimizers = Scopes(by_rank, "optimizer");
  LACONIC_RETURN_IF_ERROR(LoadMean(optimizers, "first_moment", parameters, first_));
  if (!schedule_.variance_frozen()) return absl::OkStatus();
  if (rule == ReshardRule::kMean) {
    LACONIC_RETURN_IF_ERROR(LoadMean(optimizers, "change", parameters, change_));
  } else {
    for (AlignedVector<float>& change : change_) std::fill(change.begin(), change.end(), 0.0f);
    rates_ = 0;
  }
  for (uint32_t t = 0; t < sync_->tensors(); ++t) {
    for (size_t i = 0; i < change_[t].size(); ++i) parameters[t].weights[i] = agreed_[t][i] + change_[t][i];
  }
  return absl::OkStatus();
}

}  // namespace

OptimizerMethod ZeroOneAdamMethod() {
  const ZeroOneOptions defaults;
  OptimizerMethod method;
  method.info = {.name = "zero-one-adam",
                 .summary =
                     "exact gradients ever more seldom, compressed ones in between, then steps alone between "
                     "ever rarer exchanges",
                 .travels = "gradients, then the weights' change over several steps",
                 .keeps = "m, v, the change, the weights of the last exchange and a buffer",
                 .source = "Lu et al. 2022 (arXiv 2202.06009)",
                 .parameters = AdamParameters(),
                 .default_spec = std::string(kOneBitSpec)};
  for (const ParameterInfo& parameter :
       {AdamFormParameter(), AdamSpaceParameter(),
        ParameterInfo{"var_freeze_step", "1..", fmt::format("{}", defaults.var_freeze_step),
                      "steps before the second moment is frozen"},
        ParameterInfo{"kappa", "1..", fmt::format("{}", defaults.kappa),
                      "exact gradients before the steps from one to the next double"},
        ParameterInfo{"local_step_scaler", "1..", fmt::format("{}", defaults.local_step_scaler),
                      "steps, once frozen, before the steps from one exchange to the next double"},
        ParameterInfo{"local_step_clipper", "1..", fmt::format("{}", defaults.local_step_clipper),
                      "the most steps from one exchange to the next"}}) {
    method.info.parameters.push_back(parameter);
  }
  method.parse = [parameters = method.info.parameters](const SpecCall& call) -> absl::StatusOr<ParsedOptimizer> {
    SpecArguments arguments(call, parameters);
    ZeroOneAdamOptions options{.adam = ReadAdam(arguments),
                               .form = ReadAdamForm(arguments),
                               .space = ReadAdamSpace(arguments),
                               .schedule = {}};
    for (auto [key, value] : {std::pair{"var_freeze_step", &options.schedule.var_freeze_step},
                              {"kappa", &options.schedule.kappa},
                              {"local_step_scaler", &options.schedule.local_step_scaler},
                              {"local_step_clipper", &options.schedule.local_step_clipper}}) {
      *value = static_cast<uint64_t>(arguments.Integer(key, static_cast<int64_t>(*value), 1, int64_t{1} << 62));
    }
    LACONIC_RETURN_IF_ERROR(arguments.Finish());
    const auto make =
        [options](const OptimizerContext& context) -> absl::StatusOr<std::unique_ptr<DistributedOptimizer>> {
      LACONIC_ASSIGN_OR_RETURN(auto sync, PhasedSync::Create(context));
      return std::make_unique<ZeroOneAdam>(options, std::move(sync));
    };
    return ParsedOptimizer{options.ToString(), make};
  };
  return method;
}

}  // namespace laconic
