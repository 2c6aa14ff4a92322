// Any bytes given to the frame reader: a body inside them, or DataLoss; never anything else.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "laconic/compressors/payload.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using laconic::CodecId;
  constexpr size_t kMaxBodyBytes = 64;
  const laconic::PayloadHeader expected = {.codec = CodecId::kTopK, .tensor = 3, .part = 0, .step = 8, .elements = 4};
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  for (const bool alone : {true, false}) {
    size_t frame_bytes = 0;
    const auto body =
        laconic::OpenPayload(bytes, expected, kMaxBodyBytes, "fc1.weight", 1, alone ? nullptr : &frame_bytes);
    if (!body.ok()) {
      if (body.status().code() != absl::StatusCode::kDataLoss) std::abort();
      continue;
    }
    const bool inside = body->data() == bytes.data() + laconic::kPayloadHeaderBytes && body->size() <= kMaxBodyBytes &&
                        laconic::kPayloadHeaderBytes + body->size() <= size;
    if (!inside || (alone ? laconic::kPayloadHeaderBytes + body->size() != size : frame_bytes > size)) std::abort();
  }
  return 0;
}
