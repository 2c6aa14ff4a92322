// Tensors in files: raw float32 (any name) and NumPy's .npy.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/base/shape.h"

namespace laconic::tools {

struct TensorFile {
  Shape shape;  // flat where the file has none (raw)
  std::vector<float> values;
  std::string notice;  // what was converted on reading, for the user; empty: nothing
};

// Reads a tensor of finite floats. By extension: .npy (format 1.0 to 3.0; float32 as it is, float64 and float16
// converted with a notice; little-endian, C order, up to eight dimensions), anything else raw little-endian float32.
// Errors name the file and what is wrong: NotFound; InvalidArgument for an empty file, a length that is not a multiple
// of 4, a .npy in Fortran order, of another type or byte order, or with a length that its shape does not give, and for
// the first NaN or infinity (index and value).
absl::StatusOr<TensorFile> ReadTensorFile(const std::string& path);

// Writes .npy (float32, format 1.0) or raw float32, by extension. Errors as WriteFileAtomically.
absl::Status WriteTensorFile(const std::string& path, const Shape& shape, std::span<const float> values);

}  // namespace laconic::tools
