// Which pipeline each tensor takes, from the rules of a spec.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "laconic/comm/collectives/pipeline.h"
#include "laconic/optim/parameter.h"

namespace laconic {

struct TensorRule {
  std::shared_ptr<const Pipeline> pipeline;
  int group = 0;  // equal for tensors of one rule that share a strategy; dense tensors are one group whatever rule they
                  // fell from
};

// For each parameter the first rule whose pattern matches its name. Tensors under `min_bytes`, and those the rule's
// codec does not support (a vector under low-rank), go dense. InvalidArgument when no rule matches a tensor (names it:
// end the spec with "*: dense"), or a rule is bad.
absl::StatusOr<std::vector<TensorRule>> MatchRules(std::span<const SpecRule> rules, const CodecRegistry& registry,
                                                   std::span<const Parameter> parameters, size_t min_bytes);

}  // namespace laconic
