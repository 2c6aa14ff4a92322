#include "optim/freeze_rule.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic {

ParameterInfo FreezeRule::Parameter(std::string_view key) {
  return {
      std::string(key), "auto|1..", "auto",
      "steps before the second moment is frozen; auto: when it has settled, |v_t|_1 / |v_{t-1/(1-beta2)}|_1 >= 0.96"};
}

absl::StatusOr<FreezeRule> FreezeRule::Parse(SpecArguments& arguments, std::string_view key, float beta2) {
  FreezeRule rule;
  const SpecCall* given = arguments.Call(key);
  if (given != nullptr && (given->name != "auto" || !given->arguments.empty())) {
    rule.steps_ = static_cast<uint64_t>(arguments.Integer(key, 1, 1, std::numeric_limits<int64_t>::max()));
    return rule;
  }
  const double interval = std::max(1.0, std::round(1 / (1 - static_cast<double>(beta2))));
  if (interval > kMaxInterval) {
    return SpecError(given == nullptr ? 1 : given->column,
                     fmt::format("{}=auto compares steps 1/(1-beta2) = {:.0f} apart, at most {}: give a number", key,
                                 interval, kMaxInterval));
  }
  rule.norms_.resize(static_cast<size_t>(interval));
  return rule;
}

bool FreezeRule::Freezes(uint64_t step, double norm, double learning_rate) {
  if (!automatic()) return step >= steps_;
  double& slot = norms_[step % norms_.size()];
  const double before = slot;  // of step - D
  slot = norm;
  const bool rises = learning_rate > last_learning_rate_;
  last_learning_rate_ = learning_rate;
  return step > norms_.size() && !rises && norm > 0 && norm >= kRatio * before;
}

std::string FreezeRule::ToString() const { return automatic() ? "auto" : fmt::format("{}", steps_); }

void FreezeRule::Save(StateWriter& out) const {
  if (!automatic()) return;
  out.Bytes("norms", std::as_bytes(std::span(norms_)));
  out.U64("learning_rate", std::bit_cast<uint64_t>(last_learning_rate_));
}

absl::Status FreezeRule::Load(const StateReader& in) {
  if (!automatic()) return absl::OkStatus();
  LACONIC_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, in.Bytes("norms"));
  if (bytes.size() != norms_.size() * sizeof(double)) {
    return absl::DataLossError(
        fmt::format("{}norms has {} bytes, expected {}", in.prefix(), bytes.size(), norms_.size() * sizeof(double)));
  }
  LACONIC_ASSIGN_OR_RETURN(const uint64_t learning_rate, in.U64("learning_rate"));
  std::memcpy(norms_.data(), bytes.data(), bytes.size());
  last_learning_rate_ = std::bit_cast<double>(learning_rate);
  return absl::OkStatus();
}

}  // namespace laconic
