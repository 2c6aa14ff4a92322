// What both sides make of a FederatedPlan.
#pragma once

#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "laconic/optim/federated/federation.h"

namespace laconic::internal {

struct PlanParts {
  VectorCodec uplink, downlink, plain;  // plain: every tensor as it is
  std::unique_ptr<FederatedMethod> method;

  // The vectors of a broadcast: the model and what the method adds.
  size_t broadcast_vectors() const { return 1 + method->broadcast_vectors(); }
};

// InvalidArgument naming the plan's field.
absl::StatusOr<PlanParts> MakePlanParts(const FederatedPlan& plan, std::span<const Parameter> parameters,
                                        std::span<const FederatedMethodInfo> methods, const CodecRegistry& registry);

}  // namespace laconic::internal
