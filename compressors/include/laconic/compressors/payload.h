// The frame around a codec's body on the wire. docs/payload-format.md specifies it, with one worked example per codec.
//
//   offset bytes field
//        0     4 magic "LACN"
//        4     1 version (1)
//        5     1 codec (CodecId)
//        6     2 flags (0; a reader refuses any other)
//        8     4 tensor (TensorId)
//       12     4 part (shard of the tensor; 0 when it is whole)
//       16     8 step
//       24     8 elements encoded in this body
//       32     8 body_bytes
//       40     8 XXH3-64 of the body
//       48       body
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/compressors/compressor.h"

namespace laconic {

inline constexpr size_t kPayloadHeaderBytes = 48;
inline constexpr uint8_t kPayloadVersion = 1;

struct PayloadHeader {
  CodecId codec{};
  uint32_t tensor = 0;
  uint32_t part = 0;
  uint64_t step = 0;
  uint64_t elements = 0;
};

// Writes the header for a body that lies at frame[kPayloadHeaderBytes, +body_bytes); gives the whole frame's length.
//   frame: at least kPayloadHeaderBytes + body_bytes bytes.
size_t SealPayload(const PayloadHeader& header, size_t body_bytes, std::span<std::byte> frame);

// Checks every field of the frame at the front of `bytes` (untrusted) against what the reader expects, and the checksum, before
// anything looks at the body. Gives the body. `frame_bytes`, if not null, receives the frame's length (frames may follow one
// another); if null, the frame must fill `bytes`. DataLoss otherwise: "payload of tensor fc1.weight from rank 3: step 7, expected 8".
//   max_body_bytes: the codec's bound for the expected shape.
absl::StatusOr<std::span<const std::byte>> OpenPayload(std::span<const std::byte> bytes, const PayloadHeader& expected,
                                                       size_t max_body_bytes, std::string_view tensor_name, int from_rank,
                                                       size_t* frame_bytes = nullptr);

}  // namespace laconic
