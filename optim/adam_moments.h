// Private: Adam's two moments of each tensor, as optimizers that step alike on all ranks keep and save them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "laconic/base/state.h"
#include "laconic/base/status.h"
#include "laconic/optim/parameter.h"

namespace laconic::internal {

struct AdamMoments {
  std::string name;    // of the tensor
  uint64_t steps = 0;  // t of the bias correction: steps made, so a skipped step does not count
  std::vector<float> first, second;
};

// By TensorId, all zero.
inline std::vector<AdamMoments> MakeMoments(std::span<const Parameter> parameters) {
  std::vector<AdamMoments> all;
  for (const Parameter& parameter : parameters) {
    const size_t elements = parameter.shape.elements();
    all.push_back({parameter.name, 0, std::vector<float>(elements), std::vector<float>(elements)});
  }
  return all;
}

// "<tensor>/steps", "<tensor>/first_moment", "<tensor>/second_moment".
inline void SaveMoments(std::span<const AdamMoments> all, StateWriter& out) {
  for (const AdamMoments& moments : all) {
    StateWriter scope = out.Scope(moments.name);
    scope.U64("steps", moments.steps);
    scope.Floats("first_moment", moments.first);
    scope.Floats("second_moment", moments.second);
  }
}
inline absl::Status LoadMoments(const StateReader& in, std::span<AdamMoments> all) {
  for (AdamMoments& moments : all) {
    const StateReader scope = in.Scope(moments.name);
    LACONIC_ASSIGN_OR_RETURN(moments.steps, scope.U64("steps"));
    LACONIC_RETURN_IF_ERROR(scope.Floats("first_moment", moments.first));
    LACONIC_RETURN_IF_ERROR(scope.Floats("second_moment", moments.second));
  }
  return absl::OkStatus();
}

}  // namespace laconic::internal
