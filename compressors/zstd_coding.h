// libzstd, behind two functions.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "absl/status/status.h"

namespace laconic::internal {

// Compresses `in` at level 1, the fastest; gives the bytes written, or nothing where `out` has no room for them. Work
// memory belongs to the thread and is kept. The bytes may differ between versions of zstd, what they decode to does
// not.
std::optional<size_t> ZstdEncode(std::span<const std::byte> in, std::span<std::byte> out);

// Decompresses untrusted `in`, which must hold out.size() bytes, no more and no fewer. DataLoss otherwise. Time and
// memory linear in both.
absl::Status ZstdDecode(std::span<const std::byte> in, std::span<std::byte> out);

}  // namespace laconic::internal
