// Exact selection of the k entries largest in magnitude, without sorting.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"

namespace laconic::internal {

// Writes the indices of the indices.size() entries of x that come first under the total order "|x| descending, then
// index ascending", in ascending order. So equal inputs give equal selections on every machine.
//   x: any length.   indices: at most x.size().
// Reads x about once: a threshold guessed from a sample gathers slightly more than k candidates, which a radix
// histogram over the bits of |x| then narrows exactly. Where the guess is off (many ties, periodic data) the histogram
// runs over x itself. O(x.size()) in the worst case; work memory is ScratchUse::kBits and kValues, O(k).
// InvalidArgument if x holds a NaN or an infinity (names the first index).
absl::Status SelectTopK(std::span<const float> x, std::span<uint64_t> indices);

}  // namespace laconic::internal
