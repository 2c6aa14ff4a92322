// codec + error control + strategy, as one spec pipeline says it: "topk(ratio=0.01)+econtrol+gather"; and, if wanted, a
// lossless stage behind the codec: "cast(to=bf16)+entropy".
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/compressors/adaptive.h"
#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/error_control.h"
#include "laconic/compressors/spec.h"

namespace laconic {

enum class StrategyKind {
  kAuto,          // the least estimated time, dense included
  kDense,         // ring or halving-doubling of float32
  kGather,        // allgather of payloads; every rank decodes all, in rank order: any codec
  kScatter,       // two-phase: all-to-all of encoded shards, the owner averages, re-encodes with its own error control,
                  // allgather; few owners make it the parameter-server pattern
  kLinear,        // sums rounds of floats that the codec produces: linear codecs
  kHierarchical,  // dense inside a node, another strategy between nodes
};

struct StrategySpec {
  // Without a strategy in the spec the codec's best compressed one is taken, never dense: who asks for a codec gets it.
  StrategyKind kind = StrategyKind::kAuto;
  bool dense_allowed = false;                 // `auto` in the spec sets it
  StrategyKind across = StrategyKind::kAuto;  // hierarchical: between nodes
  int ranks_per_node = 0;                     // hierarchical: consecutive ranks that form a node; 0: those on one host
  int owners = 0;                             // scatter: the first ranks that own shards; 0: all
  std::shared_ptr<const Compressor> down;     // scatter: what owners encode with; null: the ranks' codec
  OwnerSends reply = OwnerSends::kMean;       // scatter: what owners encode

  // Canonical: "hierarchical(local=2, across=gather)", "scatter(owners=1, down=topk(ratio=0.02, values=fp32))".
  std::string ToString() const;
};

struct StrategyInfo {
  StrategyKind kind{};
  std::string name;
  std::string summary;
  std::string bytes;  // sent per rank, n ranks, payload of b bytes for d elements
  std::vector<ParameterInfo> parameters;
};
std::span<const StrategyInfo> StrategyTable();
const StrategyInfo* FindStrategy(std::string_view name);
std::string_view StrategyName(StrategyKind kind);

struct Pipeline {
  std::shared_ptr<const Compressor> codec;  // under adaptive(...) that of the uniform setting
  std::optional<AdaptiveSpec> adaptive;     // each tensor takes its own codec of a family (GradientSync sees to it)
  // Where the spec has a lossless stage, "+entropy": what it says, canonically, and the codec without it. MakeStrategy
  // leaves the stage out where it does not pay on the given link (EntropyPays in cost_model.h); entropy(...) as a codec
  // always stays.
  std::string entropy;
  std::shared_ptr<const Compressor> plain_codec;
  ControlSpec control;
  StrategySpec strategy;

  bool has_entropy() const { return plain_codec != nullptr; }
  Pipeline WithoutEntropy() const;
  bool dense() const { return strategy.kind == StrategyKind::kDense; }
  std::string ToString() const;  // canonical, all parts: "topk(ratio=0.01, values=fp32)+entropy+econtrol+gather"
};

// A rule's calls, in any order, at most one of each kind. Defaults: codec identity; control econtrol where the codec is
// contractive and not unbiased, ef where it is not but claims max_norm_delta (error feedback is never silently absent),
// else none; strategy: best compressed. "dense"
// stands alone or with identity. InvalidArgument with column for unknown names (lists codecs, controls, strategies) and
// for two of a kind.
absl::StatusOr<Pipeline> MakePipeline(std::span<const SpecCall> calls, const CodecRegistry& registry);

}  // namespace laconic
