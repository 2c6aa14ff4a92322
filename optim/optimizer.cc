#include "laconic/optim/optimizer.h"

#include <array>
#include <limits>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "laconic/base/status.h"
#include "optim/adam_parameters.h"

namespace laconic {
namespace {

constexpr float kBelowOne = 1 - std::numeric_limits<float>::epsilon() / 2;  // stays below 1 as a float
constexpr double kLargest = std::numeric_limits<float>::max();

OptimizerInfo SgdInfo() {
  return {.name = "sgd",
          .summary = "stochastic gradient descent, with momentum or Nesterov's",
          .travels = "gradients",
          .keeps = "v with momentum",
          .source = "Polyak 1964; Sutskever et al. 2013",
          .parameters = {{"momentum", "number in [0, 1)", "0", "share of the velocity that is kept from step to step"},
                         {"nesterov", "true|false", "false", "step along the velocity the next step would have"},
                         {"weight_decay", "number >= 0", "0", "added to the direction, times the weight"}}};
}

absl::StatusOr<std::unique_ptr<Optimizer>> ParseSgd(SpecArguments& arguments, std::span<const Parameter> parameters) {
  SgdOptions options;
  options.momentum = static_cast<float>(arguments.Number("momentum", options.momentum, 0, kBelowOne));
  static constexpr std::array<std::string_view, 2> kBooleans = {"false", "true"};
  options.nesterov = arguments.Word("nesterov", "false", kBooleans) == "true";
  options.weight_decay = static_cast<float>(arguments.Number("weight_decay", options.weight_decay, 0, kLargest));
  LACONIC_RETURN_IF_ERROR(arguments.Finish());
  return MakeSgd(options, parameters);
}

OptimizerInfo AdamWInfo() {
  return {.name = "adamw",
          .summary = "Adam, bias-corrected, with decoupled weight decay",
          .travels = "gradients",
          .keeps = "m, v",
          .source = "Kingma and Ba 2015; Loshchilov and Hutter 2019",
          .parameters = AdamParameters()};
}

absl::StatusOr<std::unique_ptr<Optimizer>> ParseAdamW(SpecArguments& arguments, std::span<const Parameter> parameters) {
  const AdamWOptions options = ReadAdam(arguments);
  LACONIC_RETURN_IF_ERROR(arguments.Finish());
  return MakeAdamW(options, parameters);
}

OptimizerInfo LambInfo() {
  return {.name = "lamb",
          .summary = "Adam with a step length for each tensor, a share of its norm",
          .travels = "gradients",
          .keeps = "m, v and the step",
          .source = "You et al. 2020 (arXiv 1904.00962)",
          .parameters = LambParameters()};
}

absl::StatusOr<std::unique_ptr<Optimizer>> ParseLamb(SpecArguments& arguments, std::span<const Parameter> parameters) {
  const LambOptions options = ReadLamb(arguments);
  LACONIC_RETURN_IF_ERROR(arguments.Finish());
  return MakeLamb(options, parameters);
}

}  // namespace

std::span<const OptimizerInfo> ElementwiseOptimizers() {
  static const auto* const infos = new std::vector<OptimizerInfo>{SgdInfo(), AdamWInfo(), LambInfo()};
  return *infos;
}

absl::StatusOr<std::unique_ptr<Optimizer>> MakeOptimizer(const SpecCall& call, std::span<const Parameter> parameters) {
  std::vector<std::string_view> names;
  for (const OptimizerInfo& info : ElementwiseOptimizers()) {
    names.push_back(info.name);
    if (info.name != call.name) continue;
    SpecArguments arguments(call, info.parameters);
    if (call.name == "sgd") return ParseSgd(arguments, parameters);
    if (call.name == "adamw") return ParseAdamW(arguments, parameters);
    return ParseLamb(arguments, parameters);
  }
  return SpecError(call.column,
                   fmt::format("unknown optimizer \"{}\"; known are {}", call.name, fmt::join(names, ", ")));
}

absl::StatusOr<std::unique_ptr<Optimizer>> MakeOptimizer(std::string_view spec, std::span<const Parameter> parameters) {
  LACONIC_ASSIGN_OR_RETURN(const SpecCall call, ParseSpecCall(spec));
  return MakeOptimizer(call, parameters);
}

}  // namespace laconic
