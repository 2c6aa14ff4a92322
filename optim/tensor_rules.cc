#include "optim/tensor_rules.h"

#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic {

absl::StatusOr<std::vector<TensorRule>> MatchRules(std::span<const SpecRule> rules, const CodecRegistry& registry,
                                                   std::span<const Parameter> parameters, size_t min_bytes) {
  constexpr int kDenseGroup = -1;
  std::vector<std::shared_ptr<const Pipeline>> pipelines;
  for (const SpecRule& rule : rules) {
    LACONIC_ASSIGN_OR_RETURN(Pipeline pipeline, MakePipeline(rule.pipeline, registry));
    pipelines.push_back(std::make_shared<const Pipeline>(std::move(pipeline)));
  }
  Pipeline dense{.strategy = {.kind = StrategyKind::kDense}};
  LACONIC_ASSIGN_OR_RETURN(dense.codec, registry.Create("identity"));
  const auto shared_dense = std::make_shared<const Pipeline>(std::move(dense));

  std::vector<TensorRule> matched;
  for (const Parameter& parameter : parameters) {
    size_t r = 0;
    while (r < rules.size() && !MatchesPattern(rules[r].pattern, parameter.name)) ++r;
    if (r == rules.size()) {
      return absl::InvalidArgumentError(
          fmt::format("no rule of the spec matches tensor {}; end the spec with \"; *: dense\"", parameter.name));
    }
    const bool goes_dense = pipelines[r]->dense() || 4 * parameter.gradient.size() < min_bytes ||
                            !pipelines[r]->codec->Supports(parameter.shape).ok();
    matched.push_back(goes_dense ? TensorRule{shared_dense, kDenseGroup}
                                 : TensorRule{pipelines[r], static_cast<int>(r)});
  }
  return matched;
}

}  // namespace laconic
