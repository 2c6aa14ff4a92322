// How block codecs cut a flat tensor: into blocks of equal size (the last may be shorter), each with a scale of its
// own, or one scale for the whole tensor.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace laconic::internal {

// A value type. "Segments" are the units of work and of packing: the blocks, or runs of kMaxBlock elements where the
// whole tensor shares one scale. So what a segment needs in work memory is bounded.
class Blocks {
 public:
  static constexpr size_t kMaxBlock = size_t{1} << 16;

  // block: 1..kMaxBlock, or 0 for the whole tensor.
  Blocks(uint64_t elements, size_t block)
      : elements_(elements), segment_(block == 0 ? kMaxBlock : block), whole_tensor_(block == 0) {}

  size_t segments() const { return elements_ / segment_ + (elements_ % segment_ != 0); }
  size_t scales() const { return whole_tensor_ ? std::min<size_t>(segments(), 1) : segments(); }
  size_t ScaleOf(size_t segment) const { return whole_tensor_ ? 0 : segment; }

  size_t FirstElement(size_t segment) const { return segment * segment_; }
  size_t Size(size_t segment) const { return std::min<uint64_t>(segment_, elements_ - segment * segment_); }
  template <typename T>
  std::span<T> Slice(std::span<T> x, size_t segment) const {
    return x.subspan(FirstElement(segment), Size(segment));
  }

  // Segments that make a piece of work for a thread: about 2^18 elements; a multiple of eight, so that of a bit a
  // segment pieces have their own bytes.
  size_t Grain() const { return ((size_t{1} << 18) / segment_ + 7) / 8 * 8; }

  // Elements that share a scale, at most.
  uint64_t LargestBlock() const { return whole_tensor_ ? elements_ : std::min<uint64_t>(segment_, elements_); }
  // Bytes of all segments with `bits` bits an element, each segment padded to whole bytes.
  size_t PackedBytes(size_t bits) const {
    const uint64_t whole = elements_ / segment_;
    return whole * ((segment_ * bits + 7) / 8) + (elements_ % segment_ * bits + 7) / 8;
  }

 private:
  uint64_t elements_;
  size_t segment_;
  bool whole_tensor_;
};

}  // namespace laconic::internal
