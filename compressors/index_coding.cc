#include "compressors/index_coding.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <limits>
#include <utility>

namespace laconic::internal {
namespace {

constexpr size_t kBlock = 128;      // gaps of one packed block
constexpr int kBlockWidthBits = 7;  // its header: a width in [0, 64]
constexpr int kMaxRiceParameter = 63;
constexpr int kParameterBits = 6;

constexpr size_t BytesOfBits(uint64_t bits) { return static_cast<size_t>(bits / 8 + (bits % 8 != 0)); }

// Is there only one set of `count` indices below `elements`?
constexpr bool IsImplied(uint64_t count, uint64_t elements) { return count == 0 || count == elements; }

// Calls visit(gap) for every gap in order.
template <typename Visit>
void ForEachGap(std::span<const uint64_t> indices, Visit visit) {
  visit(indices[0]);
  for (size_t j = 1; j < indices.size(); ++j) visit(indices[j] - indices[j - 1] - 1);
}

uint64_t RiceBits(std::span<const uint64_t> indices, int parameter) {
  uint64_t quotients = 0;
  ForEachGap(indices, [&](uint64_t gap) { quotients += gap >> parameter; });
  return indices.size() * (uint64_t{1} + static_cast<uint64_t>(parameter)) + quotients;
}

// The Rice parameter of the shortest code and its bits. The length is convex in the parameter (going from m to m + 1 it
// grows by k - sum ceil(floor(g / 2^m) / 2), and that sum falls with m), so walking downhill from the usual guess ends
// at the least.
std::pair<int, uint64_t> BestRice(std::span<const uint64_t> indices) {
  const uint64_t mean_gap = (indices.back() + 1 - indices.size()) / indices.size();
  const auto guess =
      static_cast<uint64_t>(0.69 * static_cast<double>(mean_gap));  // ln 2: Rice's own rule for geometric gaps
  int best = guess == 0 ? 0 : std::bit_width(guess) - 1;
  uint64_t bits = RiceBits(indices, best);
  for (const int direction : {+1, -1}) {
    while (best + direction >= 0 && best + direction <= kMaxRiceParameter) {
      const uint64_t candidate = RiceBits(indices, best + direction);
      if (candidate >= bits) break;
      best += direction;
      bits = candidate;
    }
  }
  return {best, bits};
}

// Calls visit(first, size, width) for every packed block.
template <typename Visit>
void ForEachBlock(std::span<const uint64_t> indices, Visit visit) {
  uint64_t next = 0;
  for (size_t first = 0; first < indices.size(); first += kBlock) {
    const size_t size = std::min(kBlock, indices.size() - first);
    uint64_t all = 0;
    for (const uint64_t index : indices.subspan(first, size)) {
      all |= index - next;
      next = index + 1;
    }
    visit(first, size, std::bit_width(all));
  }
}

uint64_t PackedBits(std::span<const uint64_t> indices) {
  uint64_t bits = 0;
  ForEachBlock(indices,
               [&](size_t, size_t size, int width) { bits += kBlockWidthBits + size * static_cast<uint64_t>(width); });
  return bits;
}

std::byte Tag(const IndexPlan& plan) {
  return static_cast<std::byte>((static_cast<int>(plan.form) << kParameterBits) | plan.parameter);
}

}  // namespace

IndexPlan PlanIndices(std::span<const uint64_t> indices, uint64_t elements) {
  assert(indices.size() <= elements && (indices.empty() || indices.back() < elements));
  if (IsImplied(indices.size(), elements)) return {};
  IndexPlan best{IndexForm::kBitmap, 0, 1 + BytesOfBits(elements)};
  const auto [parameter, rice_bits] = BestRice(indices);
  if (const size_t bytes = 1 + BytesOfBits(rice_bits); bytes < best.bytes) best = {IndexForm::kRice, parameter, bytes};
  if (const size_t bytes = 1 + BytesOfBits(PackedBits(indices)); bytes < best.bytes) {
    best = {IndexForm::kPacked, 0, bytes};
  }
  return best;
}

size_t MaxIndexBytes(uint64_t count, uint64_t elements) {
  if (IsImplied(count, elements)) return 0;
  // The gaps sum to at most d - k, so Rice takes at most k (m + 1) + floor((d - k) / 2^m) bits for any m.
  uint64_t bits = elements;
  for (uint64_t m = 0; m <= kMaxRiceParameter && count <= bits / (m + 1); ++m) {
    bits = std::min(bits, count * (m + 1) + ((elements - count) >> m));
  }
  return 1 + BytesOfBits(bits);
}

void EncodeIndices(std::span<const uint64_t> indices, uint64_t elements, const IndexPlan& plan,
                   std::span<std::byte> out) {
  assert(out.size() == plan.bytes);
  if (plan.bytes == 0) return;
  out[0] = Tag(plan);
  out = out.subspan(1);
  if (plan.form == IndexForm::kBitmap) {
    std::fill(out.begin(), out.end(), std::byte{0});
    for (const uint64_t index : indices) out[index / 8] |= std::byte{1} << (index % 8);
    return;
  }
  BitWriter bits(out);
  if (plan.form == IndexForm::kRice) {
    ForEachGap(indices, [&, m = plan.parameter](uint64_t gap) {
      bits.PutUnary(gap >> m);
      bits.Put(gap & LowBits(m), m);
    });
  } else {
    ForEachBlock(indices, [&, next = uint64_t{0}](size_t first, size_t size, int width) mutable {
      bits.Put(static_cast<uint64_t>(width), kBlockWidthBits);
      for (const uint64_t index : indices.subspan(first, size)) {
        bits.Put(index - next, width);
        next = index + 1;
      }
    });
  }
  bits.Finish();
}

IndexDecoder::IndexDecoder(std::span<const std::byte> bytes, uint64_t count, uint64_t elements)
    : bytes_(bytes), bits_({}), elements_(elements), count_(count), implied_(IsImplied(count, elements)) {
  assert(count <= elements);
  if (implied_) {
    if (!bytes.empty()) Fail(absl::DataLossError(fmt::format("{} index bytes, expected 0", bytes.size())));
    return;
  }
  if (bytes.empty()) {
    Fail(absl::DataLossError("index bytes are missing"));
    return;
  }
  const auto tag = std::to_integer<unsigned>(bytes[0]);
  form_ = static_cast<IndexForm>(tag >> kParameterBits);
  parameter_ = static_cast<int>(tag & LowBits(kParameterBits));
  if (tag >> kParameterBits > 2 || (form_ != IndexForm::kRice && parameter_ != 0)) {
    Fail(absl::DataLossError(fmt::format("unknown index form {:#04x}", tag)));
    return;
  }
  bits_ = BitReader(bytes.subspan(1));
  if (form_ == IndexForm::kBitmap && bytes.size() != 1 + BytesOfBits(elements)) {
    Fail(absl::DataLossError(fmt::format("bitmap of {} bytes for {} elements, expected {}", bytes.size() - 1, elements,
                                         BytesOfBits(elements))));
  }
}

std::span<const uint64_t> IndexDecoder::Next() {
  const auto want = static_cast<size_t>(std::min<uint64_t>(kChunk, count_ - given_));
  if (!status_.ok()) return {};
  if (want == 0) {
    if (!ended_) CheckEnd();
    ended_ = true;
    return {};
  }
  size_t got = 0;
  if (implied_) {
    got = NextImplied(want);
  } else if (form_ == IndexForm::kBitmap) {
    got = NextBitmap(want);
  } else if (form_ == IndexForm::kPacked) {
    got = NextPacked(want);
  } else {
    got = NextRice(want);
  }
  given_ += got;
  return {chunk_.data(), got};
}

// Puts the index `gap` after next_ into chunk_[slot], unless it is too large.
inline bool IndexDecoder::AddGap(uint64_t gap, size_t slot) {
  if (gap >= elements_ - next_) {
    const uint64_t index =
        gap > std::numeric_limits<uint64_t>::max() - next_ ? std::numeric_limits<uint64_t>::max() : next_ + gap;
    Fail(absl::DataLossError(fmt::format("index {} >= {} elements", index, elements_)));
    return false;
  }
  chunk_[slot] = next_ + gap;
  next_ += gap + 1;
  return true;
}

size_t IndexDecoder::NextImplied(size_t want) {
  for (size_t j = 0; j < want; ++j) chunk_[j] = given_ + j;
  return want;
}

size_t IndexDecoder::NextBitmap(size_t want) {
  for (size_t j = 0; j < want; ++j) {
    while (word_ == 0) {
      if (bitmap_read_ == elements_) {
        return Fail(absl::DataLossError(fmt::format("bitmap of {} indices, expected {}", given_ + j, count_)));
      }
      const auto step = static_cast<int>(std::min<uint64_t>(64, elements_ - bitmap_read_));
      word_ = bits_.Get(step);
      word_base_ = bitmap_read_;
      bitmap_read_ += static_cast<uint64_t>(step);
    }
    chunk_[j] = word_base_ + static_cast<uint64_t>(std::countr_zero(word_));
    word_ &= word_ - 1;
  }
  return want;
}

size_t IndexDecoder::NextPacked(size_t want) {
  static_assert(kChunk % kBlock == 0, "a chunk starts where a block starts");
  for (size_t j = 0; j < want; ++j) {
    if (j % kBlock == 0) {
      width_ = static_cast<int>(bits_.Get(kBlockWidthBits));
      if (width_ > 64) return Fail(absl::DataLossError(fmt::format("packed indices of {} bits", width_)));
    }
    const uint64_t gap = bits_.Get(width_);
    if (!bits_.ok()) return Fail(absl::DataLossError(fmt::format("indices end after {} of {}", given_ + j, count_)));
    if (!AddGap(gap, j)) return 0;
  }
  return want;
}

size_t IndexDecoder::NextRice(size_t want) {
  for (size_t j = 0; j < want; ++j) {
    const uint64_t quotient = bits_.GetUnary();
    const uint64_t low = bits_.Get(parameter_);
    if (!bits_.ok()) return Fail(absl::DataLossError(fmt::format("indices end after {} of {}", given_ + j, count_)));
    const bool fits = quotient <= LowBits(64 - parameter_);
    if (!AddGap(fits ? (quotient << parameter_) | low : std::numeric_limits<uint64_t>::max(), j)) return 0;
  }
  return want;
}

// All indices were given: nothing but zero padding may be left.
void IndexDecoder::CheckEnd() {
  if (implied_) return;
  if (form_ == IndexForm::kBitmap) {
    uint64_t more = static_cast<uint64_t>(std::popcount(word_));
    while (bitmap_read_ < elements_) {
      const auto step = static_cast<int>(std::min<uint64_t>(64, elements_ - bitmap_read_));
      more += static_cast<uint64_t>(std::popcount(bits_.Get(step)));
      bitmap_read_ += static_cast<uint64_t>(step);
    }
    if (more > 0) {
      Fail(absl::DataLossError(fmt::format("bitmap of {} indices, expected {}", count_ + more, count_)));
      return;
    }
  }
  if (!bits_.AtEnd()) Fail(absl::DataLossError(fmt::format("bits left over after {} indices", count_)));
}

size_t IndexDecoder::Fail(absl::Status status) {
  status_ = std::move(status);
  return 0;
}

}  // namespace laconic::internal
