// Numbers on the wire in fewer bits, and all of them back: the exponents of floats (or whole bytes) entropy coded, what
// is as good as random as it is. In the spirit of DFloat11 (Zhang et al. 2025, arXiv:2504.11651), with ans.h in the
// place of its Huffman code.
//
// Blocks of 65536 numbers, each with a table of its own (docs/payload-format.md has the bytes). A block that would not
// get shorter is stored. Where a block has many zeros, they are not sent but for their exponent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "laconic/compressors/compressor.h"

namespace laconic::internal {

// Bound on what EncodeNumbers writes.
size_t MaxEncodedBytes(NumberFormat format, size_t count);

// Codes `values`, which are whole numbers of that format; gives the bytes written.
//   out: at least MaxEncodedBytes.
// Any bits are fine: NaNs, infinities, both zeros, denormals. The same bytes for any number of threads (ParallelFor).
size_t EncodeNumbers(NumberFormat format, std::span<const std::byte> values, std::span<std::byte> out);

// The numbers that EncodeNumbers coded, bit for bit. `coded` is untrusted: DataLoss where it is not what EncodeNumbers
// writes for so many numbers, or some numbers or other, in time linear in both.
absl::Status DecodeNumbers(NumberFormat format, std::span<const std::byte> coded, std::span<std::byte> values);

}  // namespace laconic::internal
