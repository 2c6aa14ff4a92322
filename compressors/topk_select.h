// Exact selection of the k entries largest in magnitude, without sorting, while the message is formed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "laconic/compressors/message.h"

namespace laconic::internal {

// Entries of a tensor, by position.
struct Entries {
  std::span<float> values;
  std::span<uint32_t> positions;  // strictly ascending
};

// y_{position} = value for every entry.
void ScatterEntries(const Entries& entries, std::span<float> y);

// The k entries of the message that come first under the total order "|m_i| descending, then i ascending". So equal
// inputs give equal selections on every machine. They lie in ScratchUse::kValues and kIndices; kBits is used too.
//   message: at most kMaxSparseElements (sparsity.h).   k: at most message.size().
//   residual: empty, or as many floats that do not overlap the message's: the message, with 0 where it is selected.
// One pass over the message, in runs that stay in the L1 cache: a threshold guessed from a sample collects slightly
// more than k candidates, among which a radix select finds the exact one. Whatever the guess, whenever there is no more
// room for candidates only the best k of those so far stay, and the threshold rises to theirs. Only if the guess was
// too high is there a second pass, without one. O(d) in the worst case, O(k) memory. InvalidArgument if the message has
// a NaN or an infinity (names the first index).
absl::StatusOr<Entries> SelectTopK(const Message& message, uint64_t k, std::span<float> residual = {});

// The same with a guess of one's own: the key (kernels/sparse.h) that candidates must reach at first.
absl::StatusOr<Entries> SelectTopKFrom(uint32_t guess, const Message& message, uint64_t k, std::span<float> residual);

}  // namespace laconic::internal
