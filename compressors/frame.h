// Frames (payload.h) whose senders are not ranks of a communicator.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "laconic/compressors/payload.h"

namespace laconic::internal {

// OpenPayload with the sender in the caller's words.   whose: asked only on an error, DataLoss "payload of <whose>:
// step 7, expected 8".
absl::StatusOr<std::span<const std::byte>> OpenFrame(std::span<const std::byte> bytes, const PayloadHeader& expected,
                                                     size_t max_body_bytes, absl::FunctionRef<std::string()> whose,
                                                     size_t* frame_bytes = nullptr);

}  // namespace laconic::internal
