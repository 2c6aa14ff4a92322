// The kernels of kernels.h on vectors, compiled once for each instruction set (simd-inl.h says how).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compressors/kernels/dense_simd.cc"  // this file, included again for each target
#include "hwy/foreach_target.h"
// Below foreach_target.h, which must come first.
#include "compressors/kernels/scalar.h"
#include "compressors/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace laconic::kernels::HWY_NAMESPACE {
#if LACONIC_PORTABLE_TARGET
using namespace scalar;
#else

float AbsMax(std::span<const float> x) {
  const hn::ScalableTag<float> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  const size_t lanes = hn::Lanes(d);
  const auto magnitude = hn::Set(du, kMagnitudeBits);
  auto largest = hn::Zero(du);  // magnitudes order as their bits do, infinity and NaN above all others
  size_t i = 0;
  for (; i + lanes <= x.size(); i += lanes) {
    largest = hn::Max(largest, hn::And(hn::BitCast(du, hn::LoadU(d, x.data() + i)), magnitude));
  }
  const float rest = scalar::AbsMax(x.subspan(i));
  return std::bit_cast<float>(std::max(hn::GetLane(hn::MaxOfLanes(du, largest)), std::bit_cast<uint32_t>(rest)));
}

void ScaleAdd(std::span<const float> y, float scale, std::span<float> acc) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto factor = hn::Set(d, scale);
  size_t i = 0;
  for (; i + lanes <= acc.size(); i += lanes) {
    const auto product = hn::Mul(factor, hn::LoadU(d, y.data() + i));
    hn::StoreU(hn::Add(hn::LoadU(d, acc.data() + i), product), d, acc.data() + i);
  }
  scalar::ScaleAdd(y.subspan(i), scale, acc.subspan(i));
}

using scalar::AddPowersOfTwo;
using scalar::AddSigned;
using scalar::AddSignedWhere;
using scalar::CountZeros;
using scalar::DequantizeAdd;
using scalar::FirstAbove;
using scalar::FirstNonFinite;
using scalar::FromBfloat16s;
using scalar::FromHalves;
using scalar::PackCodes;
using scalar::PackSigns;
using scalar::QuantizeNearest;
using scalar::QuantizeStochastic;
using scalar::RoundToPowersOfTwo;
using scalar::SubtractSigned;
using scalar::SubtractSignedFromNonZeros;
using scalar::SumAbs;
using scalar::SumSquares;
using scalar::ToBfloat16s;
using scalar::ToHalves;
using scalar::UnpackCodes;

#endif  // LACONIC_PORTABLE_TARGET
}  // namespace laconic::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace laconic::kernels {

HWY_EXPORT(FirstNonFinite);
size_t FirstNonFinite(std::span<const float> x) { return HWY_DYNAMIC_DISPATCH(FirstNonFinite)(x); }

HWY_EXPORT(AbsMax);
float AbsMax(std::span<const float> x) { return HWY_DYNAMIC_DISPATCH(AbsMax)(x); }

HWY_EXPORT(SumAbs);
double SumAbs(std::span<const float> x) { return HWY_DYNAMIC_DISPATCH(SumAbs)(x); }

HWY_EXPORT(SumSquares);
double SumSquares(std::span<const float> x) { return HWY_DYNAMIC_DISPATCH(SumSquares)(x); }

HWY_EXPORT(CountZeros);
size_t CountZeros(std::span<const float> x) { return HWY_DYNAMIC_DISPATCH(CountZeros)(x); }

HWY_EXPORT(ScaleAdd);
void ScaleAdd(std::span<const float> y, float scale, std::span<float> acc) {
  return HWY_DYNAMIC_DISPATCH(ScaleAdd)(y, scale, acc);
}

HWY_EXPORT(PackSigns);
void PackSigns(std::span<const float> x, std::span<std::byte> bits) { return HWY_DYNAMIC_DISPATCH(PackSigns)(x, bits); }

HWY_EXPORT(SubtractSigned);
void SubtractSigned(float value, std::span<float> x) { return HWY_DYNAMIC_DISPATCH(SubtractSigned)(value, x); }

HWY_EXPORT(SubtractSignedFromNonZeros);
void SubtractSignedFromNonZeros(float value, std::span<float> x) {
  return HWY_DYNAMIC_DISPATCH(SubtractSignedFromNonZeros)(value, x);
}

HWY_EXPORT(AddSigned);
void AddSigned(std::span<const std::byte> signs, float value, std::span<float> acc) {
  return HWY_DYNAMIC_DISPATCH(AddSigned)(signs, value, acc);
}

HWY_EXPORT(AddSignedWhere);
void AddSignedWhere(std::span<const std::byte> signs, std::span<const std::byte> non_zeros, float value,
                    std::span<float> acc) {
  return HWY_DYNAMIC_DISPATCH(AddSignedWhere)(signs, non_zeros, value, acc);
}

HWY_EXPORT(QuantizeNearest);
void QuantizeNearest(std::span<const float> x, const Grid& grid, float norm, std::span<uint8_t> codes) {
  return HWY_DYNAMIC_DISPATCH(QuantizeNearest)(x, grid, norm, codes);
}

HWY_EXPORT(QuantizeStochastic);
void QuantizeStochastic(std::span<const float> x, const Grid& grid, float norm, std::span<const uint32_t> words,
                        std::span<uint8_t> codes) {
  return HWY_DYNAMIC_DISPATCH(QuantizeStochastic)(x, grid, norm, words, codes);
}

HWY_EXPORT(DequantizeAdd);
void DequantizeAdd(std::span<const uint8_t> codes, const Grid& grid, float norm, float scale, std::span<float> acc) {
  return HWY_DYNAMIC_DISPATCH(DequantizeAdd)(codes, grid, norm, scale, acc);
}

HWY_EXPORT(PackCodes);
void PackCodes(std::span<const uint8_t> codes, int bits, std::span<std::byte> packed) {
  return HWY_DYNAMIC_DISPATCH(PackCodes)(codes, bits, packed);
}

HWY_EXPORT(UnpackCodes);
void UnpackCodes(std::span<const std::byte> packed, int bits, std::span<uint8_t> codes) {
  return HWY_DYNAMIC_DISPATCH(UnpackCodes)(packed, bits, codes);
}

HWY_EXPORT(FirstAbove);
size_t FirstAbove(std::span<const uint8_t> codes, uint8_t limit) {
  return HWY_DYNAMIC_DISPATCH(FirstAbove)(codes, limit);
}

HWY_EXPORT(RoundToPowersOfTwo);
void RoundToPowersOfTwo(std::span<const float> x, std::span<const uint32_t> words, std::span<uint8_t> exponents) {
  return HWY_DYNAMIC_DISPATCH(RoundToPowersOfTwo)(x, words, exponents);
}

HWY_EXPORT(AddPowersOfTwo);
void AddPowersOfTwo(std::span<const uint8_t> exponents, std::span<const std::byte> signs, float scale,
                    std::span<float> acc) {
  return HWY_DYNAMIC_DISPATCH(AddPowersOfTwo)(exponents, signs, scale, acc);
}

HWY_EXPORT(ToHalves);
void ToHalves(std::span<const float> x, int exponent, std::span<uint16_t> y) {
  return HWY_DYNAMIC_DISPATCH(ToHalves)(x, exponent, y);
}

HWY_EXPORT(FromHalves);
void FromHalves(std::span<const uint16_t> x, int exponent, std::span<float> y) {
  return HWY_DYNAMIC_DISPATCH(FromHalves)(x, exponent, y);
}

HWY_EXPORT(ToBfloat16s);
void ToBfloat16s(std::span<const float> x, int exponent, std::span<uint16_t> y) {
  return HWY_DYNAMIC_DISPATCH(ToBfloat16s)(x, exponent, y);
}

HWY_EXPORT(FromBfloat16s);
void FromBfloat16s(std::span<const uint16_t> x, int exponent, std::span<float> y) {
  return HWY_DYNAMIC_DISPATCH(FromBfloat16s)(x, exponent, y);
}

}  // namespace laconic::kernels
#endif  // HWY_ONCE
