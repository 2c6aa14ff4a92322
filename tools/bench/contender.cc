#include "tools/bench/contender.h"

#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic::tools {

absl::StatusOr<Contender> MakeContender(Pattern pattern, const AskedPipeline& asked, int owners) {
  StrategySpec strategy = asked.pipeline.strategy;
  const bool unnamed = strategy.kind == StrategyKind::kAuto && !strategy.dense_allowed;
  auto refused = [&](const char* wanted) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\": this bench takes strategy {}; leave the strategy out", asked.spec, wanted));
  };
  if (pattern == Pattern::kAllgather) {
    if (unnamed) strategy = {.kind = StrategyKind::kGather};
    if (strategy.kind != StrategyKind::kGather) return refused("gather");
  }
  if (pattern == Pattern::kPs) {
    if (unnamed) strategy = {.kind = StrategyKind::kScatter, .owners = owners};
    if (strategy.kind != StrategyKind::kScatter) return refused("scatter(owners=...)");
  }
  Contender contender{.spec = asked.spec, .pipeline = asked.pipeline};
  contender.pipeline.strategy = strategy;
  return contender;
}

absl::StatusOr<Contender> MakeBaseline(Pattern pattern, int owners) {
  const std::string spec = pattern == Pattern::kAllreduce ? "dense" : "identity";
  LACONIC_ASSIGN_OR_RETURN(Pipeline pipeline, ParsePipeline(spec));
  LACONIC_ASSIGN_OR_RETURN(Contender contender,
                           MakeContender(pattern, {.spec = spec, .pipeline = std::move(pipeline)}, owners));
  contender.baseline = true;
  return contender;
}

}  // namespace laconic::tools
