#include "optim/federated/plan_parts.h"

#include <cmath>
#include <utility>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/compressors/error_control.h"

namespace laconic {

std::string FederatedPlan::ToString() const {
  return fmt::format(
      "method={} uplink={} downlink={} steps={} learning_rate={} server_learning_rate={} server_optimizer={} "
      "clients={} sampled={} seed={} min_elements={} max_norm={}",
      method, uplink, downlink, work.steps, FormatNumber(work.learning_rate), FormatNumber(server_learning_rate),
      server_optimizer, clients, sampled, seed, min_elements, FormatNumber(max_norm));
}

namespace internal {
namespace {

absl::Status CheckNumbers(const FederatedPlan& plan) {
  if (plan.clients == 0) return absl::InvalidArgumentError("clients = 0: a run has at least one");
  if (plan.clients > VectorCodec::kServer) {
    return absl::InvalidArgumentError(fmt::format("clients = {}: at most {}", plan.clients, VectorCodec::kServer));
  }
  if (plan.sampled == 0 || plan.sampled > plan.clients) {
    return absl::InvalidArgumentError(
        fmt::format("sampled = {}: a round takes 1 to all {} clients", plan.sampled, plan.clients));
  }
  if (plan.work.steps == 0) return absl::InvalidArgumentError("local steps = 0: a round has at least one");
  for (const auto& [name, rate] : {std::pair{"local learning rate", plan.work.learning_rate},
                                   std::pair{"server learning rate", plan.server_learning_rate}}) {
    if (!(std::isfinite(rate) && rate > 0)) {
      return absl::InvalidArgumentError(fmt::format("{} = {} is not a number above 0", name, FormatNumber(rate)));
    }
  }
  if (!(plan.max_norm >= 0)) {
    return absl::InvalidArgumentError(fmt::format("max_norm = {} is not a number from 0 on", plan.max_norm));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PlanParts> MakePlanParts(const FederatedPlan& plan, std::span<const Parameter> parameters,
                                        std::span<const FederatedMethodInfo> methods, const CodecRegistry& registry) {
  LACONIC_RETURN_IF_ERROR(CheckNumbers(plan));
  PlanParts parts;
  auto uplink = VectorCodec::Create(plan.uplink, parameters, plan.min_elements, registry);
  if (!uplink.ok()) return Annotate(uplink.status(), "uplink");
  parts.uplink = *std::move(uplink);
  auto downlink = VectorCodec::Create(plan.downlink, parameters, plan.min_elements, registry);
  if (!downlink.ok()) return Annotate(downlink.status(), "downlink");
  parts.downlink = *std::move(downlink);
  LACONIC_ASSIGN_OR_RETURN(parts.plain, VectorCodec::Create("identity", parameters, 0, registry));
  LACONIC_ASSIGN_OR_RETURN(parts.method,
                           MakeFederatedMethod(plan.method, parts.uplink.traits(), parts.uplink.ToString(), methods));
  // Differences to a shift that is not to run away: EF21's condition.
  const auto shifts =
      ResolveControl({.method = ControlMethod::kEf21}, parts.downlink.traits(), parts.downlink.ToString());
  if (!shifts.ok()) return Annotate(shifts.status(), "downlink, whose differences are coded as ef21's");
  return parts;
}

}  // namespace internal
}  // namespace laconic
