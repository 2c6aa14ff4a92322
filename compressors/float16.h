// IEEE 754 binary16 ("half") and bfloat16, converted exactly in integer and float arithmetic on every machine: no F16C,
// no compiler extension. Branch-free but for selects, so that loops over them vectorise.
//
// To 16 bits: round to nearest, ties to even; denormal results are exact roundings too. What would round to infinity,
// and infinity itself, becomes the largest finite value of that sign (65504; 2^128 - 2^120), so a finite input never
// turns into infinity on the wire. A NaN becomes the quiet NaN of its sign. From 16 bits: exact, infinities and NaNs
// included.
#pragma once

#include <bit>
#include <cstdint>

namespace laconic {

inline constexpr uint16_t kMaxHalfBits = 0x7bff;      // 65504
inline constexpr uint16_t kMaxBfloat16Bits = 0x7f7f;  // 2^128 - 2^120

namespace internal {

// x < y ? a : b, for x and y below 2^31. In this form compilers do not move the arithmetic behind a and b into
// branches.
inline uint32_t SelectLess(uint32_t x, uint32_t y, uint32_t a, uint32_t b) {
  const auto mask = static_cast<uint32_t>(static_cast<int32_t>(x - y) >> 31);
  return (a & mask) | (b & ~mask);
}

}  // namespace internal

inline uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  // Normal halves: rebias the exponent by 15 - 127 and drop 13 bits, adding just under half a unit, plus one when odd.
  const uint32_t odd = (magnitude >> 13) & 1u;
  const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + odd) >> 13;
  // Below 2^-14: adding 1/2, whose unit in the last place is the 2^-24 of denormal halves, makes the adder round.
  const uint32_t denormal =
      std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - std::bit_cast<uint32_t>(0.5f);
  uint32_t half = internal::SelectLess(magnitude, 113u << 23, denormal, normal);
  constexpr uint32_t kTie = std::bit_cast<uint32_t>(65520.0f);  // between 65504 and 2^16
  half = internal::SelectLess(magnitude, kTie, half, kMaxHalfBits);
  half = internal::SelectLess(0x7f800000u, magnitude, 0x7e00u, half);
  return static_cast<uint16_t>(sign | half);
}

inline float HalfToFloat(uint16_t half) {
  const uint32_t sign = (uint32_t{half} & 0x8000u) << 16;
  const uint32_t magnitude = (uint32_t{half} & 0x7fffu) << 13;
  // Read with float's bias the value is 2^-112 too small; the product is exact, denormal halves included.
  const uint32_t finite = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  const uint32_t special = magnitude | 0x7f800000u;
  return std::bit_cast<float>(sign | internal::SelectLess(magnitude, 0x7c00u << 13, finite, special));
}

inline uint16_t FloatToBfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t rounded = (magnitude + 0x7fffu + ((magnitude >> 16) & 1u)) >> 16;
  rounded = rounded > kMaxBfloat16Bits ? kMaxBfloat16Bits : rounded;
  rounded = magnitude > 0x7f800000u ? 0x7fc0u : rounded;
  return static_cast<uint16_t>(sign | rounded);
}

inline float Bfloat16ToFloat(uint16_t bfloat) { return std::bit_cast<float>(uint32_t{bfloat} << 16); }

}  // namespace laconic
