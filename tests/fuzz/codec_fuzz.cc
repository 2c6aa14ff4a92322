// Any bytes as a body of the codec LACONIC_FUZZ_CODEC (a spec, given by the build): a value that is finite, or
// DataLoss.
//   input: one byte for the kind of shape, two for its sides, then the body.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "laconic/compressors/codec_registry.h"

namespace laconic {
namespace {

constexpr size_t kShapeBytes = 3;

Shape ShapeFrom(uint8_t kind, uint8_t first, uint8_t second) {
  switch (kind % 4) {
    case 0:
      return Shape::Flat((uint64_t{first} << 4) + second);  // 0..4335
    case 1:
      return Shape({first % 64u, second % 64u});
    case 2:
      return Shape({first % 32u, second % 32u, 3, 3});
    default:
      return Shape();
  }
}

void Check(bool condition) {
  if (!condition) std::abort();
}

void DecodeBody(const Compressor& codec, std::span<const uint8_t> input) {
  const Shape shape = ShapeFrom(input[0], input[1], input[2]);
  if (!codec.Supports(shape).ok()) return;
  const std::span<const std::byte> body = std::as_bytes(input.subspan(kShapeBytes));
  std::vector<float> acc(shape.elements());
  const absl::Status status = codec.DecodeAdd(body, shape, 1.0f, acc);
  if (status.ok()) {
    for (const float value : acc) Check(std::isfinite(value));
  } else {
    Check(status.code() == absl::StatusCode::kDataLoss);
  }
}

}  // namespace
}  // namespace laconic

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::shared_ptr<const laconic::Compressor> codec =
      laconic::CodecRegistry::BuiltIn().Create(LACONIC_FUZZ_CODEC).value();
  if (size >= laconic::kShapeBytes) laconic::DecodeBody(*codec, {data, size});
  return 0;
}
