// Private: what 1-bit Adam and 1-bit LAMB share. Until a rule freezes the second moment v, gradients travel
// uncompressed; from then on the ranks' momenta, compressed (momentum_message.h), along the frozen v.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "laconic/base/aligned.h"
#include "laconic/optim/distributed_optimizer.h"
#include "optim/adam_step.h"
#include "optim/freeze_rule.h"
#include "optim/momentum_message.h"
#include "optim/phased_sync.h"

namespace laconic {

// A method says how weights move in either phase, and what else it keeps.
class FrozenVarianceOptimizer : public DistributedOptimizer {
 public:
  void Begin(const StepContext& step) override;
  void MarkReady(TensorId id) override;
  absl::Status Finish() override;
  const StepReport& report() const override { return sync_->report(); }
  std::string Describe() const override;
  void Save(StateWriter& out) const override;
  absl::Status Load(std::span<const StateReader> by_rank, ReshardRule rule) override;

 protected:
  struct Settings {
    AdamWOptions adam;
    AdamForm form = AdamForm::kAdamW;
    AdamSpace space = AdamSpace::kStep;
    FreezeRule freeze;
    std::string text;  // the optimizer, canonically
  };
  FrozenVarianceOptimizer(const Settings& settings, std::unique_ptr<PhasedSync> sync);

  // Of a step that succeeded on all ranks, once for each tensor. The first moves m, v and the weights along
  // sync().direction(id), a gradient; the second m and the weights along it, a momentum.
  virtual void MoveAlongGradient(TensorId id, const internal::AdamCorrection& correction) = 0;
  virtual void MoveAlongMomentum(TensorId id, const internal::AdamCorrection& frozen) = 0;
  // v has just been frozen.
  virtual void OnFreeze() {}
  // State beyond m and v, which is equal on all ranks.
  virtual void SaveMore(StateWriter&) const {}
  virtual absl::Status LoadMore(const StateReader&) { return absl::OkStatus(); }

  const AdamWOptions& adam() const { return settings_.adam; }
  PhasedSync& sync() { return *sync_; }
  std::span<const Parameter> parameters() const { return sync_->parameters(); }
  std::span<float> first(TensorId id) { return first_[Index(id)]; }    // m
  std::span<float> second(TensorId id) { return second_[Index(id)]; }  // v
  uint64_t steps() const { return steps_; }                            // made, so a skipped step does not count
  uint64_t frozen_at() const { return frozen_at_; }                    // F; 0: not yet
  // The m that a compressed step's direction stands for, element i of tensor `id`.
  float TakeMomentum(float mean, float v, const internal::AdamCorrection& frozen) const {
    return internal::TakeMomentum(settings_.space, mean, v, internal::Denominator(v, frozen, adam().epsilon));
  }

 private:
  bool frozen() const { return frozen_at_ > 0; }
  // Of m after `steps_` steps and of the v of step F, or of this one before that.
  internal::AdamCorrection Correction() const {
    return internal::AdamCorrection::After(settings_.form, settings_.adam, steps_, frozen() ? frozen_at_ : steps_);
  }
  // What this rank would make of the momentum; m itself moves only when the step has succeeded on all ranks.
  void FillCandidate(TensorId id);
  bool Freezes(const internal::AdamCorrection& correction);

  const Settings settings_;
  FreezeRule freeze_;
  std::unique_ptr<PhasedSync> sync_;
  std::vector<AlignedVector<float>> first_, second_;  // by TensorId
  uint64_t steps_ = 0;
  uint64_t frozen_at_ = 0;
};

}  // namespace laconic
