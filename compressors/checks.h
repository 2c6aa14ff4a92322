// What every dense codec checks alike, with one wording. The messages begin with the codec's name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "laconic/base/shape.h"

namespace laconic::internal {

// InvalidArgument "sign: 7 floats for shape [2, 4]" unless `floats` is the shape's element count.
absl::Status CheckFloats(std::string_view codec, size_t floats, const Shape& shape);

// ResourceExhausted "sign: body has room for 3 bytes, needs 8".
absl::Status CheckRoom(std::string_view codec, size_t room_bytes, size_t needed_bytes);

// DataLoss "sign body: 3 bytes, expected 8".
absl::Status CheckBodyBytes(std::string_view codec, size_t body_bytes, size_t expected_bytes);

// InvalidArgument "sign: element 7 of 100 is nan": the first entry that is not finite.
absl::Status CheckFinite(std::string_view codec, std::span<const float> x);

// DataLoss "sign body: scale of block 3 is -1, expected a finite number >= 0" for the first that is NaN, infinite or
// has its sign bit set.
absl::Status CheckScales(std::string_view codec, std::span<const float> scales);

// Are the bits of `packed` from number `bits` on all zero?   bits > 8 * (packed.size() - 1): the padding of the last
// byte.
bool PaddingIsZero(std::span<const std::byte> packed, uint64_t bits);

}  // namespace laconic::internal
