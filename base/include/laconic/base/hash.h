// XXH3-64 of bytes: payload checksums, fingerprints, weight hashes. Not cryptographic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace laconic {

uint64_t Hash64(std::span<const std::byte> bytes, uint64_t seed = 0);
inline uint64_t Hash64(std::string_view text, uint64_t seed = 0) {
  return Hash64(std::as_bytes(std::span<const char>(text.data(), text.size())), seed);
}

}  // namespace laconic
