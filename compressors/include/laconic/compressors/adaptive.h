// adaptive(...): in a codec's place of a pipeline, a family of codecs of which each layer takes its own, chosen anew
// while training (L-GreCo: Alimohammadi, Markov, Frantar and Alistarh 2024, arXiv 2210.17357).
//
//   adaptive(family=topk, budget=uniform:0.01)+ef+gather
//   adaptive(family=lowrank, budget=uniform:4, objective=time, every=1000)
//   adaptive(family=quantize(block=128), budget=uniform:4)
//
// This file says what is asked for and which codecs there are to choose from; compressors/layer_policy.h chooses, and
// optim/ measures and carries state over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/compressor.h"
#include "laconic/compressors/spec.h"

namespace laconic {

inline constexpr std::string_view kAdaptiveName = "adaptive";

enum class LayerObjective {
  kBytes,      // the fewest bytes at alpha times the uniform setting's error
  kTime,       // the least time at that error
  kEvolution,  // the least error of the whole gradient at alpha times the uniform setting's bytes
};

enum class LayerErrorMeasure {
  kL2,       // |x - C(x)|, as published: a layer's share of the budget grows with its norm
  kSquared,  // |x - C(x)|^2, which adds up to that of the whole gradient
};

enum class CodecSpeed {
  kMeasured,  // timed at the first re-plan, agreed by all ranks, saved: two runs of one seed may choose differently
  kModel,     // the constants of the cost model: reproducible
};

struct AdaptiveSpec {
  SpecCall family;     // the codec without its level: "topk(values=bf16)"
  double uniform = 0;  // the level of the uniform setting: bits, ratio or rank
  LayerObjective objective = LayerObjective::kBytes;
  LayerErrorMeasure error = LayerErrorMeasure::kL2;
  CodecSpeed speed = CodecSpeed::kMeasured;
  double alpha = 1;        // times the uniform setting's error (or bytes)
  double span = 8;         // levels lie between uniform / span and uniform * span
  uint64_t every = 1000;   // steps from one re-plan to the next
  uint64_t warmup = 1000;  // steps under the uniform setting, before the first
  uint64_t window = 10;    // steps before a re-plan whose messages are averaged

  std::string ToString() const;  // canonical, defaults written out
};

struct AdaptiveInfo {
  std::string name, summary, source;
  std::vector<ParameterInfo> parameters;
};
const AdaptiveInfo& GetAdaptiveInfo();

// InvalidArgument with column for an unknown family, a level it does not have, or a bad number.
absl::StatusOr<AdaptiveSpec> ParseAdaptive(const SpecCall& call, const CodecRegistry& registry);

// The codecs to choose from, level ascending.
struct CodecFamily {
  std::vector<std::shared_ptr<const Compressor>> codecs;
  std::vector<double> levels;  // of each: bits, ratio or rank
  size_t uniform = 0;          // index of the uniform setting's
};
// quantize: every number of bits. topk: ratios a factor of two apart. lowrank: every rank. Within the span, and within
// what the codec takes.
absl::StatusOr<CodecFamily> MakeFamily(const AdaptiveSpec& spec, const CodecRegistry& registry);

}  // namespace laconic
