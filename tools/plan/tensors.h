// The tensors a plan is made for: from a list of shapes, a safetensors file, or a number.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "laconic/base/shape.h"

namespace laconic::tools {

struct NamedShape {
  std::string name;
  Shape shape;
};

struct ModelTensors {
  std::string name;
  std::vector<NamedShape> tensors;  // in the model's order; backward finishes them from the last to the first

  uint64_t elements() const;
};

// From the file at `path`:
//   shapes       {"name": "resnet50", "tensors": [{"name": "fc1.weight", "shape": [1024, 784]}, ...]}; name may be
//   absent safetensors  its header; integer tensors are no parameters and are left out safetensors index ("weight_map")
//   the headers of the files it names, which must lie beside it
// NotFound for a file that cannot be read; InvalidArgument naming file, tensor and what is wrong with it: no JSON, no
// tensors, a name twice, a shape that is no list of positive whole numbers.
absl::StatusOr<ModelTensors> ReadModelTensors(const std::string& path);

// One tensor of that many elements, cut as `laconic bench` cuts its own (sample_data.h).
ModelTensors SingleTensor(uint64_t elements);

}  // namespace laconic::tools
