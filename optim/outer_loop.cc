// Training that talks rarely: every rank takes H steps of its own with an inner optimizer, then all agree on one step
// along the mean of how far they went.
//
//   local      w_i <- inner step of rank i along its own gradient
//   exchange   after H of them: D_i = a - w_i, the pseudo-gradient;  D = compressed mean of D_i;
//              v <- momentum v + D;   a <- a - outer_lr (D + momentum v);   w_i = a
//
// with a the weights of the last exchange, equal on all ranks. momentum = 0 and outer_lr = 1 average the models (local
// SGD: Stich 2019, arXiv 1805.09767); Nesterov momentum on the outside is DiLoCo (Douillard et al. 2023, arXiv
// 2311.08105, Algorithm 1); no momentum but chunked top-k under an error that decays, which stands in for it, is
// SparseLoCo (Sarfi et al. 2025, arXiv 2508.15706). The pseudo-gradient takes the gradient's place in a GradientSync,
// so every codec, error control and strategy applies. Its errors are in units of the weights, which no learning rate
// rescales.
#include <cmath>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "optim/local_step.h"
#include "optim/optimizer_methods.h"
#include "optim/weights_state.h"

namespace laconic {
namespace {

struct OuterLoopOptions {
  std::string name;
  SpecCall inner;
  uint64_t steps = 1;  // H
  double outer_lr = 1;
  float momentum = 0;

  std::string ToString(std::string_view inner_canonical) const {
    return fmt::format("{}(inner={}, steps={}, outer_lr={}, momentum={})", name, inner_canonical, steps,
                       FormatNumber(outer_lr), momentum);
  }
};

class OuterLoop final : public DistributedOptimizer {
 public:
  static absl::StatusOr<std::unique_ptr<DistributedOptimizer>> Create(const OuterLoopOptions& options,
                                                                      const OptimizerContext& context) {
    LACONIC_ASSIGN_OR_RETURN(auto inner, MakeOptimizer(options.inner, context.parameters));
    LACONIC_ASSIGN_OR_RETURN(auto comm, context.comm->Duplicate());
    auto loop = std::make_unique<OuterLoop>(options, context, std::move(inner), std::move(comm));
    GradientSyncOptions exchange = context.options;
    exchange.clip_norm = 0;  // clips the gradients of the inner steps
    LACONIC_ASSIGN_OR_RETURN(loop->sync_,
                             GradientSync::Create(context.comm, loop->outer_parameters_, context.spec, exchange));
    return loop;
  }

  OuterLoop(const OuterLoopOptions& options, const OptimizerContext& context, std::unique_ptr<Optimizer> inner,
            std::unique_ptr<Communicator> comm)
      : options_(options),
        parameters_(context.parameters.begin(), context.parameters.end()),
        comm_(std::move(comm)),
        local_(comm_.get(), parameters_, context.options),
        inner_(std::move(inner)) {
    for (const Parameter& parameter : parameters_) {
      anchors_.emplace_back(parameter.weights.begin(), parameter.weights.end());
      moved_.emplace_back(parameter.weights.size());
    }
    for (size_t i = 0; i < parameters_.size(); ++i) {
      outer_parameters_.push_back({parameters_[i].name, parameters_[i].shape, anchors_[i], moved_[i]});
    }
    outer_ = MakeSgd({.momentum = options.momentum, .nesterov = options.momentum > 0}, outer_parameters_);
  }

  void Begin(const StepContext& step) override { step_ = step; }
  void MarkReady(TensorId) override {}  // gradients stay here

  absl::Status Finish() override {
    report_ = {.phase = "local"};
    LACONIC_RETURN_IF_ERROR(local_.Finish(step_, report_));
    if (!report_.skipped) {
      for (uint32_t i = 0; i < parameters_.size(); ++i) {
        inner_->Step(TensorId{i}, parameters_[i].gradient, step_, parameters_[i].weights);
      }
    }
    return ++steps_in_round_ < options_.steps ? absl::OkStatus() : Exchange();
  }

  absl::Status Synchronize() override { return steps_in_round_ == 0 ? absl::OkStatus() : Exchange(); }

  const StepReport& report() const override { return report_; }
  std::string Describe() const override {
    return fmt::format("optimizer {}\nevery {} steps: {}", options_.ToString(inner_->ToString()), options_.steps,
                       sync_->Describe());
  }

  void Save(StateWriter& out) const override;
  absl::Status Load(std::span<const StateReader> by_rank, ReshardRule rule) override;

 private:
  // A rank whose pseudo-gradient is not finite has weights that are lost: then all go back to those of the last
  // exchange, and the round is skipped. After an error nothing but the inner steps has happened.
  absl::Status Exchange() {
    sync_->Begin({.step = step_.step, .learning_rate = 1});
    for (uint32_t i = 0; i < parameters_.size(); ++i) {
      const std::span<const float> weights = parameters_[i].weights;
      for (size_t j = 0; j < weights.size(); ++j) moved_[i][j] = anchors_[i][j] - weights[j];  // D_i = a - w_i
      sync_->MarkReady(TensorId{i});
    }
    LACONIC_RETURN_IF_ERROR(sync_->Finish());
    const uint64_t zeroed = report_.zeroed_elements;
    report_ = sync_->report();
    report_.phase = "exchange";
    report_.zeroed_elements += zeroed;
    for (uint32_t i = 0; i < parameters_.size(); ++i) {
      const TensorId id{i};
      if (!report_.skipped) {
        outer_->Step(id, sync_->direction(id), {.step = step_.step, .learning_rate = options_.outer_lr}, anchors_[i]);
      }
      std::copy(anchors_[i].begin(), anchors_[i].end(), parameters_[i].weights.begin());
    }
    steps_in_round_ = 0;
    return absl::OkStatus();
  }

  const OuterLoopOptions options_;
  const std::vector<Parameter> parameters_;
  std::unique_ptr<Communicator> comm_;
  LocalStep local_;
  std::vector<AlignedVector<float>> anchors_;  // a, by TensorId
  std::vector<AlignedVector<float>> moved_;    // D_i
  std::vector<Parameter> outer_parameters_;    // weights a, gradient D_i
  std::unique_ptr<Optimizer> inner_, outer_;
  std::unique_ptr<GradientSync> sync_;
  uint64_t steps_in_round_ = 0;
  StepContext step_;
  StepReport report_;
};

void OuterLoop::Save(StateWriter& out) const {
  SaveWeights(parameters_, out);
  out.U64("steps_in_round", steps_in_round_);
  for (auto [name, optimizer] : {std::pair{"inner", inner_.get()}, {"outer", outer_.get()}}) {
    StateWriter scope = out.Scope(name);
    optimizer->Save(scope);
  }
  StateWriter agreed = out.Scope("agreed");
  SaveFloats(parameters_, "weights", anchors_, agreed);
  StateWriter sync = out.Scope("sync");
  sync_->Save(sync);
}

// On another number of ranks each takes over the inner state of one that saved. A round in progress goes on from the
// mean of the old ranks' weights (kMean), or is dropped (kReset).
absl::Status OuterLoop::Load(std::span<const StateReader> by_rank, ReshardRule rule) {
  LACONIC_RETURN_IF_ERROR(sync_->Load(Scopes(by_rank, "sync"), rule));
  const bool reshard = static_cast<int>(by_rank.size()) != comm_->size();
  const StateReader& in = by_rank[comm_->rank() % by_rank.size()];
  LACONIC_RETURN_IF_ERROR(inner_->Load(in.Scope("inner")));
  LACONIC_RETURN_IF_ERROR(outer_->Load(in.Scope("outer")));
  LACONIC_RETURN_IF_ERROR(LoadFloats(in.Scope("agreed"), "weights", parameters_, anchors_));
  LACONIC_ASSIGN_OR_RETURN(steps_in_round_, in.U64("steps_in_round"));
  if (!reshard) return LoadWeights(in, parameters_);
  if (rule == ReshardRule::kMean) return LoadMeanWeights(by_rank, parameters_);
  steps_in_round_ = 0;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    std::copy(anchors_[i].begin(), anchors_[i].end(), parameters_[i].weights.begin());
  }
  return absl::OkStatus();
}

struct Defaults {
  std::string_view name, summary, source, inner, spec;
  uint64_t steps;
  double outer_lr;
  float momentum;
};

OptimizerMethod MethodOf(const Defaults& defaults) {
  OptimizerMethod method;
  method.info = {
      .name = std::string(defaults.name),
      .summary = std::string(defaults.summary),
      .travels = "every `steps` steps, how far the weights have moved",
      .keeps = "the inner optimizer's, v, the weights of the last exchange, a buffer",
      .source = std::string(defaults.source),
      .parameters = {{"inner", "an optimizer", std::string(defaults.inner), "what each rank steps with alone"},
                     {"steps", "1..", fmt::format("{}", defaults.steps), "inner steps between exchanges"},
                     {"outer_lr", "number in (0, 10]", FormatNumber(defaults.outer_lr),
                      "length of the step along the mean; 1 without momentum: the mean of the models"},
                     {"momentum", "number in [0, 1)", FormatNumber(defaults.momentum),
                      "Nesterov momentum of the outer step"}},
      .default_spec = std::string(defaults.spec)};
  method.parse = [info = method.info, defaults](const SpecCall& call) -> absl::StatusOr<ParsedOptimizer> {
    SpecArguments arguments(call, info.parameters);
    OuterLoopOptions options{.name = info.name, .inner = {}};
    LACONIC_ASSIGN_OR_RETURN(options.inner, ParseSpecCall(defaults.inner));
    if (const SpecCall* inner = arguments.Call("inner"); inner != nullptr) options.inner = *inner;
    options.steps =
        static_cast<uint64_t>(arguments.Integer("steps", static_cast<int64_t>(defaults.steps), 1, int64_t{1} << 40));
    options.outer_lr = arguments.Number("outer_lr", defaults.outer_lr, 1e-9, 10);
    options.momentum =
        static_cast<float>(arguments.Number("momentum", defaults.momentum, 0, std::nextafter(1.0f, 0.0f)));
    LACONIC_RETURN_IF_ERROR(arguments.Finish());
    LACONIC_ASSIGN_OR_RETURN(const auto inner, MakeOptimizer(options.inner, {}));
    return ParsedOptimizer{options.ToString(inner->ToString()),
                           [options](const OptimizerContext& context) { return OuterLoop::Create(options, context); }};
  };
  return method;
}

}  // namespace

std::vector<OptimizerMethod> OuterLoopMethods() {
  return {MethodOf({.name = "local-sgd",
                    .summary = "ranks train alone and average their models now and then",
                    .source = "Stich 2019 (arXiv 1805.09767)",
                    .inner = "sgd",
                    .spec = "",
                    .steps = 8,
                    .outer_lr = 1,
                    .momentum = 0}),
          MethodOf({.name = "diloco",
                    .summary = "ranks train alone for long; Nesterov momentum on the mean of how far they went",
                    .source = "Douillard et al. 2023 (arXiv 2311.08105)",
                    .inner = "adamw",
                    .spec = "",
                    .steps = 50,
                    .outer_lr = 0.7,
                    .momentum = 0.9f}),
          MethodOf({.name = "sparseloco",
                    .summary = "as diloco, with few entries of each chunk and a decaying error in momentum's place",
                    .source = "Sarfi et al. 2025 (arXiv 2508.15706)",
                    .inner = "adamw",
                    .spec = "topk(chunk=4096, k=64)+ef(decay=0.95)+gather",
                    .steps = 30,
                    .outer_lr = 1,
                    .momentum = 0})};
}

}  // namespace laconic
