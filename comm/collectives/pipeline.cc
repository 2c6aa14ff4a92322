#include "laconic/comm/collectives/pipeline.h"

#include <algorithm>
#include <limits>

#include "compressors/entropy.h"
#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

const std::vector<StrategyInfo>& Table() {
  static const auto* const table = new std::vector<StrategyInfo>{
      {.kind = StrategyKind::kDense,
       .name = "dense",
       .summary = "float32 allreduce: ring, or halving-doubling for short buckets",
       .bytes = "2 (n-1)/n 4d",
       .parameters = {}},
      {.kind = StrategyKind::kGather,
       .name = "gather",
       .summary = "allgather of payloads, every rank decodes all in rank order; any codec",
       .bytes = "(n-1) b",
       .parameters = {}},
      {.kind = StrategyKind::kScatter,
       .name = "scatter",
       .summary = "two-phase: shards to their owners, owners average and re-encode under an error control of their own",
       .bytes = "2 (n-1)/n b; m owners: b, and an owner (n-1)/m b more",
       .parameters =
           {{"owners", "0..", "0", "the first ranks that own shards; 1: a central server on rank 0; 0: all"},
            {"down", "a codec", "the ranks' codec", "what owners encode with"},
            {"reply", "mean|direction", "mean",
             "what owners encode: the mean of the messages, or, as EF21-P, the direction that follows from it"}}},
      {.kind = StrategyKind::kLinear,
       .name = "linear",
       .summary = "sums the codec's rounds of floats; linear codecs",
       .bytes = "2 (n-1)/n 4f",
       .parameters = {}},
      {.kind = StrategyKind::kHierarchical,
       .name = "hierarchical",
       .summary = "dense inside a node, compressed between the nodes' first ranks",
       .bytes = "dense inside; between nodes as `across`",
       .parameters = {{"local", "0..", "0", "consecutive ranks that form a node; 0: the ranks on one host"},
                      {"across", "dense|gather|scatter|linear|auto", "auto", "strategy between nodes"}}},
      {.kind = StrategyKind::kAuto,
       .name = "auto",
       .summary = "the least estimated time on the given link, dense included",
       .bytes = "as chosen",
       .parameters = {}},
  };
  return *table;
}

std::string JoinNames(const CodecRegistry& registry) {
  std::string text = "codecs";
  for (const CodecInfo& info : registry.codecs()) text.append(" ").append(info.name);
  text.append(" ").append(kAdaptiveName);
  text += "; error controls";
  for (const ControlInfo& info : ControlTable()) text.append(" ").append(info.name);
  text += "; strategies";
  for (const StrategyInfo& info : StrategyTable()) text.append(" ").append(info.name);
  return text;
}

absl::StatusOr<StrategySpec> ParseStrategy(const SpecCall& call, const StrategyInfo& info,
                                           const CodecRegistry& registry) {
  SpecArguments arguments(call, info.parameters);
  StrategySpec spec{.kind = info.kind, .dense_allowed = info.kind == StrategyKind::kAuto};
  if (info.kind == StrategyKind::kScatter) {
    spec.owners = static_cast<int>(arguments.Integer("owners", 0, 0, std::numeric_limits<int>::max()));
    if (const SpecCall* down = arguments.Call("down"); down != nullptr) {
      LACONIC_ASSIGN_OR_RETURN(spec.down, registry.Create(*down));
    }
    static constexpr std::string_view kReplies[] = {"mean", "direction"};
    spec.reply =
        arguments.Word("reply", kReplies[0], kReplies) == kReplies[1] ? OwnerSends::kDirection : OwnerSends::kMean;
  }
  if (info.kind == StrategyKind::kHierarchical) {
    spec.ranks_per_node = static_cast<int>(arguments.Integer("local", 0, 0, std::numeric_limits<int>::max()));
    static constexpr std::string_view kAcross[] = {"auto", "dense", "gather", "scatter", "linear"};
    spec.across = FindStrategy(arguments.Word("across", "auto", kAcross))->kind;
  }
  LACONIC_RETURN_IF_ERROR(arguments.Finish());
  return spec;
}

// "entropy" that names no codec of its own is a stage behind the pipeline's.
bool IsEntropyStage(const SpecCall& call) {
  return call.name == "entropy" &&
         std::all_of(call.arguments.begin(), call.arguments.end(), [](const auto& a) { return a.key == "coder"; });
}

std::string CanonicalEntropy(const SpecCall& stage) {
  const bool says_coder = !stage.arguments.empty() && stage.arguments.front().value.name != "auto";
  return says_coder ? stage.ToString() : stage.name;
}

ControlSpec DefaultControl(const Traits& traits) {
  const bool lossless = traits.delta == 1.0;
  const bool biased = traits.delta.has_value() && !traits.omega.has_value();
  if (!traits.delta.has_value() && traits.max_norm_delta.has_value()) return {.method = ControlMethod::kEf};
  return {.method = biased && !lossless ? ControlMethod::kEControl : ControlMethod::kNone};
}

}  // namespace

std::span<const StrategyInfo> StrategyTable() { return Table(); }

const StrategyInfo* FindStrategy(std::string_view name) {
  for (const StrategyInfo& info : Table()) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

std::string_view StrategyName(StrategyKind kind) {
  for (const StrategyInfo& info : Table()) {
    if (info.kind == kind) return info.name;
  }
  return "?";
}

std::string StrategySpec::ToString() const {
  std::string arguments;
  const auto add = [&](std::string_view key, std::string_view value) {
    arguments += fmt::format("{}{}={}", arguments.empty() ? "" : ", ", key, value);
  };
  if (kind == StrategyKind::kScatter) {
    if (owners > 0) add("owners", fmt::format("{}", owners));
    if (down != nullptr) add("down", down->ToString());
    if (reply == OwnerSends::kDirection) add("reply", "direction");
  }
  if (kind == StrategyKind::kHierarchical) {
    add("local", fmt::format("{}", ranks_per_node));
    add("across", StrategyName(across));
  }
  const std::string name(StrategyName(kind));
  return arguments.empty() ? name : fmt::format("{}({})", name, arguments);
}

Pipeline Pipeline::WithoutEntropy() const {
  Pipeline plain = *this;
  if (has_entropy()) plain.codec = plain_codec;
  plain.entropy.clear();
  plain.plain_codec = nullptr;
  return plain;
}

std::string Pipeline::ToString() const {
  if (dense()) return "dense";
  // A strategy nobody asked for is left out, so that the text reads back to an equal pipeline.
  const bool asked_for = strategy.kind != StrategyKind::kAuto || strategy.dense_allowed;
  const std::string coded = adaptive        ? adaptive->ToString()
                            : has_entropy() ? fmt::format("{}+{}", plain_codec->ToString(), entropy)
                                            : codec->ToString();
  const std::string parts = fmt::format("{}+{}", coded, control.ToString());
  return asked_for ? fmt::format("{}+{}", parts, strategy.ToString()) : parts;
}

absl::StatusOr<Pipeline> MakePipeline(std::span<const SpecCall> calls, const CodecRegistry& registry) {
  Pipeline pipeline;
  const SpecCall *codec = nullptr, *entropy = nullptr, *control = nullptr, *strategy = nullptr;
  auto once = [](const SpecCall*& slot, const SpecCall& call, std::string_view what) -> absl::Status {
    if (slot != nullptr)
      return SpecError(call.column, fmt::format("a second {}, {}, after {}", what, call.name, slot->name));
    slot = &call;
    return absl::OkStatus();
  };
  for (const SpecCall& call : calls) {
    if (IsEntropyStage(call)) {
      LACONIC_RETURN_IF_ERROR(once(entropy, call, "lossless stage"));
    } else if (call.name == kAdaptiveName) {
      LACONIC_RETURN_IF_ERROR(once(codec, call, "codec"));
      LACONIC_ASSIGN_OR_RETURN(pipeline.adaptive, ParseAdaptive(call, registry));
      LACONIC_ASSIGN_OR_RETURN(const CodecFamily family, MakeFamily(*pipeline.adaptive, registry));
      pipeline.codec = family.codecs[family.uniform];
    } else if (registry.Find(call.name) != nullptr) {
      LACONIC_RETURN_IF_ERROR(once(codec, call, "codec"));
      LACONIC_ASSIGN_OR_RETURN(pipeline.codec, registry.Create(call));
    } else if (FindControl(call.name) != nullptr) {
      LACONIC_RETURN_IF_ERROR(once(control, call, "error control"));
      LACONIC_ASSIGN_OR_RETURN(pipeline.control, ParseControl(call));
    } else if (const StrategyInfo* info = FindStrategy(call.name); info != nullptr) {
      LACONIC_RETURN_IF_ERROR(once(strategy, call, "strategy"));
      LACONIC_ASSIGN_OR_RETURN(pipeline.strategy, ParseStrategy(call, *info, registry));
    } else {
      return SpecError(call.column, fmt::format("unknown name \"{}\"; known are {}", call.name, JoinNames(registry)));
    }
  }
  if (codec == nullptr) {
    LACONIC_ASSIGN_OR_RETURN(pipeline.codec, registry.Create("identity"));
  }
  if (entropy != nullptr && pipeline.adaptive) {
    return SpecError(entropy->column, fmt::format("{} chooses among codecs by their own bytes and takes no lossless "
                                                  "stage; leave out {}",
                                                  kAdaptiveName, entropy->name));
  }
  if (entropy != nullptr) {
    pipeline.plain_codec = pipeline.codec;
    LACONIC_ASSIGN_OR_RETURN(pipeline.codec, WithEntropy(pipeline.plain_codec, *entropy));
    pipeline.entropy = CanonicalEntropy(*entropy);
  }
  if (pipeline.dense() &&
      (pipeline.codec->id() != CodecId::kIdentity || pipeline.control.method != ControlMethod::kNone)) {
    return SpecError(strategy->column,
                     fmt::format("dense sends float32 as it is and takes no codec and no error control, not {}",
                                 (codec != nullptr     ? codec
                                  : entropy != nullptr ? entropy
                                                       : control)
                                     ->ToString()));
  }
  if (control == nullptr) pipeline.control = DefaultControl(pipeline.codec->traits(Shape::Flat(1 << 20)));
  return pipeline;
}

}  // namespace laconic
