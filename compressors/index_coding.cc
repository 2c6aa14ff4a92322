#include "compressors/index_coding.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

namespace laconic::internal {
namespace {

constexpr size_t kBlock = 128;      // gaps of one packed block
constexpr int kBlockWidthBits = 7;  // its header: a width in [0, 64]
constexpr int kMaxRiceParameter = 63;
constexpr int kParameterBits = 6;
constexpr int kMostLowBits = 31;     // of a Rice code that is read in a group
constexpr size_t kLargestGroup = 8;  // Rice codes read from one window of bits
constexpr uint64_t kTopBit = uint64_t{1} << 63;

constexpr size_t BytesOfBits(uint64_t bits) { return static_cast<size_t>(bits / 8 + (bits % 8 != 0)); }

// Is there only one set of `count` indices below `elements`?
constexpr bool IsImplied(uint64_t count, uint64_t elements) { return count == 0 || count == elements; }

// Calls visit(gaps) for every block of kBlock gaps, the last one perhaps shorter.
template <typename Index, typename Visit>
void ForEachBlock(std::span<const Index> indices, Visit visit) {
  std::array<Index, kBlock> gaps;
  Index next = 0;
  for (size_t first = 0; first < indices.size(); first += kBlock) {
    const std::span<const Index> block = indices.subspan(first, std::min(kBlock, indices.size() - first));
    gaps[0] = block[0] - next;
    for (size_t j = 1; j < block.size(); ++j) gaps[j] = block[j] - block[j - 1] - 1;
    next = block.back() + 1;
    visit(std::span<const Index>(gaps).first(block.size()));
  }
}

// What the lengths of a block's encodings depend on. All the gaps of an encoding sum to less than `elements`, so Index
// holds the sums.
template <typename Index>
struct BlockSums {
  Index all = 0;                        // every bit that some gap has
  std::array<Index, 3> quotients = {};  // sum of gap >> m for three successive m
};

template <typename Index>
BlockSums<Index> SumBlock(std::span<const Index> gaps, int parameter) {
  Index all = 0, low = 0, middle = 0, high = 0;
  for (const Index gap : gaps) {
    all |= gap;
    const Index quotient = gap >> parameter;
    low += quotient;
    middle += quotient >> 1;
    high += quotient >> 2;
  }
  return {all, {low, middle, high}};
}

// The lengths of some encodings, in bits.
struct Lengths {
  uint64_t packed = 0;
  std::array<uint64_t, 3> rice{};  // with three successive parameters
};

// One pass.   parameter: the first of Rice's.
template <typename Index>
Lengths MeasureLengths(std::span<const Index> indices, int parameter) {
  Lengths lengths;
  ForEachBlock(indices, [&](std::span<const Index> gaps) {
    const BlockSums<Index> sums = SumBlock(gaps, parameter);
    lengths.packed += kBlockWidthBits + gaps.size() * static_cast<uint64_t>(std::bit_width(sums.all));
    for (size_t m = 0; m < 3; ++m) lengths.rice[m] += sums.quotients[m];
  });
  for (size_t m = 0; m < 3; ++m) {
    lengths.rice[m] += indices.size() * (uint64_t{1} + static_cast<uint64_t>(parameter) + m);
  }
  return lengths;
}

std::byte Tag(const IndexPlan& plan) {
  return static_cast<std::byte>((static_cast<int>(plan.form) << kParameterBits) | plan.parameter);
}

}  // namespace

namespace {

// The best Rice parameter and both lengths. Rice's is convex in the parameter (going from m to m + 1 it grows by k -
// sum ceil(floor(g / 2^m) / 2), and that sum falls with m), so walking downhill from the usual guess ends at the least.
template <typename Index>
IndexPlan Plan(std::span<const Index> indices, uint64_t elements) {
  assert(indices.size() <= elements && (indices.empty() || indices.back() < elements));
  constexpr int kHighest = std::numeric_limits<Index>::digits - 3;  // where three successive shifts are still defined
  static_assert(kHighest + 2 <= kMaxRiceParameter);
  if (IsImplied(indices.size(), elements)) return {};
  // ln 2 times the mean distance: Rice's own rule for geometric gaps. Then the best lies in the middle of the three.
  const double guess = std::log2(0.69 * static_cast<double>(indices.back() + 1) / static_cast<double>(indices.size()));
  int first = std::clamp(static_cast<int>(std::lround(guess)) - 1, 0, kHighest);
  Lengths lengths = MeasureLengths(indices, first);
  for (int step = 0;;) {  // all one way
    const auto& [low, middle, high] = lengths.rice;
    if (low < middle && first > 0 && step <= 0) {
      step = -1;
    } else if (high < middle && first < kHighest && step >= 0) {
      step = +1;
    } else {
      break;
    }
    first += step;
    lengths = MeasureLengths(indices, first);
  }
  const auto least = std::min_element(lengths.rice.begin(), lengths.rice.end());
  const int parameter = first + static_cast<int>(least - lengths.rice.begin());

  IndexPlan best{IndexForm::kBitmap, 0, 1 + BytesOfBits(elements)};
  if (const size_t bytes = 1 + BytesOfBits(*least); bytes < best.bytes) best = {IndexForm::kRice, parameter, bytes};
  if (const size_t bytes = 1 + BytesOfBits(lengths.packed); bytes < best.bytes) best = {IndexForm::kPacked, 0, bytes};
  return best;
}

template <typename Index>
void EncodeBitmap(std::span<const Index> indices, std::span<std::byte> out) {
  std::fill(out.begin(), out.end(), std::byte{0});
  for (const uint64_t index : indices) out[index / 8] |= std::byte{1} << (index % 8);
}

template <typename Index>
void EncodeRice(std::span<const Index> indices, int parameter, std::span<std::byte> out) {
  BitWriter bits(out);
  const auto m = static_cast<unsigned>(parameter);
  const uint64_t low = LowBits(parameter);
  const auto put = [&](uint64_t gap) {
    bits.PutUnary(gap >> m);
    bits.Put(gap & low, parameter);
  };
  ForEachBlock(indices, [&](std::span<const Index> gaps) {
    // A pair of codes that fits one write is written as one.
    const auto longest = static_cast<uint64_t>(BitWriter::kShort) - 2 * (m + 1);  // of two quotients
    size_t j = 0;
    for (; j + 2 <= gaps.size(); j += 2) {
      const uint64_t first = gaps[j], second = gaps[j + 1];
      const uint64_t quotients = (first >> m) + (second >> m);
      if (m > 24 || quotients > longest || quotients < (first >> m)) {
        put(first);
        put(second);
        continue;
      }
      const uint64_t first_code = (((first & low) << 1) | 1) << (first >> m);
      const uint64_t second_code = (((second & low) << 1) | 1) << (second >> m);
      const uint64_t first_bits = (first >> m) + 1 + m;
      bits.PutShort(first_code | second_code << first_bits, static_cast<int>(quotients + 2 * (m + 1)));
    }
    if (j < gaps.size()) put(gaps[j]);
  });
  bits.Finish();
}

template <typename Index>
void EncodePacked(std::span<const Index> indices, std::span<std::byte> out) {
  BitWriter bits(out);
  ForEachBlock(indices, [&](std::span<const Index> gaps) {
    const int width = std::bit_width(SumBlock(gaps, 0).all);
    bits.Put(static_cast<uint64_t>(width), kBlockWidthBits);
    for (const Index gap : gaps) bits.Put(gap, width);
  });
  bits.Finish();
}

template <typename Index>
void EncodeAs(std::span<const Index> indices, const IndexPlan& plan, std::span<std::byte> out) {
  assert(out.size() == plan.bytes);
  if (plan.bytes == 0) return;
  out[0] = Tag(plan);
  out = out.subspan(1);
  if (plan.form == IndexForm::kBitmap) EncodeBitmap(indices, out);
  if (plan.form == IndexForm::kPacked) EncodePacked(indices, out);
  if (plan.form == IndexForm::kRice) EncodeRice(indices, plan.parameter, out);
}

}  // namespace

IndexPlan PlanIndices(std::span<const uint32_t> indices, uint64_t elements) { return Plan(indices, elements); }
IndexPlan PlanIndices(std::span<const uint64_t> indices, uint64_t elements) { return Plan(indices, elements); }

size_t MaxIndexBytes(uint64_t count, uint64_t elements) {
  if (IsImplied(count, elements)) return 0;
  // The gaps sum to at most d - k, so Rice takes at most k (m + 1) + floor((d - k) / 2^m) bits for any m.
  uint64_t bits = elements;
  for (uint64_t m = 0; m <= kMaxRiceParameter && count <= bits / (m + 1); ++m) {
    bits = std::min(bits, count * (m + 1) + ((elements - count) >> m));
  }
  return 1 + BytesOfBits(bits);
}

void EncodeIndices(std::span<const uint32_t> indices, uint64_t elements, const IndexPlan& plan,
                   std::span<std::byte> out) {
  EncodeAs(indices, plan, out);
}
void EncodeIndices(std::span<const uint64_t> indices, uint64_t elements, const IndexPlan& plan,
                   std::span<std::byte> out) {
  EncodeAs(indices, plan, out);
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
  const std::span<uint64_t> chunk = std::span(chunks_[given_ / kChunk % chunks_.size()]).first(want);
  if (implied_) {
    std::iota(chunk.begin(), chunk.end(), given_);
  } else if (form_ == IndexForm::kBitmap) {
    ReadBitmap(chunk);
  } else if (form_ == IndexForm::kPacked) {
    ReadPacked(chunk);
  } else {
    ReadRice(chunk);
  }
  if (!status_.ok()) return {};
  given_ += want;
  return chunk;
}

void IndexDecoder::ReadBitmap(std::span<uint64_t> chunk) {
  for (size_t j = 0; j < chunk.size();) {
    if (word_ == 0) {
      if (bitmap_read_ == elements_) {
        return Fail(absl::DataLossError(fmt::format("bitmap of {} indices, expected {}", given_ + j, count_)));
      }
      NextWord();
    }
    for (; word_ != 0 && j < chunk.size(); word_ &= word_ - 1) {
      chunk[j++] = word_base_ + static_cast<uint64_t>(std::countr_zero(word_));
    }
  }
}

void IndexDecoder::NextWord() {
  const auto step = static_cast<int>(std::min<uint64_t>(64, elements_ - bitmap_read_));
  word_ = bits_.Get(step);
  word_base_ = bitmap_read_;
  bitmap_read_ += static_cast<uint64_t>(step);
}

void IndexDecoder::ReadPacked(std::span<uint64_t> chunk) {
  static_assert(kChunk % kBlock == 0, "a chunk starts where a block starts");
  for (size_t first = 0; first < chunk.size(); first += kBlock) {
    const std::span<uint64_t> block = chunk.subspan(first, std::min(kBlock, chunk.size() - first));
    const auto width = static_cast<int>(bits_.Get(kBlockWidthBits));
    if (width > 64) return Fail(absl::DataLossError(fmt::format("packed indices of {} bits", width)));
    for (size_t j = 0; j < block.size(); ++j) {
      block[j] = bits_.Get(width);
      if (!bits_.ok()) return FailAtEnd(first + j);
    }
    if (!SumGaps(block)) return;
  }
}

void IndexDecoder::ReadRice(std::span<uint64_t> chunk) {
  size_t j = 0;
  if (parameter_ <= kMostLowBits) j = ReadShortCodes(chunk);
  for (; j < chunk.size(); ++j) {
    const uint64_t quotient = bits_.GetUnary();
    const uint64_t low = bits_.Get(parameter_);
    if (!bits_.ok()) {
      if (SumGaps(chunk.first(j))) FailAtEnd(j);
      return;
    }
    const bool fits = quotient <= LowBits(64 - parameter_);
    chunk[j] = fits ? (quotient << parameter_) | low : std::numeric_limits<uint64_t>::max();
    if (parameter_ <= kMostLowBits) j += ReadShortCodes(chunk.subspan(j + 1));
  }
  SumGaps(chunk);
}

// Reads gaps as long as whole groups of them lie in what the reader shows at a time. Gives their number.
size_t IndexDecoder::ReadShortCodes(std::span<uint64_t> gaps) {
  const auto m = static_cast<unsigned>(parameter_);
  const uint64_t low = LowBits(parameter_);
  // As many as a window holds for usual quotients, whose mean is about 1.5.
  const size_t group = std::clamp<size_t>(BitReader::kWindowBits / (m + 4), 1, kLargestGroup);
  size_t j = 0;
  while (j + group <= gaps.size()) {
    uint64_t window = bits_.Peek();
    uint64_t used = 0;
    for (size_t end = j + group; j < end; ++j) {
      const auto quotient = static_cast<unsigned>(std::countr_zero(window | kTopBit));  // 63: more than is shown
      window = window >> quotient >> 1;
      gaps[j] = (uint64_t{quotient} << m) | (window & low);
      window >>= m;
      used += quotient + 1 + m;
    }
    if (used > std::min<uint64_t>(BitReader::kWindowBits, bits_.bits_left())) return j - group;
    bits_.Skip(used);
  }
  return j;
}

// Turns the gaps after next_ into indices, unless one is too large.
bool IndexDecoder::SumGaps(std::span<uint64_t> gaps) {
  for (uint64_t& slot : gaps) {
    const uint64_t gap = slot;
    if (gap >= elements_ - next_) {
      const uint64_t index =
          gap > std::numeric_limits<uint64_t>::max() - next_ ? std::numeric_limits<uint64_t>::max() : next_ + gap;
      Fail(absl::DataLossError(fmt::format("index {} >= {} elements", index, elements_)));
      return false;
    }
    slot = next_ + gap;
    next_ = slot + 1;
  }
  return true;
}

// All indices were given: nothing but zero padding may be left.
void IndexDecoder::CheckEnd() {
  if (implied_) return;
  if (form_ == IndexForm::kBitmap) {
    uint64_t more = static_cast<uint64_t>(std::popcount(word_));
    while (bitmap_read_ < elements_) {
      NextWord();
      more += static_cast<uint64_t>(std::popcount(word_));
    }
    if (more > 0) {
      Fail(absl::DataLossError(fmt::format("bitmap of {} indices, expected {}", count_ + more, count_)));
      return;
    }
  }
  if (!bits_.AtEnd()) Fail(absl::DataLossError(fmt::format("bits left over after {} indices", count_)));
}

void IndexDecoder::Fail(absl::Status status) { status_ = std::move(status); }

void IndexDecoder::FailAtEnd(size_t read) {
  Fail(absl::DataLossError(fmt::format("indices end after {} of {}", given_ + read, count_)));
}

}  // namespace laconic::internal
