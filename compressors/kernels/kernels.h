// The inner loops of the dense codecs as plain functions over spans. scalar.cc holds the obvious versions, always
// built: they are the oracle that faster ones (SIMD, CUDA) are tested against.
//
// What a faster version must keep: everything bit for bit, sums included (their order is part of the definition), at
// any length and alignment. Two spans of one call must not overlap. No allocation; O(length).
//
// Bits are packed least significant first: bit i of a stream is bit i % 8 of byte i / 8; the last byte is padded with
// zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace laconic::kernels {

// ---- Reductions ----

// Index of the first NaN or infinity; x.size() when there is none.
size_t FirstNonFinite(std::span<const float> x);

// max |x_i|; 0 for an empty span. Not finite exactly if some x_i is not.
float AbsMax(std::span<const float> x);

// sum |x_i| and sum x_i^2 in double: element i goes to partial sum i % 8, the partial sums are added as
// ((0+4) + (1+5)) + ((2+6) + (3+7)). Finite exactly if every x_i is (no sum of finite floats overflows a double).
double SumAbs(std::span<const float> x);
double SumSquares(std::span<const float> x);

// How many x_i are +0 or -0.
size_t CountZeros(std::span<const float> x);

// ---- Arithmetic ----

// acc_i += scale * y_i, both operations rounded.   y: acc.size() floats.
void ScaleAdd(std::span<const float> y, float scale, std::span<float> acc);

// ---- Sign codec ----

// Bit i of `bits` = the sign bit of x_i (1: negative).   bits: ceil(x.size() / 8) bytes, all written.
void PackSigns(std::span<const float> x, std::span<std::byte> bits);

// x_i -= value with the sign bit of x_i: the residual in place.   value >= 0.
void SubtractSigned(float value, std::span<float> x);
// The same where x_i != 0; zeros stay as they are.
void SubtractSignedFromNonZeros(float value, std::span<float> x);

// acc_i += value, or -value where bit i of `signs` is set.   signs: ceil(acc.size() / 8) bytes.
void AddSigned(std::span<const std::byte> signs, float value, std::span<float> acc);
// The same where bit i of `non_zeros` is set; acc_i += 0 elsewhere.   non_zeros: as signs.
void AddSignedWhere(std::span<const std::byte> signs, std::span<const std::byte> non_zeros, float value,
                    std::span<float> acc);

// ---- Quantiser ----

// How x / norm in [-1, 1] maps to codes and back: y = offset + gain * x / norm lies in [0, codes - 1], and code c
// stands for norm * ratios[c].
struct Grid {
  float gain = 1;                 // bits >= 2: s = 2^(bits-1) - 1; one bit: 1/2
  float offset = 1;               // the same
  std::span<const float> ratios;  // bits >= 2: (c - s) / s for c in [0, 2s]; one bit: -1, 1
};

// codes_i = y_i rounded to the nearest integer, ties to the even code.
//   x: |x_i| <= norm, norm > 0.   grid: with an integer offset.   codes: x.size().
void QuantizeNearest(std::span<const float> x, const Grid& grid, float norm, std::span<uint8_t> codes);
// codes_i = floor(y_i + u_i), u_i being the top 24 bits of words_i times 2^-24. In fixed point of 24 fractional bits,
// to which y_i - offset is cut towards 0: so never beyond the ends of the grid, and E code = y up to 2^-24.
//   x, norm: as above.   words, codes: x.size().
void QuantizeStochastic(std::span<const float> x, const Grid& grid, float norm, std::span<const uint32_t> words,
                        std::span<uint8_t> codes);
// acc_i += scale * (norm * ratios[codes_i]), every operation rounded.   codes below grid.ratios.size().
void DequantizeAdd(std::span<const uint8_t> codes, const Grid& grid, float norm, float scale, std::span<float> acc);

// Codes of `bits` bits (1..8), packed.   packed: ceil(codes.size() * bits / 8) bytes; Pack writes all of them.
void PackCodes(std::span<const uint8_t> codes, int bits, std::span<std::byte> packed);
void UnpackCodes(std::span<const std::byte> packed, int bits, std::span<uint8_t> codes);

// Index of the first code above `limit`; codes.size() when there is none.
size_t FirstAbove(std::span<const uint8_t> codes, uint8_t limit);

// ---- Natural compression ----

// exponents_i = the biased exponent (float32's, 0..254) of |x_i| rounded to a power of two: up with the probability
// that the 23 bits of the mantissa, read as a fraction, give, decided by the top 23 bits of words_i. 0 stands for zero,
// and 2^127 is never rounded up.   x finite; words and exponents: x.size().
void RoundToPowersOfTwo(std::span<const float> x, std::span<const uint32_t> words, std::span<uint8_t> exponents);
// acc_i += scale * (the float with sign bit i of `signs`, exponent exponents_i, mantissa 0), both operations rounded.
void AddPowersOfTwo(std::span<const uint8_t> exponents, std::span<const std::byte> signs, float scale,
                    std::span<float> acc);

// ---- Casts ----

// y_i = FloatToHalf(x_i * 2^exponent) and its kin (float16.h). The product is two float multiplications, by 2^(exponent
// / 2) and by the rest, so it is exact for any exponent in [-250, 250] unless it leaves the range of normal floats.
void ToHalves(std::span<const float> x, int exponent, std::span<uint16_t> y);
void FromHalves(std::span<const uint16_t> x, int exponent, std::span<float> y);
void ToBfloat16s(std::span<const float> x, int exponent, std::span<uint16_t> y);
void FromBfloat16s(std::span<const uint16_t> x, int exponent, std::span<float> y);

}  // namespace laconic::kernels
