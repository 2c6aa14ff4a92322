// The built-in methods, a family a file, and what their makers share.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "laconic/compressors/error_control.h"
#include "laconic/optim/federated/method.h"

namespace laconic::internal {

std::vector<FederatedMethodInfo> AveragingMethods();            // averaging.cc
std::vector<FederatedMethodInfo> ControlledAveragingMethods();  // controlled_averaging.cc
std::vector<FederatedMethodInfo> ErrorFeedbackMethods();        // error_feedback.cc

// Doubles in (0, 1] begin here.
constexpr double kSmallestPositive = 0x1p-1022;

// The numbers of error_control.h for clients that keep their state as `spec` says, on what they encode with.
// InvalidArgument with the reason, and what to take instead, after "<method> keeps its clients' state as <control>
// does: ".
absl::StatusOr<ControlOptions> ClientControl(std::string_view method, const ControlSpec& spec, const Traits& traits,
                                             std::string_view codec);

}  // namespace laconic::internal
