#include "laconic/optim/distributed_optimizer.h"

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/agreement.h"
#include "optim/optimizer_methods.h"

namespace laconic {
namespace {

const std::vector<OptimizerMethod>& Methods() {
  static const auto* const methods = [] {
    auto* all = new std::vector<OptimizerMethod>(SynchronousMethods());
    for (OptimizerMethod& method : OuterLoopMethods()) all->push_back(std::move(method));
    for (const auto& method : {OneBitAdamMethod, ZeroOneAdamMethod, OneBitLambMethod}) all->push_back(method());
    return all;
  }();
  return *methods;
}

absl::StatusOr<const OptimizerMethod*> Find(const SpecCall& call) {
  for (const OptimizerMethod& method : Methods()) {
    if (method.info.name == call.name) return &method;
  }
  std::vector<std::string_view> names;
  for (const OptimizerMethod& method : Methods()) names.push_back(method.info.name);
  return SpecError(call.column,
                   fmt::format("unknown optimizer \"{}\"; known are {}", call.name, fmt::join(names, ", ")));
}

absl::StatusOr<ParsedOptimizer> Parse(const SpecCall& call) {
  LACONIC_ASSIGN_OR_RETURN(const OptimizerMethod* method, Find(call));
  return method->parse(call);
}

absl::Status CheckWeights(std::span<const Parameter> parameters) {
  for (const Parameter& parameter : parameters) {
    if (parameter.weights.size() == parameter.shape.elements()) continue;
    return absl::InvalidArgumentError(fmt::format("{} has {} weights, its shape {} {}", parameter.name,
                                                  parameter.weights.size(), parameter.shape.ToString(),
                                                  parameter.shape.elements()));
  }
  return absl::OkStatus();
}

}  // namespace

std::span<const OptimizerInfo> OptimizerTable() {
  static const auto* const table = [] {
    auto* infos = new std::vector<OptimizerInfo>();
    for (const OptimizerMethod& method : Methods()) infos->push_back(method.info);
    return infos;
  }();
  return *table;
}

absl::StatusOr<std::string> CanonicalOptimizer(std::string_view optimizer) {
  LACONIC_ASSIGN_OR_RETURN(const SpecCall call, ParseSpecCall(optimizer));
  LACONIC_ASSIGN_OR_RETURN(ParsedOptimizer parsed, Parse(call));
  return std::move(parsed.canonical);
}

absl::StatusOr<std::string> DefaultSpec(std::string_view optimizer) {
  LACONIC_ASSIGN_OR_RETURN(const SpecCall call, ParseSpecCall(optimizer));
  LACONIC_ASSIGN_OR_RETURN(const OptimizerMethod* method, Find(call));
  return method->info.default_spec;
}

absl::StatusOr<std::unique_ptr<DistributedOptimizer>> DistributedOptimizer::Create(
    Communicator* comm, std::span<const Parameter> parameters, std::string_view optimizer, std::string_view spec,
    const GradientSyncOptions& options) {
  LACONIC_ASSIGN_OR_RETURN(const SpecCall call, ParseSpecCall(optimizer));
  LACONIC_ASSIGN_OR_RETURN(const ParsedOptimizer parsed, Parse(call));
  LACONIC_RETURN_IF_ERROR(CheckWeights(parameters));
  const std::vector<AgreedFact> facts = {{"optimizer", parsed.canonical}};
  LACONIC_RETURN_IF_ERROR(AgreeOn(*comm, facts));
  return parsed.make({.comm = comm, .parameters = parameters, .spec = spec, .options = options});
}

}  // namespace laconic
