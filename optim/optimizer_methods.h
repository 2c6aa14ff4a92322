// Private: how a named optimizer becomes a DistributedOptimizer. To add one: a function here, its file, a line in
// distributed_optimizer.cc.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "laconic/compressors/spec.h"
#include "laconic/optim/distributed_optimizer.h"

namespace laconic {

// What DistributedOptimizer::Create was given.
struct OptimizerContext {
  Communicator* comm = nullptr;
  std::span<const Parameter> parameters;
  std::string_view spec;
  const GradientSyncOptions& options;
};

struct ParsedOptimizer {
  std::string canonical;
  std::function<absl::StatusOr<std::unique_ptr<DistributedOptimizer>>(const OptimizerContext&)> make;
};

struct OptimizerMethod {
  OptimizerInfo info;
  std::function<absl::StatusOr<ParsedOptimizer>(const SpecCall&)> parse;  // of a call with this name
};

// GradientSync and then one of the elementwise optimizers, for each of these.
std::vector<OptimizerMethod> SynchronousMethods();
// local-sgd, diloco, sparseloco.
std::vector<OptimizerMethod> OuterLoopMethods();

OptimizerMethod OneBitAdamMethod();
OptimizerMethod ZeroOneAdamMethod();
OptimizerMethod OneBitLambMethod();

// How momenta of the 1-bit family travel where the user does not say.
inline constexpr std::string_view kOneBitSpec = "sign(scale=rms)+ef+scatter";

}  // namespace laconic
