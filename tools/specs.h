// Specs and shapes as the command line gives them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "laconic/base/shape.h"
#include "laconic/comm/collectives/pipeline.h"

namespace laconic::tools {

// InvalidArgument for adaptive(...), whose codecs are chosen from a training run's gradients.
absl::Status RefuseAdaptive(const Pipeline& pipeline);

// One pipeline, for any tensor. InvalidArgument, quoting the spec, for bad specs, rules by tensor
// name, and adaptive(...).
absl::StatusOr<Pipeline> ParsePipeline(const std::string& spec);

struct AskedPipeline {
  std::string spec;
  Pipeline pipeline;
};
// Lists of specs (SplitSpecs), in order.
absl::StatusOr<std::vector<AskedPipeline>> ParsePipelines(const std::vector<std::string>& lists);

// The shape that `text` ("4096x1024") says, or `otherwise` for an empty one. InvalidArgument if it has not `elements`
// elements.
absl::StatusOr<Shape> ShapeOr(const std::string& text, uint64_t elements, const Shape& otherwise);

}  // namespace laconic::tools
