// Casts to 16 bits and back, and rounding to powers of two.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compressors/kernels/cast_simd.cc"
#include <cmath>

#include "hwy/foreach_target.h"
// Below foreach_target.h, which must come first.
#include "compressors/kernels/scalar.h"
#include "compressors/kernels/simd-inl.h"

// Where the instruction set converts to and from binary16, rounding to nearest. What Highway does elsewhere rounds
// otherwise, so that the oracle must do.
#undef LACONIC_NATIVE_HALVES
#define LACONIC_NATIVE_HALVES (HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL)

HWY_BEFORE_NAMESPACE();
namespace laconic::kernels::HWY_NAMESPACE {
#if LACONIC_PORTABLE_TARGET
using namespace scalar;
#else

using Shorts = hn::Rebind<uint16_t, Floats>;
using ShortVector = hn::Vec<Shorts>;

// Multiplies by 2^exponent, in two factors.
class PowerOfTwo {
 public:
  HWY_INLINE explicit PowerOfTwo(int exponent)
      : first_(hn::Set(Floats(), std::ldexp(1.0f, exponent / 2))),
        second_(hn::Set(Floats(), std::ldexp(1.0f, exponent - exponent / 2))) {}
  HWY_INLINE FloatVector Times(FloatVector x) const { return hn::Mul(hn::Mul(x, first_), second_); }

 private:
  FloatVector first_, second_;
};

struct Bfloat16 {
  static HWY_INLINE ShortVector From(FloatVector x) {
    const auto bits = hn::BitCast(Words(), x);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(Words(), 1));
    const auto rounded = hn::Add(hn::Add(bits, hn::Set(Words(), 0x7fff)), odd);  // ties to even
    return hn::TruncateTo(Shorts(), hn::ShiftRight<16>(rounded));
  }
  static HWY_INLINE FloatVector To(ShortVector x) {
    return hn::BitCast(Floats(), hn::ShiftLeft<16>(hn::PromoteTo(Words(), x)));
  }
};

#if LACONIC_NATIVE_HALVES
struct Half {
  static HWY_INLINE ShortVector From(FloatVector x) {
    return hn::BitCast(Shorts(), hn::DemoteTo(hn::Rebind<hwy::float16_t, Floats>(), x));
  }
  static HWY_INLINE FloatVector To(ShortVector x) {
    return hn::PromoteTo(Floats(), hn::BitCast(hn::Rebind<hwy::float16_t, Floats>(), x));
  }
};
#endif

template <typename Format>
HWY_INLINE size_t CastLines(std::span<const float> x, int exponent, float limit, std::span<uint16_t> y,
                            const Sink& sink) {
  const PowerOfTwo there(exponent), back(-exponent);
  const auto most = hn::Set(Floats(), limit);
  const auto least = hn::Set(Floats(), -limit);
  return ForEachLineOf(x, sink, [&](size_t line, auto store) HWY_ATTR {
    for (size_t k = 0; k < kVectors; ++k) {
      const size_t i = line + k * kLanes;
      const auto element = hn::LoadU(Floats(), x.data() + i);
      const auto cast = Format::From(hn::Min(hn::Max(there.Times(element), least), most));
      hn::StoreU(cast, Shorts(), y.data() + i);
      store(k, hn::Sub(element, back.Times(Format::To(cast))));
    }
  });
}

template <typename Format>
HWY_INLINE size_t UncastLines(std::span<const uint16_t> x, int exponent, std::span<float> y) {
  const PowerOfTwo power(exponent);
  size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes) {
    hn::StoreU(power.Times(Format::To(hn::LoadU(Shorts(), x.data() + i))), Floats(), y.data() + i);
  }
  return i;
}

void ToBfloat16s(std::span<const float> x, int exponent, float limit, std::span<uint16_t> y, const Sink& sink) {
  const size_t i = CastLines<Bfloat16>(x, exponent, limit, y, sink);
  if (i < x.size()) scalar::ToBfloat16s(x.subspan(i), exponent, limit, y.subspan(i), LeftOf(sink, i));
}

void FromBfloat16s(std::span<const uint16_t> x, int exponent, std::span<float> y) {
  const size_t i = UncastLines<Bfloat16>(x, exponent, y);
  if (i < x.size()) scalar::FromBfloat16s(x.subspan(i), exponent, y.subspan(i));
}

#if LACONIC_NATIVE_HALVES
void ToHalves(std::span<const float> x, int exponent, float limit, std::span<uint16_t> y, const Sink& sink) {
  const size_t i = CastLines<Half>(x, exponent, limit, y, sink);
  if (i < x.size()) scalar::ToHalves(x.subspan(i), exponent, limit, y.subspan(i), LeftOf(sink, i));
}

void FromHalves(std::span<const uint16_t> x, int exponent, std::span<float> y) {
  const size_t i = UncastLines<Half>(x, exponent, y);
  if (i < x.size()) scalar::FromHalves(x.subspan(i), exponent, y.subspan(i));
}
#else
using scalar::FromHalves;
using scalar::ToHalves;
#endif

void RoundToPowersOfTwo(std::span<const float> x, std::span<const uint32_t> words, std::span<uint8_t> exponents,
                        const Sink& sink) {
  const hn::RebindToSigned<Words> integers;
  const hn::Rebind<uint8_t, Words> bytes;
  const auto magnitude = hn::Set(Words(), kMagnitudeBits);
  const auto most = hn::Set(Words(), 254);  // 255 would be infinity
  const size_t i = ForEachLineOf(x, sink, [&](size_t line, auto store) HWY_ATTR {
    for (size_t k = 0; k < kVectors; ++k) {
      const size_t i = line + k * kLanes;
      const auto element = hn::LoadU(Floats(), x.data() + i);
      const auto draw = hn::ShiftRight<9>(hn::LoadU(Words(), words.data() + i));
      // Adding a uniform 23-bit number to the mantissa carries into the exponent with probability mantissa / 2^23.
      const auto sum = hn::Add(hn::And(hn::BitCast(Words(), element), magnitude), draw);
      const auto exponent = hn::Min(hn::ShiftRight<23>(sum), most);
      hn::StoreU(hn::DemoteTo(bytes, hn::BitCast(integers, exponent)), bytes, exponents.data() + i);
      const auto power = hn::BitCast(Floats(), hn::ShiftLeft<23>(exponent));
      store(k, hn::Sub(element, hn::Or(power, SignBits(element))));
    }
  });
  if (i < x.size()) scalar::RoundToPowersOfTwo(x.subspan(i), words.subspan(i), exponents.subspan(i), LeftOf(sink, i));
}

void AddPowersOfTwo(std::span<const uint8_t> exponents, std::span<const std::byte> signs, float scale,
                    std::span<float> acc) {
  const hn::Rebind<uint8_t, Words> bytes;
  const auto scales = hn::Set(Floats(), scale);
  size_t i = 0;
  for (; i + kLine <= acc.size(); i += kLine) {
    hwy::Prefetch(acc.data() + i + 4 * kFetchDistance);
    for (size_t k = 0; k < kVectors; ++k) {
      const size_t j = i + k * kLanes;
      const auto exponent = hn::PromoteTo(Words(), hn::LoadU(bytes, exponents.data() + j));
      const auto power = hn::BitCast(Floats(), hn::ShiftLeft<23>(exponent));
      const auto value = hn::IfThenElse(LoadMask(signs.data() + i / 8, k), hn::Neg(power), power);
      hn::StoreU(hn::Add(hn::LoadU(Floats(), acc.data() + j), hn::Mul(scales, value)), Floats(), acc.data() + j);
    }
  }
  if (i < acc.size()) scalar::AddPowersOfTwo(exponents.subspan(i), signs.subspan(i / 8), scale, acc.subspan(i));
}

#endif  // LACONIC_PORTABLE_TARGET
}  // namespace laconic::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace laconic::kernels {

HWY_EXPORT(ToHalves);
void ToHalves(std::span<const float> x, int exponent, float limit, std::span<uint16_t> y, const Sink& sink) {
  HWY_DYNAMIC_DISPATCH(ToHalves)(x, exponent, limit, y, sink);
}

HWY_EXPORT(FromHalves);
void FromHalves(std::span<const uint16_t> x, int exponent, std::span<float> y) {
  HWY_DYNAMIC_DISPATCH(FromHalves)(x, exponent, y);
}

HWY_EXPORT(ToBfloat16s);
void ToBfloat16s(std::span<const float> x, int exponent, float limit, std::span<uint16_t> y, const Sink& sink) {
  HWY_DYNAMIC_DISPATCH(ToBfloat16s)(x, exponent, limit, y, sink);
}

HWY_EXPORT(FromBfloat16s);
void FromBfloat16s(std::span<const uint16_t> x, int exponent, std::span<float> y) {
  HWY_DYNAMIC_DISPATCH(FromBfloat16s)(x, exponent, y);
}

HWY_EXPORT(RoundToPowersOfTwo);
void RoundToPowersOfTwo(std::span<const float> x, std::span<const uint32_t> words, std::span<uint8_t> exponents,
                        const Sink& sink) {
  HWY_DYNAMIC_DISPATCH(RoundToPowersOfTwo)(x, words, exponents, sink);
}

HWY_EXPORT(AddPowersOfTwo);
void AddPowersOfTwo(std::span<const uint8_t> exponents, std::span<const std::byte> signs, float scale,
                    std::span<float> acc) {
  HWY_DYNAMIC_DISPATCH(AddPowersOfTwo)(exponents, signs, scale, acc);
}

}  // namespace laconic::kernels
#endif  // HWY_ONCE
