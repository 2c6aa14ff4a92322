// The inner loops of the dense codecs as plain functions over spans. Each runs on the best instruction set of this CPU
// (simd-inl.h) and gives the same bits on all of them, sums included, whose order is part of the definition. scalar.h
// holds the obvious versions.
//
// Any length and alignment. Two spans of one call must not overlap. No allocation; O(length).
//
// Bits are packed least significant first: bit i of a stream is bit i % 8 of byte i / 8; the last byte is padded with
// zeros.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "laconic/compressors/message.h"

namespace laconic::kernels {

// ---- Reductions ----

// Index of the first NaN or infinity; x.size() when there is none.
size_t FirstNonFinite(std::span<const float> x);

// max |x_i|; 0 for an empty span. Not finite exactly if some x_i is not.
float AbsMax(std::span<const float> x);

// sum |x_i| and sum x_i^2 in double: element i goes to partial sum i % 16; of these j and j + 8 are added, then j and
// j + 4, j + 2, j + 1. Finite exactly if every x_i is (no sum of finite floats overflows a double).
double SumAbs(std::span<const float> x);
double SumSquares(std::span<const float> x);

// How many x_i are +0 or -0.
size_t CountZeros(std::span<const float> x);

// ---- Runs of a message ----

// A run is a piece of a message that stays in the L1 cache from when it is formed to when its residual is stored.
inline constexpr size_t kMaxRun = 4096;

// Parts of arrays that will be read soon. A kernel that takes one fetches them into the cache while it computes;
// results do not depend on it.
struct Ahead {
  std::array<const float*, 4> streams{};
  size_t count = 0;     // of streams
  size_t elements = 0;  // of each stream
  int shift = 0;        // element i is fetched beside element i << shift of the run: evenly, memory is busiest
};

// out_j = m_{first + j} (message.h), and what a kernel above says of `out`.
void FormRun(const Message& message, size_t first, std::span<float> out);
float FormRunAbsMax(const Message& message, size_t first, std::span<float> out);
double FormRunSumSquares(const Message& message, size_t first, std::span<float> out);
struct Magnitudes {
  double sum = 0;    // SumAbs
  size_t zeros = 0;  // CountZeros
};
Magnitudes FormRunMagnitudes(const Message& message, size_t first, std::span<float> out);

// Where the residual of a run goes, and what to fetch while it is computed.
struct Sink {
  std::span<float> out;     // as long as the run
  bool past_cache = false;  // written around the cache where it lies in whole cache lines, for arrays that would not
                            // stay in it. After the last such call FinishStores makes them visible to other threads.
  Ahead ahead;
};

// sink.out = run.
void StoreRun(std::span<const float> run, const Sink& sink);
void FinishStores();

// ---- Arithmetic ----

// acc_i += scale * y_i, both operations rounded.   y: acc.size() floats.
void ScaleAdd(std::span<const float> y, float scale, std::span<float> acc);

// ---- Sign codec ----

// Bit i of `bits` = the sign bit of x_i (1: negative).   bits: ceil(x.size() / 8) bytes, all written.
void PackSigns(std::span<const float> x, std::span<std::byte> bits);

// The same, and sink.out_i = x_i - value with the sign bit of x_i: the residual.   value >= 0.
void PackSignsAndSubtract(std::span<const float> x, float value, std::span<std::byte> bits, const Sink& sink);
// The same, but where x_i is zero so is sink.out_i, with its sign.
void PackSignsAndSubtractFromNonZeros(std::span<const float> x, float value, std::span<std::byte> bits,
                                      const Sink& sink);

// acc_i += value, or -value where bit i of `signs` is set.   signs: ceil(acc.size() / 8) bytes.
void AddSigned(std::span<const std::byte> signs, float value, std::span<float> acc);
// The same where bit i of `non_zeros` is set; acc_i += 0 elsewhere.   non_zeros: as signs.
void AddSignedWhere(std::span<const std::byte> signs, std::span<const std::byte> non_zeros, float value,
                    std::span<float> acc);

// ---- Quantiser ----

// The grid of a block: code c in [0, 2 gain] stands for norm * ((c - gain) / gain), every operation rounded.
struct Levels {
  float gain = 1;   // bits >= 2: s = 2^(bits-1) - 1; one bit: 1/2
  float norm = 0;   // >= |x_i|
  float up = 1;     // a power of two that brings norms near the ends of float's range away from them
  float steps = 0;  // x_i lies at level y_i = (x_i * up) * steps, both products rounded: about gain * x_i / norm

  // With steps = gain / (norm * up), rounded to nearest or, where norm would then fall short of level gain, up.
  static Levels Of(float gain, float norm);
};

// codes_i = gain + y_i rounded to the nearest integer, ties to the even code. Where there is a sink, sink.out_i = x_i -
// what the code stands for.
//   x: |x_i| <= norm.   levels.gain: an integer.   codes: x.size().   sink.out: x.size(), or empty.
void QuantizeNearest(std::span<const float> x, const Levels& levels, std::span<uint8_t> codes, const Sink& sink);
// codes_i = floor(gain + y_i + u_i), y_i limited to [-gain, gain], u_i being the top 24 bits of words_i times 2^-24. In
// fixed point of 24 fractional bits, to which y_i is cut towards 0: so never beyond the ends of the grid, and E code =
// gain + y_i up to 2^-24.
//   words: x.size(); else as above.
void QuantizeStochastic(std::span<const float> x, const Levels& levels, std::span<const uint32_t> words,
                        std::span<uint8_t> codes, const Sink& sink);
// acc_i += scale * (norm * ((codes_i - gain) / gain)), every operation rounded.
void DequantizeAdd(std::span<const uint8_t> codes, float gain, float norm, float scale, std::span<float> acc);

// Codes of `bits` bits (1..8), packed.   packed: ceil(codes.size() * bits / 8) bytes; Pack writes all of them.
void PackCodes(std::span<const uint8_t> codes, int bits, std::span<std::byte> packed);
void UnpackCodes(std::span<const std::byte> packed, int bits, std::span<uint8_t> codes);

// Index of the first code above `limit`; codes.size() when there is none.
size_t FirstAbove(std::span<const uint8_t> codes, uint8_t limit);

// ---- Random numbers ----

// words_i = word first + i of the stream CounterRng::FromDerivedKey(key) (laconic/base/rng.h).
void RandomWords(uint64_t key, uint64_t first, std::span<uint32_t> words);

// ---- Natural compression ----

// exponents_i = the biased exponent (float32's, 0..254) of |x_i| rounded to a power of two: up with the probability
// that the 23 bits of the mantissa, read as a fraction, give, decided by the top 23 bits of words_i. 0 stands for zero,
// and 2^127 is never rounded up. Where there is a sink, sink.out_i = x_i - that power with the sign of x_i.
//   x finite; words and exponents: x.size(); sink.out: x.size(), or empty.
void RoundToPowersOfTwo(std::span<const float> x, std::span<const uint32_t> words, std::span<uint8_t> exponents,
                        const Sink& sink);
// acc_i += scale * (the float with sign bit i of `signs`, exponent exponents_i, mantissa 0), both operations rounded.
void AddPowersOfTwo(std::span<const uint8_t> exponents, std::span<const std::byte> signs, float scale,
                    std::span<float> acc);

// ---- Casts ----

// y_i = FloatToHalf(x_i * 2^exponent, but at most `limit` and at least -limit) and its kin (float16.h). The product is
// two float multiplications, by 2^(exponent / 2) and by the rest, so it is exact for any exponent in [-250, 250] unless
// it leaves the range of normal floats. Where there is a sink, sink.out_i = x_i - what FromHalves(y, -exponent) gives.
//   x finite; limit: finite in the 16 bits; y: x.size(); sink.out: x.size(), or empty.
void ToHalves(std::span<const float> x, int exponent, float limit, std::span<uint16_t> y, const Sink& sink);
void FromHalves(std::span<const uint16_t> x, int exponent, std::span<float> y);
void ToBfloat16s(std::span<const float> x, int exponent, float limit, std::span<uint16_t> y, const Sink& sink);
void FromBfloat16s(std::span<const uint16_t> x, int exponent, std::span<float> y);

inline void ToHalves(std::span<const float> x, int exponent, std::span<uint16_t> y) {
  ToHalves(x, exponent, 65504.0f, y, {});
}
inline void ToBfloat16s(std::span<const float> x, int exponent, std::span<uint16_t> y) {
  ToBfloat16s(x, exponent, 0x1.fep127f, y, {});
}

}  // namespace laconic::kernels
