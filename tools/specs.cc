#include "tools/specs.h"

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "tools/text.h"

namespace laconic::tools {

absl::Status RefuseAdaptive(const Pipeline& pipeline) {
  if (!pipeline.adaptive) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("adaptive(...) chooses its codecs from gradients while training: name one of them here, such as that "
                  "of its uniform setting, {}",
                  pipeline.codec->ToString()));
}

absl::StatusOr<Pipeline> ParsePipeline(const std::string& spec) {
  auto parsed = [&]() -> absl::StatusOr<Pipeline> {
    LACONIC_ASSIGN_OR_RETURN(const std::vector<SpecRule> rules, ParseSpec(spec));
    if (rules.size() != 1 || rules[0].pattern != "*") {
      return absl::InvalidArgumentError("one pipeline is wanted here, not rules by tensor name");
    }
    LACONIC_ASSIGN_OR_RETURN(Pipeline pipeline, MakePipeline(rules[0].pipeline, CodecRegistry::BuiltIn()));
    LACONIC_RETURN_IF_ERROR(RefuseAdaptive(pipeline));
    return pipeline;
  }();
  return parsed.ok() ? parsed : Annotate(parsed.status(), fmt::format("\"{}\"", spec));
}

absl::StatusOr<std::vector<AskedPipeline>> ParsePipelines(const std::vector<std::string>& lists) {
  std::vector<AskedPipeline> pipelines;
  for (const std::string& list : lists) {
    LACONIC_ASSIGN_OR_RETURN(const std::vector<std::string> specs, SplitSpecs(list));
    for (const std::string& spec : specs) {
      LACONIC_ASSIGN_OR_RETURN(Pipeline pipeline, ParsePipeline(spec));
      pipelines.push_back({.spec = spec, .pipeline = std::move(pipeline)});
    }
  }
  return pipelines;
}

absl::StatusOr<Shape> ShapeOr(const std::string& text, uint64_t elements, const Shape& otherwise) {
  if (text.empty()) return otherwise;
  LACONIC_ASSIGN_OR_RETURN(const std::vector<uint64_t> dimensions, ParseDimensions("--shape", text));
  LACONIC_ASSIGN_OR_RETURN(const Shape shape, Shape::Make(dimensions));
  if (shape.elements() != elements) {
    return absl::InvalidArgumentError(
        fmt::format("--shape {} has {} elements, the input has {}", text, shape.elements(), elements));
  }
  return shape;
}

}  // namespace laconic::tools
