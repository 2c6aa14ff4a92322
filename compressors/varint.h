// Unsigned LEB128: seven bits a byte, least significant first, the high bit set on all bytes but the last.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "laconic/base/byte_io.h"

namespace laconic::internal {

constexpr size_t VarintBytes(uint64_t value) { return (static_cast<size_t>(std::bit_width(value | 1)) + 6) / 7; }

inline void PutVarint(ByteWriter& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.Put(static_cast<uint8_t>(value | 0x80));
  out.Put(static_cast<uint8_t>(value));
}

// DataLoss if it is cut off, does not fit 64 bits, or is longer than need be (every value has one encoding).
inline absl::StatusOr<uint64_t> GetVarint(ByteReader& in) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const auto byte = in.Get<uint8_t>();
    if (!in.ok()) return absl::DataLossError("varint is cut off");
    const uint64_t digit = byte & 0x7f;
    if (shift == 63 && digit > 1) break;
    value |= digit << shift;
    if (byte < 0x80) {
      if (byte == 0 && shift > 0) return absl::DataLossError("varint ends in a zero byte");
      return value;
    }
  }
  return absl::DataLossError("varint does not fit 64 bits");
}

}  // namespace laconic::internal
