#include "compressors/checks.h"

#include <fmt/format.h>

#include <cmath>

#include "compressors/kernels/kernels.h"

namespace laconic::internal {

absl::Status CheckFloats(std::string_view codec, size_t floats, const Shape& shape) {
  if (floats == shape.elements()) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{}: {} floats for shape {}", codec, floats, shape.ToString()));
}

absl::Status CheckRoom(std::string_view codec, size_t room_bytes, size_t needed_bytes) {
  if (room_bytes >= needed_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("{}: body has room for {} bytes, needs {}", codec, room_bytes, needed_bytes));
}

absl::Status CheckBodyBytes(std::string_view codec, size_t body_bytes, size_t expected_bytes) {
  if (body_bytes == expected_bytes) return absl::OkStatus();
  return absl::DataLossError(fmt::format("{} body: {} bytes, expected {}", codec, body_bytes, expected_bytes));
}

absl::Status CheckFinite(std::string_view codec, std::span<const float> x) {
  const size_t first = kernels::FirstNonFinite(x);
  if (first == x.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{}: element {} of {} is {}", codec, first, x.size(), x[first]));
}

absl::Status CheckScales(std::string_view codec, std::span<const float> scales) {
  for (size_t i = 0; i < scales.size(); ++i) {
    if (std::isfinite(scales[i]) && !std::signbit(scales[i])) continue;
    return absl::DataLossError(
        fmt::format("{} body: scale of block {} is {}, expected a finite number >= 0", codec, i, scales[i]));
  }
  return absl::OkStatus();
}

bool PaddingIsZero(std::span<const std::byte> packed, uint64_t bits) {
  return bits % 8 == 0 || std::to_integer<unsigned>(packed[bits / 8]) >> (bits % 8) == 0;
}

}  // namespace laconic::internal
