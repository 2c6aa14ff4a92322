#include "laconic/optim/optimizer.h"

#include <array>
#include <limits>

#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

const std::array<ParameterInfo, 3> kSgdParameters = {{
    {"momentum", "number in [0, 1)", "0", "share of the velocity that is kept from step to step"},
    {"nesterov", "true|false", "false", "step along the velocity the next step would have"},
    {"weight_decay", "number >= 0", "0", "added to the direction, times the weight"},
}};

const std::array<ParameterInfo, 4> kAdamWParameters = {{
    {"beta1", "number in [0, 1)", "0.9", "decay of the first moment"},
    {"beta2", "number in [0, 1)", "0.999", "decay of the second moment"},
    {"eps", "number in (0, 1]", "1e-08", "added to the root of the second moment"},
    {"weight_decay", "number >= 0", "0", "decoupled: multiplied by the learning rate and the weight"},
}};

constexpr float kBelowOne = 1 - std::numeric_limits<float>::epsilon() / 2;  // stays below 1 as a float
constexpr float kAboveZero = std::numeric_limits<float>::min();
constexpr double kLargest = std::numeric_limits<float>::max();

}  // namespace

absl::StatusOr<std::unique_ptr<Optimizer>> MakeOptimizer(std::string_view spec, std::span<const Parameter> parameters) {
  LACONIC_ASSIGN_OR_RETURN(const SpecCall call, ParseSpecCall(spec));
  if (call.name == "sgd") {
    SpecArguments arguments(call, kSgdParameters);
    SgdOptions options;
    options.momentum = static_cast<float>(arguments.Number("momentum", options.momentum, 0, kBelowOne));
    static constexpr std::array<std::string_view, 2> kBooleans = {"false", "true"};
    options.nesterov = arguments.Word("nesterov", "false", kBooleans) == "true";
    options.weight_decay = static_cast<float>(arguments.Number("weight_decay", options.weight_decay, 0, kLargest));
    LACONIC_RETURN_IF_ERROR(arguments.Finish());
    return MakeSgd(options, parameters);
  }
  if (call.name == "adamw") {
    SpecArguments arguments(call, kAdamWParameters);
    AdamWOptions options;
    options.beta1 = static_cast<float>(arguments.Number("beta1", options.beta1, 0, kBelowOne));
    options.beta2 = static_cast<float>(arguments.Number("beta2", options.beta2, 0, kBelowOne));
    options.epsilon = static_cast<float>(arguments.Number("eps", options.epsilon, kAboveZero, 1));
    options.weight_decay = static_cast<float>(arguments.Number("weight_decay", options.weight_decay, 0, kLargest));
    LACONIC_RETURN_IF_ERROR(arguments.Finish());
    return MakeAdamW(options, parameters);
  }
  return SpecError(call.column, fmt::format("unknown optimizer \"{}\"; known are sgd and adamw", call.name));
}

}  // namespace laconic
