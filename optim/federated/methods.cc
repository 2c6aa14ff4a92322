#include <vector>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "laconic/base/status.h"
#include "optim/federated/families.h"

namespace laconic {

absl::StatusOr<ControlOptions> internal::ClientControl(std::string_view method, const ControlSpec& spec,
                                                       const Traits& traits, std::string_view codec) {
  absl::StatusOr<ControlOptions> options = ResolveControl(spec, traits, codec);
  const std::string_view control = ControlTable()[static_cast<size_t>(spec.method)].name;
  if (options.ok() || control == method) return options;
  return Annotate(options.status(), fmt::format("{} keeps its clients' state as {} does", method, control));
}

std::span<const FederatedMethodInfo> BuiltInFederatedMethods() {
  static const auto* const methods = [] {
    auto* all = new std::vector<FederatedMethodInfo>;
    for (auto family :
         {internal::AveragingMethods, internal::ControlledAveragingMethods, internal::ErrorFeedbackMethods}) {
      for (FederatedMethodInfo& info : family()) all->push_back(std::move(info));
    }
    return all;
  }();
  return *methods;
}

absl::StatusOr<std::unique_ptr<FederatedMethod>> MakeFederatedMethod(std::string_view spec, const Traits& traits,
                                                                     std::string_view codec,
                                                                     std::span<const FederatedMethodInfo> methods) {
  LACONIC_ASSIGN_OR_RETURN(const SpecCall call, ParseSpecCall(spec));
  std::vector<std::string_view> names;
  for (const FederatedMethodInfo& info : methods) {
    if (info.name == call.name) return info.make(call, traits, codec);
    names.push_back(info.name);
  }
  return SpecError(call.column,
                   fmt::format("unknown federated method \"{}\"; known are {}", call.name, fmt::join(names, ", ")));
}

}  // namespace laconic
