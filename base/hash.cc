#include "laconic/base/hash.h"

#define XXH_INLINE_ALL  // the whole of xxHash in this file: no library to link
#include <xxhash.h>

namespace laconic {

uint64_t Hash64(std::span<const std::byte> bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

}  // namespace laconic
