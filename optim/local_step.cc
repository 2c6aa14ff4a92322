#include "optim/local_step.h"

#include <algorithm>
#include <cmath>

#include "fmt/format.h"

namespace laconic {
namespace {

bool IsFinite(float value) { return std::isfinite(value); }

}  // namespace

LocalStep::LocalStep(Communicator* comm, std::span<const Parameter> parameters, const GradientSyncOptions& options)
    : comm_(comm),
      parameters_(parameters.begin(), parameters.end()),
      non_finite_(options.non_finite),
      clip_(options.clip_norm, comm->size()) {
  for (const Parameter& parameter : parameters_) gradients_.push_back(parameter.gradient);
}

absl::Status LocalStep::Finish(const StepContext& step, StepReport& report) {
  report.step = step.step;
  for (size_t i = 0; i < gradients_.size(); ++i) {
    const std::span<float> gradient = gradients_[i];
    report.logical_bytes += 4 * gradient.size();
    if (non_finite_ == NonFinitePolicy::kZero) report.zeroed_elements += Zero(gradient);
    const auto bad = std::find_if_not(gradient.begin(), gradient.end(), IsFinite);
    if (bad == gradient.end() || report.skipped) continue;
    report.skipped = true;
    report.skip_reason = fmt::format("step {}: gradient of tensor {} on rank {} is {} at index {}", step.step,
                                     parameters_[i].name, comm_->rank(), *bad, bad - gradient.begin());
  }
  const uint64_t n = comm_->size();
  report.dense_wire_bytes = 2 * (n - 1) * report.logical_bytes / n;
  if (report.skipped && non_finite_ == NonFinitePolicy::kFail) {
    const absl::Status failed = absl::InvalidArgumentError(report.skip_reason);
    comm_->Abort(failed);
    return failed;
  }
  if (!report.skipped && clip_.active()) clip_.ApplyAlone(gradients_);
  return absl::OkStatus();
}

// How many elements were not finite.
uint64_t LocalStep::Zero(std::span<float> gradient) const {
  uint64_t zeroed = 0;
  for (float& value : gradient) {
    if (IsFinite(value)) continue;
    value = 0;
    ++zeroed;
  }
  return zeroed;
}

}  // namespace laconic
