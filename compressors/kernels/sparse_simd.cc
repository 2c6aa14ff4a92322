// The kernels of sparse.h on vectors, compiled once for each instruction set (simd-inl.h says how).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compressors/kernels/sparse_simd.cc"  // this file, included again for each target
#include "hwy/foreach_target.h"
// Below foreach_target.h, which must come first.
#include "compressors/kernels/simd-inl.h"
#include "compressors/kernels/sparse.h"

HWY_BEFORE_NAMESPACE();
namespace laconic::kernels::HWY_NAMESPACE {
#if LACONIC_PORTABLE_TARGET
using namespace scalar;
#else

using Integers = hn::RebindToSigned<Floats>;

// Does the key of x reach a threshold? Keys fit 31 bits, and signed comparison is what all targets have.
HWY_INLINE hn::Mask<Floats> Reaches(FloatVector x, hn::Vec<Integers> below_threshold) {
  const Integers di;
  const auto key = hn::And(hn::BitCast(di, x), hn::Set(di, static_cast<int32_t>(kMagnitudeBits)));
  return hn::RebindMask(Floats(), hn::Gt(key, below_threshold));
}

HWY_INLINE hn::Vec<Integers> Below(uint32_t threshold) {
  return hn::Set(Integers(), static_cast<int32_t>(threshold - 1));
}

// Writes the entries of one vector whose mask is set; a whole vector is written, whose tail means nothing. To ask first
// whether there are any is faster, even where every other vector has some: stores are what is scarce.
HWY_INLINE size_t Append(FloatVector values, WordVector positions, hn::Mask<Floats> mask, EntriesOut out, size_t at) {
  const Floats d;
  const Words du;
  if (hn::AllFalse(d, mask)) return 0;
  hn::StoreU(hn::Compress(values, mask), d, out.values + at);
  hn::StoreU(hn::Compress(positions, hn::RebindMask(du, mask)), du, out.positions + at);
  return hn::CountTrue(d, mask);
}

constexpr EntriesOut After(EntriesOut out, size_t count) { return {out.values + count, out.positions + count}; }

size_t CollectLarge(std::span<const float> x, uint32_t threshold, uint32_t first, EntriesOut out) {
  const Floats d;
  const Words du;
  const auto below = Below(threshold);
  const auto step = hn::Set(du, static_cast<uint32_t>(kLanes));
  auto positions = hn::Iota(du, first);
  size_t count = 0;
  size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes) {
    const auto values = hn::LoadU(d, x.data() + i);
    count += Append(values, positions, Reaches(values, below), out, count);
    positions = hn::Add(positions, step);
  }
  return count + scalar::CollectLarge(x.subspan(i), threshold, first + static_cast<uint32_t>(i), After(out, count));
}

size_t SplitLarge(std::span<const float> x, uint32_t threshold, uint32_t first, EntriesOut out, const Sink& sink) {
  const Floats d;
  const Words du;
  const auto below = Below(threshold);
  const auto step = hn::Set(du, static_cast<uint32_t>(kLanes));
  auto positions = hn::Iota(du, first);
  size_t count = 0;
  const size_t i = ForEachLine(sink, [&](size_t i, auto store) HWY_ATTR {
    for (size_t k = 0; k < kVectors; ++k) {
      const auto values = hn::LoadU(d, x.data() + i + k * kLanes);
      const auto mask = Reaches(values, below);
      count += Append(values, positions, mask, out, count);
      positions = hn::Add(positions, step);
      store(k, hn::IfThenZeroElse(mask, values));
    }
  });
  return count + scalar::SplitLarge(x.subspan(i), threshold, first + static_cast<uint32_t>(i), After(out, count),
                                    RestOf(sink, i));
}

size_t PartitionLarge(std::span<const float> values, std::span<const uint32_t> positions, uint32_t threshold,
                      EntriesOut kept, EntriesOut dropped) {
  const Floats d;
  const Words du;
  const auto below = Below(threshold);
  size_t count = 0;
  size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    const auto some_values = hn::LoadU(d, values.data() + i);
    const auto some_positions = hn::LoadU(du, positions.data() + i);
    const auto mask = Reaches(some_values, below);
    Append(some_values, some_positions, hn::Not(mask), dropped, i - count);
    count += Append(some_values, some_positions, mask, kept, count);
  }
  return count + scalar::PartitionLarge(values.subspan(i), positions.subspan(i), threshold, After(kept, count),
                                        After(dropped, i - count));
}

Band CollectBand(std::span<const float> x, uint32_t from, uint32_t to, uint32_t* out) {
  const Floats d;
  const Integers di;
  const Words du;
  const auto below_from = Below(from);
  const auto below_to = Below(to);
  Band band;
  size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes) {
    const auto key =
        hn::And(hn::BitCast(di, hn::LoadU(d, x.data() + i)), hn::Set(di, static_cast<int32_t>(kMagnitudeBits)));
    const auto above = hn::Gt(key, below_to);
    const auto inside = hn::AndNot(above, hn::Gt(key, below_from));
    hn::StoreU(hn::BitCast(du, hn::Compress(key, inside)), du, out + band.inside);
    band.inside += hn::CountTrue(di, inside);
    band.above += hn::CountTrue(di, above);
  }
  const Band rest = scalar::CollectBand(x.subspan(i), from, to, out + band.inside);
  return {band.inside + rest.inside, band.above + rest.above};
}

// The upper halves of the 64-bit products.
HWY_INLINE WordVector MulHigh(WordVector a, WordVector b) {
  const Words du;
  const hn::RepartitionToWide<Words> dw;
  const auto even = hn::ShiftRight<32>(hn::MulEven(a, b));
  const auto odd = hn::MulEven(hn::BitCast(du, hn::ShiftRight<32>(hn::BitCast(dw, a))), b);
  return hn::OddEven(hn::BitCast(du, odd), hn::BitCast(du, even));
}

HWY_INLINE WordVector AddRound(WordVector value, WordVector half, uint32_t key, WordVector bound) {
  const Words du;
  auto x = hn::Add(half, hn::Set(du, key));
  x = hn::Mul(hn::Xor(x, hn::ShiftRight<16>(x)), hn::Set(du, 0x7feb352du));
  x = hn::Mul(hn::Xor(x, hn::ShiftRight<15>(x)), hn::Set(du, 0x846ca68bu));
  x = hn::Xor(x, hn::ShiftRight<16>(x));
  const auto sum = hn::Add(value, MulHigh(x, bound));
  return hn::Min(sum, hn::Sub(sum, bound));  // less than the bound, the difference wraps and is the larger
}

void FeistelImages(const FeistelNetwork& network, uint32_t first, std::span<uint32_t> images) {
  const Words du;
  size_t j = 0;
  if (network.columns >= kLanes) {  // then a vector of successive numbers lies in at most two rows
    const auto rows = hn::Set(du, network.rows);
    const auto columns = hn::Set(du, network.columns);
    const auto last_column = hn::Set(Integers(), static_cast<int32_t>(network.columns) - 1);
    uint32_t row = first / network.columns;
    uint32_t column = first % network.columns;
    for (; j + kLanes <= images.size(); j += kLanes) {
      auto right = hn::Iota(du, column);
      const auto wraps = hn::Gt(hn::BitCast(Integers(), right), last_column);
      const auto next_row = hn::RebindMask(du, wraps);
      auto left = hn::IfThenElse(next_row, hn::Set(du, row + 1), hn::Set(du, row));
      right = hn::IfThenElse(next_row, hn::Sub(right, columns), right);
      for (size_t round = 0; round < FeistelNetwork::kRounds; round += 2) {
        left = AddRound(left, right, network.round_keys[round], rows);
        right = AddRound(right, left, network.round_keys[round + 1], columns);
      }
      hn::StoreU(hn::Add(hn::Mul(left, columns), right), du, images.data() + j);
      column += static_cast<uint32_t>(kLanes);
      if (column >= network.columns) {
        column -= network.columns;
        ++row;
      }
    }
  }
  scalar::FeistelImages(network, first + static_cast<uint32_t>(j), images.subspan(j));
}

#endif  // LACONIC_PORTABLE_TARGET
}  // namespace laconic::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace laconic::kernels {

HWY_EXPORT(CollectLarge);
size_t CollectLarge(std::span<const float> x, uint32_t threshold, uint32_t first, EntriesOut out) {
  return HWY_DYNAMIC_DISPATCH(CollectLarge)(x, threshold, first, out);
}

HWY_EXPORT(SplitLarge);
size_t SplitLarge(std::span<const float> x, uint32_t threshold, uint32_t first, EntriesOut out, const Sink& sink) {
  return HWY_DYNAMIC_DISPATCH(SplitLarge)(x, threshold, first, out, sink);
}

HWY_EXPORT(PartitionLarge);
size_t PartitionLarge(std::span<const float> values, std::span<const uint32_t> positions, uint32_t threshold,
                      EntriesOut kept, EntriesOut dropped) {
  return HWY_DYNAMIC_DISPATCH(PartitionLarge)(values, positions, threshold, kept, dropped);
}

HWY_EXPORT(CollectBand);
Band CollectBand(std::span<const float> x, uint32_t from, uint32_t to, uint32_t* out) {
  return HWY_DYNAMIC_DISPATCH(CollectBand)(x, from, to, out);
}

HWY_EXPORT(FeistelImages);
void FeistelImages(const FeistelNetwork& network, uint32_t first, std::span<uint32_t> images) {
  HWY_DYNAMIC_DISPATCH(FeistelImages)(network, first, images);
}

}  // namespace laconic::kernels
#endif  // HWY_ONCE
