#include "optim/phased_sync.h"

#include <cmath>

#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

GradientSyncOptions InnerOptions(GradientSyncOptions options, bool clips) {
  if (!clips) options.clip_norm = 0;
  return options;
}

}  // namespace

PhasedSync::PhasedSync(const OptimizerContext& context, std::unique_ptr<Communicator> comm)
    : parameters_(context.parameters.begin(), context.parameters.end()),
      options_(context.options),
      comm_(std::move(comm)),
      alone_(comm_.get(), context.parameters, context.options),
      clip_(context.options.clip_norm, comm_->size()),
      ready_(context.parameters.size()) {
  for (const Parameter& parameter : parameters_) {
    buffers_.emplace_back(parameter.shape.elements());
    gradients_.push_back(parameter.gradient);
  }
}

absl::StatusOr<std::unique_ptr<PhasedSync>> PhasedSync::Create(const OptimizerContext& context) {
  if (context.options.dense_warmup_steps > 0) {
    return absl::InvalidArgumentError(
        fmt::format("dense_warmup_steps = {}: this optimizer has a warm-up of its own, whose length is a parameter of "
                    "the optimizer",
                    context.options.dense_warmup_steps));
  }
  LACONIC_ASSIGN_OR_RETURN(std::unique_ptr<Communicator> comm, context.comm->Duplicate());
  std::unique_ptr<PhasedSync> sync(new PhasedSync(context, std::move(comm)));
  LACONIC_ASSIGN_OR_RETURN(sync->dense_, GradientSync::Create(context.comm, sync->parameters_, "dense",
                                                              InnerOptions(context.options, /*clips=*/true)));
  std::vector<Parameter> buffers = sync->parameters_;
  for (size_t i = 0; i < buffers.size(); ++i) buffers[i].gradient = sync->buffers_[i];
  LACONIC_ASSIGN_OR_RETURN(sync->compressed_, GradientSync::Create(context.comm, buffers, context.spec,
                                                                   InnerOptions(context.options, /*clips=*/false)));
  return sync;
}

void PhasedSync::Begin(const StepContext& step, Travels travels, std::string_view phase) {
  step_ = step;
  travels_ = travels;
  phase_ = phase;
  zeroed_ = 0;
  traffic_at_begin_ = comm_->traffic();
  std::fill(ready_.begin(), ready_.end(), false);
  if (travels == Travels::kGradients) dense_->Begin(step);
  if (travels == Travels::kBuffers) compressed_->Begin(step);
}

void PhasedSync::MarkReady(TensorId id, Fill fill) {
  if (travels_ == Travels::kGradients) return dense_->MarkReady(id);
  if (travels_ == Travels::kNothing || ready_[Index(id)] || clip_.active()) return;  // the norm needs all tensors
  ready_[Index(id)] = true;
  Inspect(id);
  fill(id);
  compressed_->MarkReady(id);
}

absl::Status PhasedSync::Finish(Fill fill) {
  absl::Status status;
  if (travels_ == Travels::kGradients) {
    status = dense_->Finish();
    report_ = dense_->report();
  } else if (travels_ == Travels::kNothing) {
    report_ = {};
    status = alone_.Finish(step_, report_);
  } else {
    if (clip_.active()) status = clip_.Apply(*comm_, step_.step, gradients_);
    for (uint32_t i = 0; i < tensors() && status.ok(); ++i) {
      if (ready_[i]) continue;
      Inspect(TensorId{i});
      fill(TensorId{i});
      compressed_->MarkReady(TensorId{i});
    }
    if (absl::Status finished = compressed_->Finish(); status.ok()) status = finished;
    report_ = compressed_->report();
    const Traffic& traffic = comm_->traffic();
    report_.wire_bytes_sent += traffic.bytes_sent - traffic_at_begin_.bytes_sent;
    report_.wire_bytes_received += traffic.bytes_received - traffic_at_begin_.bytes_received;
    report_.zeroed_elements += zeroed_;
  }
  report_.phase = phase_;
  return status;
}

void PhasedSync::Inspect(TensorId id) {
  if (options_.non_finite != NonFinitePolicy::kZero) return;
  for (float& value : gradients_[Index(id)]) {
    if (std::isfinite(value)) continue;
    value = 0;
    ++zeroed_;
  }
}

std::string PhasedSync::Describe() const {
  return fmt::format("uncompressed: {}compressed: {}", dense_->Describe(), compressed_->Describe());
}

}  // namespace laconic
