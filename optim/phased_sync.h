// Private: what methods with phases share. In each step either the gradients travel, uncompressed, or buffers that the
// method fills, compressed by the spec, or nothing.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/base/aligned.h"
#include "optim/gradient_clip.h"
#include "optim/local_step.h"
#include "optim/optimizer_methods.h"

namespace laconic {

// A step: Begin, MarkReady of each tensor, Finish; then direction() if it was not skipped. Keeps one float an element,
// the buffer, beside what GradientSync keeps twice. One thread at a time.
class PhasedSync {
 public:
  // Fills buffer(id) from the tensor's gradient, which is finite or, under NonFinitePolicy::kSkip and kFail, for
  // GradientSync to find fault with.
  using Fill = absl::FunctionRef<void(TensorId id)>;
  enum class Travels { kGradients, kBuffers, kNothing };

  // Two GradientSyncs, of gradients by "dense" and of buffers by the context's spec. InvalidArgument where options ask
  // for a dense warm-up: the methods have one of their own.
  static absl::StatusOr<std::unique_ptr<PhasedSync>> Create(const OptimizerContext& context);

  // phase: a literal; for the report.
  void Begin(const StepContext& step, Travels travels, std::string_view phase);
  // Where buffers travel, calls fill(id): the same in MarkReady and Finish of one step.
  void MarkReady(TensorId id, Fill fill);
  // Where gradients are clipped, the same rule holds whatever travels: by the root mean square over ranks of their
  // norms; where nothing does, this rank is alone with clipping and non-finite policy (local_step.h).
  absl::Status Finish(Fill fill);

  std::span<float> buffer(TensorId id) { return buffers_[Index(id)]; }
  // Of the last step, gradients or buffers.
  std::span<const float> direction(TensorId id) const {
    return travels_ == Travels::kGradients ? dense_->direction(id) : compressed_->direction(id);
  }
  std::span<const Parameter> parameters() const { return parameters_; }
  uint32_t tensors() const { return static_cast<uint32_t>(parameters_.size()); }
  const StepContext& step() const { return step_; }
  int ranks() const { return comm_->size(); }
  int rank() const { return comm_->rank(); }
  const StepReport& report() const { return report_; }
  // How the gradients and how the buffers travel.
  std::string Describe() const;

  // Errors and shifts to zero: what the buffers hold is of another kind from now on.
  void ResetState() { compressed_->ResetState(); }
  // Of the compressed exchange; the other has none.
  void Save(StateWriter& out) const { compressed_->Save(out); }
  absl::Status Load(std::span<const StateReader> by_rank, ReshardRule rule) { return compressed_->Load(by_rank, rule); }

 private:
  PhasedSync(const OptimizerContext& context, std::unique_ptr<Communicator> comm);
  void Inspect(TensorId id);  // zeroes elements that are not finite, where the policy says so

  const std::vector<Parameter> parameters_;
  const GradientSyncOptions options_;
  std::unique_ptr<Communicator> comm_;  // for clipping, and what ends the others
  std::vector<AlignedVector<float>> buffers_;
  std::unique_ptr<GradientSync> dense_, compressed_;
  LocalStep alone_;
  GradientClip clip_;
  std::vector<std::span<float>> gradients_;  // by TensorId
  std::vector<bool> ready_;                  // where buffers travel: filled and sent
  StepContext step_;
  Travels travels_ = Travels::kGradients;
  std::string_view phase_;
  uint64_t zeroed_ = 0;
  Traffic traffic_at_begin_;
  StepReport report_;
};

}  // namespace laconic
