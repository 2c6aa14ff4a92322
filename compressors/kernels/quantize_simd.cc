// The quantiser, and codes packed to bits.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compressors/kernels/quantize_simd.cc"
#include "hwy/foreach_target.h"
// Below foreach_target.h, which must come first.
#include "compressors/kernels/scalar.h"
#include "compressors/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace laconic::kernels::HWY_NAMESPACE {
#if LACONIC_PORTABLE_TARGET
using namespace scalar;
#else

using Integers = hn::RebindToSigned<Floats>;
using IntegerVector = hn::Vec<Integers>;

// What a level, code - gain, stands for, over the norm: level / gain, correctly rounded.
class Ratios {
 public:
  HWY_INLINE explicit Ratios(float gain) : gain_(hn::Set(Floats(), gain)), reciprocal_(hn::Set(Floats(), 1 / gain)) {}
  HWY_INLINE FloatVector LevelOf(IntegerVector code) const { return hn::Sub(hn::ConvertTo(Floats(), code), gain_); }
  HWY_INLINE FloatVector Of(FloatVector level) const {
#if HWY_NATIVE_FMA
    // One step of Newton's method on the quotient rounds correctly (Markstein 1990): no underflow can occur here.
    const auto quotient = hn::Mul(level, reciprocal_);
    return hn::MulAdd(hn::NegMulAdd(quotient, gain_, level), reciprocal_, quotient);
#else
    return hn::Div(level, gain_);
#endif
  }

 private:
  FloatVector gain_, reciprocal_;
};

// A vector of codes, in the lowest bytes of its words, and their levels.
struct Quantized {
  WordVector codes;
  FloatVector levels;
};

// Stores the codes of a line and hands its residual to store.   kUp: levels.up is not 1.
template <bool kUp, typename Quantizer>
HWY_INLINE size_t QuantizeLines(std::span<const float> x, const Levels& levels, std::span<uint8_t> codes,
                                const Sink& sink, Quantizer quantizer) {
  const hn::Rebind<uint8_t, Integers> bytes;
  const auto up = hn::Set(Floats(), levels.up);
  const auto steps = hn::Set(Floats(), levels.steps);
  const auto norm = hn::Set(Floats(), levels.norm);
  const Ratios ratios(levels.gain);
  return ForEachLineOf(x, sink, [&](size_t line, auto store) HWY_ATTR {
    for (size_t k = 0; k < kVectors; ++k) {
      const size_t i = line + k * kLanes;
      const auto element = hn::LoadU(Floats(), x.data() + i);
      const Quantized quantized = quantizer(ratios, i, hn::Mul(kUp ? hn::Mul(element, up) : element, steps));
      hn::StoreU(hn::TruncateTo(bytes, quantized.codes), bytes, codes.data() + i);
      store(k, hn::Sub(element, hn::Mul(norm, ratios.Of(quantized.levels))));
    }
  });
}

template <typename Quantizer>
HWY_INLINE size_t QuantizeLines(std::span<const float> x, const Levels& levels, std::span<uint8_t> codes,
                                const Sink& sink, Quantizer quantizer) {
  if (levels.up == 1) return QuantizeLines<false>(x, levels, codes, sink, quantizer);
  return QuantizeLines<true>(x, levels, codes, sink, quantizer);
}

void QuantizeNearest(std::span<const float> x, const Levels& levels, std::span<uint8_t> codes, const Sink& sink) {
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits of the mantissa.
  const auto magic = hn::Set(Floats(), 0x1.8p23f + levels.gain);
  const size_t done = QuantizeLines(x, levels, codes, sink, [&](const Ratios&, size_t, FloatVector y) HWY_ATTR {
    const auto sum = hn::Add(y, magic);
    return Quantized{hn::BitCast(Words(), sum), hn::Sub(sum, magic)};
  });
  if (done < x.size()) scalar::QuantizeNearest(x.subspan(done), levels, codes.subspan(done), LeftOf(sink, done));
}

void QuantizeStochastic(std::span<const float> x, const Levels& levels, std::span<const uint32_t> words,
                        std::span<uint8_t> codes, const Sink& sink) {
  const auto most = hn::Set(Floats(), levels.gain);
  const auto least = hn::Set(Floats(), -levels.gain);
  const auto to_fixed = hn::Set(Floats(), 0x1p24f);
  const auto offset = hn::Set(Words(), static_cast<uint32_t>(levels.gain * 0x1p24f));
  const size_t done =
      QuantizeLines(x, levels, codes, sink, [&](const Ratios& ratios, size_t i, FloatVector y) HWY_ATTR {
        const auto level = hn::Min(hn::Max(y, least), most);
        const auto fixed = hn::BitCast(Words(), hn::ConvertTo(Integers(), hn::Mul(level, to_fixed)));
        const auto draw = hn::ShiftRight<8>(hn::LoadU(Words(), words.data() + i));
        const auto code = hn::ShiftRight<24>(hn::Add(hn::Add(fixed, offset), draw));
        return Quantized{code, ratios.LevelOf(hn::BitCast(Integers(), code))};
      });
  if (done < x.size())
    scalar::QuantizeStochastic(x.subspan(done), levels, words.subspan(done), codes.subspan(done), LeftOf(sink, done));
}

void DequantizeAdd(std::span<const uint8_t> codes, float gain, float norm, float scale, std::span<float> acc) {
  const hn::Rebind<uint8_t, Integers> bytes;
  const Ratios ratios(gain);
  const auto norms = hn::Set(Floats(), norm);
  const auto scales = hn::Set(Floats(), scale);
  size_t i = 0;
  for (; i + kLine <= acc.size(); i += kLine) {
    hwy::Prefetch(acc.data() + i + 4 * kFetchDistance);
    for (size_t j = i; j < i + kLine; j += kLanes) {
      const auto code = hn::PromoteTo(Integers(), hn::LoadU(bytes, codes.data() + j));
      const auto term = hn::Mul(scales, hn::Mul(norms, ratios.Of(ratios.LevelOf(code))));
      hn::StoreU(hn::Add(hn::LoadU(Floats(), acc.data() + j), term), Floats(), acc.data() + j);
    }
  }
  if (i < codes.size()) scalar::DequantizeAdd(codes.subspan(i), gain, norm, scale, acc.subspan(i));
}

// Codes of 3, 5, 6 or 7 bits: eight codes lie in the bytes of a 64-bit word, or in its lowest 8 * bits bits.
using Eights = hn::CappedTag<uint64_t, 8>;
using EightsVector = hn::Vec<Eights>;
constexpr size_t kEights = hn::MaxLanes(Eights());

// Brings neighbours of `width` bits, at the bottoms of fields twice as wide as `field`, together; and back.
template <typename Field>
HWY_INLINE EightsVector Join(EightsVector v, int width) {
  const hn::Repartition<hwy::MakeWide<Field>, Eights> wide;
  const auto fields = hn::BitCast(wide, v);
  const auto low = hn::And(fields, hn::Set(wide, static_cast<Field>(~Field{0})));
  const auto high = hn::ShiftRight<8 * sizeof(Field)>(fields);
  return hn::BitCast(Eights(), hn::Or(low, hn::ShiftLeftSame(high, width)));
}
template <typename Field>
HWY_INLINE EightsVector Part(EightsVector v, int width) {
  using Wide = hwy::MakeWide<Field>;
  const hn::Repartition<Wide, Eights> wide;
  const auto fields = hn::BitCast(wide, v);
  const auto mask = hn::Set(wide, static_cast<Wide>((Wide{1} << width) - 1));
  const auto high = hn::And(hn::ShiftRightSame(fields, width), mask);
  return hn::BitCast(Eights(), hn::Or(hn::And(fields, mask), hn::ShiftLeft<8 * sizeof(Field)>(high)));
}

// Stores the lowest b bytes of each word one after the other, b < 8.   room: bytes from `to` on that may be written.
HWY_INLINE void StoreBytes(EightsVector words, size_t b, std::byte* to, size_t room) {
  alignas(64) uint64_t lanes[kEights];
  hn::Store(words, Eights(), lanes);
  for (size_t j = 0; j < kEights; ++j) {
    // Eight bytes at once where they fit: the next word overwrites what is too much.
    std::memcpy(to + j * b, &lanes[j], j * b + 8 <= room ? 8 : b);
  }
}

// The inverse; the upper bytes of the words are unspecified.
HWY_INLINE EightsVector LoadBytes(const std::byte* from, size_t b, size_t room) {
  alignas(64) uint64_t lanes[kEights] = {};
  for (size_t j = 0; j < kEights; ++j) std::memcpy(&lanes[j], from + j * b, j * b + 8 <= room ? 8 : b);
  return hn::Load(Eights(), lanes);
}

// Codes of 1, 2 or 4 bits: neighbouring bytes of `bits` bits each become one byte of twice as many, until bytes are
// full; and back.   count: of the unpacked bytes, a multiple of 2 * kPairs.
using Pairs = hn::CappedTag<uint16_t, 32>;
constexpr size_t kPairs = hn::MaxLanes(Pairs());
constexpr size_t kChunk = 512;

HWY_INLINE void Halve(const uint8_t* from, size_t count, int bits, uint8_t* to) {
  const hn::Rebind<uint8_t, Pairs> bytes;
  for (size_t i = 0; i < count; i += 2 * kPairs) {
    const auto pairs = hn::LoadU(Pairs(), reinterpret_cast<const uint16_t*>(from + i));
    const auto joined = hn::Or(pairs, hn::ShiftRightSame(pairs, 8 - bits));
    const auto low = hn::And(joined, hn::Set(Pairs(), uint16_t{0xff}));
    hn::StoreU(hn::DemoteTo(bytes, hn::BitCast(hn::RebindToSigned<Pairs>(), low)), bytes, to + i / 2);
  }
}

HWY_INLINE void Double(const uint8_t* from, size_t count, int bits, uint8_t* to) {
  const hn::Rebind<uint8_t, Pairs> bytes;
  const auto mask = hn::Set(Pairs(), static_cast<uint16_t>(((1u << bits) - 1) * 0x101u));
  for (size_t i = count; i > 0; i -= 2 * kPairs) {  // from behind, so that it may be in place
    const size_t at = i - 2 * kPairs;
    const auto pairs = hn::PromoteTo(Pairs(), hn::LoadU(bytes, from + at / 2));
    const auto apart = hn::And(hn::Or(pairs, hn::ShiftLeftSame(pairs, 8 - bits)), mask);
    hn::StoreU(apart, Pairs(), reinterpret_cast<uint16_t*>(to + at));
  }
}

void PackCodes(std::span<const uint8_t> codes, int bits, std::span<std::byte> packed) {
  const auto b = static_cast<size_t>(bits);
  size_t i = 0;
  if (b == 8) {
    if (!codes.empty()) std::memcpy(packed.data(), codes.data(), codes.size());
    return;
  }
  if (b == 4) {
    i = codes.size() / (2 * kPairs) * (2 * kPairs);
    Halve(codes.data(), i, 4, reinterpret_cast<uint8_t*>(packed.data()));
  } else if (b < 3) {
    uint8_t halves[kChunk / 2], quarters[kChunk / 4];
    for (; i + kChunk <= codes.size(); i += kChunk) {
      auto* const to = reinterpret_cast<uint8_t*>(packed.data() + i / 8 * b);
      Halve(codes.data() + i, kChunk, bits, halves);
      Halve(halves, kChunk / 2, 2 * bits, b == 2 ? to : quarters);
      if (b == 1) Halve(quarters, kChunk / 4, 4, to);
    }
  } else {
    for (; i + 8 * kEights <= codes.size(); i += 8 * kEights) {
      auto words = hn::LoadU(Eights(), reinterpret_cast<const uint64_t*>(codes.data() + i));
      words = Join<uint8_t>(words, bits);
      words = Join<uint16_t>(words, 2 * bits);
      words = Join<uint32_t>(words, 4 * bits);
      StoreBytes(words, b, packed.data() + i / 8 * b, packed.size() - i / 8 * b);
    }
  }
  if (i < codes.size()) scalar::PackCodes(codes.subspan(i), bits, packed.subspan(i / 8 * b));
}

void UnpackCodes(std::span<const std::byte> packed, int bits, std::span<uint8_t> codes) {
  const auto b = static_cast<size_t>(bits);
  size_t i = 0;
  if (b == 8) {
    if (!codes.empty()) std::memcpy(codes.data(), packed.data(), codes.size());
    return;
  }
  if (b == 4) {
    i = codes.size() / (2 * kPairs) * (2 * kPairs);
    Double(reinterpret_cast<const uint8_t*>(packed.data()), i, 4, codes.data());
  } else if (b < 3) {
    for (; i + kChunk <= codes.size(); i += kChunk) {
      const auto* const from = reinterpret_cast<const uint8_t*>(packed.data() + i / 8 * b);
      uint8_t* const to = codes.data() + i;
      if (b == 1) Double(from, kChunk / 4, 4, to);
      Double(b == 1 ? to : from, kChunk / 2, 2 * bits, to);
      Double(to, kChunk, bits, to);
    }
  } else {
    for (; i + 8 * kEights <= codes.size(); i += 8 * kEights) {
      auto words = LoadBytes(packed.data() + i / 8 * b, b, packed.size() - i / 8 * b);
      words = Part<uint32_t>(words, 4 * bits);
      words = Part<uint16_t>(words, 2 * bits);
      words = Part<uint8_t>(words, bits);
      hn::StoreU(words, Eights(), reinterpret_cast<uint64_t*>(codes.data() + i));
    }
  }
  if (i < codes.size()) scalar::UnpackCodes(packed.subspan(i / 8 * b), bits, codes.subspan(i));
}

size_t FirstAbove(std::span<const uint8_t> codes, uint8_t limit) {
  const hn::CappedTag<uint8_t, 64> d;
  constexpr size_t kBytes = hn::MaxLanes(d);
  constexpr size_t kChunk = 512;
  size_t i = 0;
  for (; i + kChunk <= codes.size(); i += kChunk) {
    auto largest = hn::Zero(d);
    for (size_t j = 0; j < kChunk; j += kBytes) largest = hn::Max(largest, hn::LoadU(d, codes.data() + i + j));
    if (!hn::AllTrue(d, hn::Eq(hn::Max(largest, hn::Set(d, limit)), hn::Set(d, limit)))) break;
  }
  return i + scalar::FirstAbove(codes.subspan(i), limit);
}

#endif  // LACONIC_PORTABLE_TARGET
}  // namespace laconic::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace laconic::kernels {

Levels Levels::Of(float gain, float norm) {
  if (norm == 0) return {.gain = gain};
  Levels levels{.gain = gain, .norm = norm};
  if (norm < 0x1p-64f) levels.up = 0x1p64f;
  if (norm > 0x1p64f) levels.up = 0x1p-64f;
  const float scaled = norm * levels.up;
  levels.steps = gain / scaled;
  if (scaled * levels.steps < gain) levels.steps = std::bit_cast<float>(std::bit_cast<uint32_t>(levels.steps) + 1);
  return levels;
}

HWY_EXPORT(QuantizeNearest);
void QuantizeNearest(std::span<const float> x, const Levels& levels, std::span<uint8_t> codes, const Sink& sink) {
  HWY_DYNAMIC_DISPATCH(QuantizeNearest)(x, levels, codes, sink);
}

HWY_EXPORT(QuantizeStochastic);
void QuantizeStochastic(std::span<const float> x, const Levels& levels, std::span<const uint32_t> words,
                        std::span<uint8_t> codes, const Sink& sink) {
  HWY_DYNAMIC_DISPATCH(QuantizeStochastic)(x, levels, words, codes, sink);
}

HWY_EXPORT(DequantizeAdd);
void DequantizeAdd(std::span<const uint8_t> codes, float gain, float norm, float scale, std::span<float> acc) {
  HWY_DYNAMIC_DISPATCH(DequantizeAdd)(codes, gain, norm, scale, acc);
}

HWY_EXPORT(PackCodes);
void PackCodes(std::span<const uint8_t> codes, int bits, std::span<std::byte> packed) {
  HWY_DYNAMIC_DISPATCH(PackCodes)(codes, bits, packed);
}

HWY_EXPORT(UnpackCodes);
void UnpackCodes(std::span<const std::byte> packed, int bits, std::span<uint8_t> codes) {
  HWY_DYNAMIC_DISPATCH(UnpackCodes)(packed, bits, codes);
}

HWY_EXPORT(FirstAbove);
size_t FirstAbove(std::span<const uint8_t> codes, uint8_t limit) {
  return HWY_DYNAMIC_DISPATCH(FirstAbove)(codes, limit);
}

}  // namespace laconic::kernels
#endif  // HWY_ONCE
