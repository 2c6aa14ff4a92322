// How a tensor is cut into blocks of powers of two, for codecs that rotate.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "compressors/kernels/rotation.h"

namespace laconic::internal {

// The tensor is padded with zeros to a multiple of 64 coefficients and cut into blocks of `block` coefficients; what is
// left after the last whole one is cut into its powers of two, the largest first. So all padding is in the last block,
// at its end, less than 64 coefficients of it. Block b has coefficients, and but for padding elements, from
// At(b).first on.
class RotationBlocks {
 public:
  static constexpr size_t kMinBlock = kernels::kMinRotation;
  static constexpr size_t kMaxBlock = kernels::kMaxRun;

  struct Block {
    size_t first = 0;     // coefficient, and element
    size_t size = 0;      // in coefficients: a power of two from kMinBlock to kMaxBlock
    size_t elements = 0;  // <= size
  };

  // block: a power of two from kMinBlock to kMaxBlock.
  RotationBlocks(uint64_t elements, size_t block)
      : elements_(elements),
        coefficients_(elements / kMinBlock * kMinBlock + (elements % kMinBlock != 0 ? kMinBlock : 0)),
        block_(block) {}

  size_t coefficients() const { return coefficients_; }
  size_t count() const {
    return coefficients_ / block_ + static_cast<size_t>(std::popcount(coefficients_ % block_ / kMinBlock));
  }

  Block At(size_t index) const {
    const size_t whole = coefficients_ / block_;
    Block block{.first = index * block_, .size = block_};
    if (index >= whole) {
      size_t rest = coefficients_ - whole * block_;
      for (size_t i = whole; i < index; ++i) rest -= std::bit_floor(rest);
      block = {.first = coefficients_ - rest, .size = std::bit_floor(rest)};
    }
    block.elements = block.first + block.size <= elements_ ? block.size : elements_ - block.first;
    return block;
  }

  // Blocks that make a piece of work for a thread: about 2^18 coefficients.
  size_t Grain() const { return (size_t{1} << 18) / block_; }

 private:
  uint64_t elements_;
  size_t coefficients_, block_;
};

}  // namespace laconic::internal
