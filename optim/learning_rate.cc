#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/optim/optimizer.h"
#include "optim/integer_power.h"

namespace laconic {
namespace {

constexpr int64_t kMostSteps = int64_t{1} << 53;  // exact as a double

const ParameterInfo kWarmup = {"warmup", "steps", "0", "linear from 0: step t of the warm-up has base * (t+1)/warmup"};
const ParameterInfo kTotal = {"total", "steps, 1..", "", "the step at which the final rate is reached"};
const ParameterInfo kFinal = {"final", "number >= 0", "0", "the learning rate at the end"};

const std::array<ParameterInfo, 1> kConstantParameters = {kWarmup};
const std::array<ParameterInfo, 3> kStepParameters = {{
    {"every", "steps, 1..", "", "steps between two reductions"},
    {"factor", "number > 0", "0.1", "what the rate is multiplied by each time"},
    kWarmup,
}};
const std::array<ParameterInfo, 3> kDecayParameters = {kTotal, kFinal, kWarmup};

}  // namespace

absl::StatusOr<LearningRateSchedule> LearningRateSchedule::Parse(std::string_view spec, double base) {
  if (!(base > 0) || !std::isfinite(base)) {
    return absl::InvalidArgumentError(fmt::format("learning rate {} is not a number above 0", base));
  }
  LACONIC_ASSIGN_OR_RETURN(const SpecCall call, ParseSpecCall(spec));
  LearningRateSchedule schedule;
  schedule.base_ = base;
  std::span<const ParameterInfo> accepted;
  if (call.name == "constant") {
    schedule.kind_ = Kind::kConstant;
    accepted = kConstantParameters;
  } else if (call.name == "step") {
    schedule.kind_ = Kind::kStep;
    accepted = kStepParameters;
  } else if (call.name == "linear" || call.name == "cosine") {
    schedule.kind_ = call.name == "linear" ? Kind::kLinear : Kind::kCosine;
    accepted = kDecayParameters;
  } else {
    return SpecError(call.column, fmt::format("unknown learning-rate schedule \"{}\"; known are constant, step, linear "
                                              "and cosine",
                                              call.name));
  }

  SpecArguments arguments(call, accepted);
  schedule.warmup_ = static_cast<uint64_t>(arguments.Integer("warmup", 0, 0, kMostSteps));
  std::string_view required;
  if (schedule.kind_ == Kind::kStep) {
    required = "every";
    schedule.every_ = static_cast<uint64_t>(arguments.Integer("every", 1, 1, kMostSteps));
    schedule.factor_ = arguments.Number("factor", 0.1, std::numeric_limits<double>::min(), 1e6);
  } else if (schedule.kind_ != Kind::kConstant) {
    required = "total";
    schedule.total_ = static_cast<uint64_t>(arguments.Integer("total", 1, 1, kMostSteps));
    schedule.final_ = arguments.Number("final", 0, 0, std::numeric_limits<double>::max());
  }
  LACONIC_RETURN_IF_ERROR(arguments.Finish());
  if (!required.empty() && !arguments.Has(required)) {
    return SpecError(call.column, fmt::format("{} needs {}=<steps>", call.name, required));
  }
  if (required == "total" && schedule.warmup_ >= schedule.total_) {
    return SpecError(call.column, fmt::format("warmup={} leaves nothing of total={} steps for {}", schedule.warmup_,
                                              schedule.total_, call.name));
  }
  return schedule;
}

double LearningRateSchedule::At(uint64_t step) const {
  if (step < warmup_) return base_ * (static_cast<double>(step + 1) / static_cast<double>(warmup_));
  if (kind_ == Kind::kConstant) return base_;
  if (kind_ == Kind::kStep) return base_ * internal::IntegerPower(factor_, step / every_);

  const uint64_t done = std::min(step, total_) - warmup_, span = total_ - warmup_;
  const double progress = static_cast<double>(done) / static_cast<double>(span);
  const double share = kind_ == Kind::kLinear ? 1 - progress : 0.5 * (1 + std::cos(std::numbers::pi * progress));
  return final_ + (base_ - final_) * share;
}

std::string LearningRateSchedule::ToString() const {
  const std::string tail = warmup_ > 0 ? fmt::format("warmup={}", warmup_) : "";
  const std::string_view comma = tail.empty() ? "" : ", ";
  switch (kind_) {
    case Kind::kConstant:
      return tail.empty() ? "constant" : fmt::format("constant({})", tail);
    case Kind::kStep:
      return fmt::format("step(every={}, factor={}{}{})", every_, FormatNumber(factor_), comma, tail);
    case Kind::kLinear:
    case Kind::kCosine:
      break;
  }
  return fmt::format("{}(total={}, final={}{}{})", kind_ == Kind::kLinear ? "linear" : "cosine", total_,
                     FormatNumber(final_), comma, tail);
}

}  // namespace laconic
