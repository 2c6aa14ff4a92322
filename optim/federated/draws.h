// What a federated run draws besides the codecs, and by which keys: codecs use tensors from 0 on, these none of them.
#pragma once

#include <cstdint>

#include "laconic/base/rng.h"

namespace laconic::internal {

enum class Draw : uint32_t { kSampling, kFailures, kNetwork };

inline RngKey DrawKey(Draw draw, uint64_t seed, uint64_t round) {
  return {.seed = seed,
          .step = round,
          .tensor = 0xffffffff,
          .rank = RngKey::kSharedRank,
          .stream = static_cast<uint32_t>(draw)};
}

}  // namespace laconic::internal
