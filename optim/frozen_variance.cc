#include "optim/frozen_variance.h"

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "optim/weights_state.h"

namespace laconic {

FrozenVarianceOptimizer::FrozenVarianceOptimizer(const Settings& settings, std::unique_ptr<PhasedSync> sync)
    : settings_(settings), freeze_(settings.freeze), sync_(std::move(sync)) {
  for (const Parameter& parameter : parameters()) {
    first_.emplace_back(parameter.shape.elements());
    second_.emplace_back(parameter.shape.elements());
  }
}

void FrozenVarianceOptimizer::Begin(const StepContext& step) {
  if (frozen()) {
    sync_->Begin(step, PhasedSync::Travels::kBuffers, "compressed");
  } else {
    sync_->Begin(step, PhasedSync::Travels::kGradients, "warm-up");
  }
}

void FrozenVarianceOptimizer::MarkReady(TensorId id) {
  sync_->MarkReady(id, [this](TensorId ready) { FillCandidate(ready); });
}

absl::Status FrozenVarianceOptimizer::Finish() {
  LACONIC_RETURN_IF_ERROR(sync_->Finish([this](TensorId ready) { FillCandidate(ready); }));
  if (report().skipped) return absl::OkStatus();
  ++steps_;
  const internal::AdamCorrection correction = Correction();
  for (uint32_t t = 0; t < sync_->tensors(); ++t) {
    frozen() ? MoveAlongMomentum(TensorId{t}, correction) : MoveAlongGradient(TensorId{t}, correction);
  }
  if (!frozen() && Freezes(correction)) {
    frozen_at_ = steps_;
    OnFreeze();
  }
  return absl::OkStatus();
}

bool FrozenVarianceOptimizer::Freezes(const internal::AdamCorrection& correction) {
  double norm = 0;
  if (freeze_.automatic()) {
    for (const AlignedVector<float>& second : second_) {
      for (const float v : second) norm += v;
    }
  }
  return freeze_.Freezes(steps_, norm * correction.second, sync_->step().learning_rate);
}

void FrozenVarianceOptimizer::FillCandidate(TensorId id) {
  internal::FillMomentum(settings_.space, settings_.adam, Correction(), parameters()[Index(id)].gradient,
                         first_[Index(id)], second_[Index(id)], sync_->buffer(id));
}

std::string FrozenVarianceOptimizer::Describe() const {
  return fmt::format("optimizer {}\n{}\n{}", settings_.text,
                     frozen() ? fmt::format("compressed since step {}", frozen_at_) : "in warm-up", sync_->Describe());
}

void FrozenVarianceOptimizer::Save(StateWriter& out) const {
  SaveWeights(parameters(), out);
  StateWriter optimizer = out.Scope("optimizer");
  optimizer.U64("steps", steps_);
  optimizer.U64("frozen_at", frozen_at_);
  StateWriter freeze = optimizer.Scope("freeze");
  freeze_.Save(freeze);
  SaveFloats(parameters(), "first_moment", first_, optimizer);
  SaveFloats(parameters(), "second_moment", second_, optimizer);
  SaveMore(optimizer);
  StateWriter sync = out.Scope("sync");
  sync_->Save(sync);
}

absl::Status FrozenVarianceOptimizer::Load(std::span<const StateReader> by_rank, ReshardRule rule) {
  LACONIC_RETURN_IF_ERROR(sync_->Load(Scopes(by_rank, "sync"), rule));
  // All of the rest is equal on all ranks.
  LACONIC_RETURN_IF_ERROR(LoadWeights(by_rank.front(), parameters()));
  const StateReader optimizer = by_rank.front().Scope("optimizer");
  LACONIC_ASSIGN_OR_RETURN(steps_, optimizer.U64("steps"));
  LACONIC_ASSIGN_OR_RETURN(frozen_at_, optimizer.U64("frozen_at"));
  LACONIC_RETURN_IF_ERROR(freeze_.Load(optimizer.Scope("freeze")));
  LACONIC_RETURN_IF_ERROR(LoadFloats(optimizer, "first_moment", parameters(), first_));
  LACONIC_RETURN_IF_ERROR(LoadFloats(optimizer, "second_moment", parameters(), second_));
  return LoadMore(optimizer);
}

}  // namespace laconic
