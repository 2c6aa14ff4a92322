// Exact selection of the entries largest in magnitude in every chunk of a tensor, while the message is formed.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "compressors/sparsity.h"
#include "compressors/topk_select.h"
#include "laconic/compressors/message.h"

namespace laconic::internal {

// A chunk is selected from while it lies in the L1 cache.
inline constexpr uint64_t kMaxChunk = 4096;  // elements

// How many entries of `elements` are kept when every `chunk` of them keeps its own share; the last may be shorter.
uint64_t KeptOfChunks(const Sparsity& sparsity, uint64_t chunk, uint64_t elements);

// Of every chunk of the message the sparsity.Kept(its elements) that come first under the total order "|m_i|
// descending, then i ascending": equal inputs give equal selections on every machine and for any number of threads.
// They lie in ScratchUse::kValues and kIndices; kBits is used too.
//   chunk: 1 .. kMaxChunk.   message: at most kMaxSparseElements.   residual: as SelectTopK (topk_select.h).
// One pass over the message, by the threads of the scope. In each chunk a threshold a little below that of the chunk
// before collects candidates, and is lowered until there are enough; among those the exact one is found.
// InvalidArgument if the message has a NaN or an infinity (names the first index).
absl::StatusOr<Entries> SelectFromChunks(const Message& message, const Sparsity& sparsity, uint64_t chunk,
                                         std::span<float> residual = {});

}  // namespace laconic::internal
