// Loops have no branches that depend on data and work on the bits of floats, so that
// compilers vectorise them for the baseline instruction set.
#include "compressors/kernels/scalar.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "compressors/float16.h"
#include "laconic/base/rng.h"

namespace laconic::kernels::scalar {
namespace {

constexpr uint32_t kSignBit = 0x80000000u;
constexpr uint32_t kMagnitudeBits = 0x7fffffffu;
constexpr uint32_t kInfinityBits = 0x7f800000u;

uint32_t Bits(float value) { return std::bit_cast<uint32_t>(value); }
float Float(uint32_t bits) { return std::bit_cast<float>(bits); }

// All ones where x != 0, else 0.
uint32_t NonZeroMask(uint32_t bits) { return (bits & kMagnitudeBits) != 0 ? ~uint32_t{0} : 0; }

// Multiplying a byte by kToTop[j] brings its bit j to the top of a word.
constexpr std::array<uint32_t, 8> kToTop = {1u << 31, 1u << 30, 1u << 29, 1u << 28,
                                            1u << 27, 1u << 26, 1u << 25, 1u << 24};

// element(x_i) summed as kernels.h says.
template <typename Element>
double Sum(std::span<const float> x, Element element) {
  std::array<double, 16> partial{};
  for (size_t i = 0; i < x.size(); ++i) partial[i % 16] += element(x[i]);
  for (size_t step = 8; step > 0; step /= 2) {
    for (size_t j = 0; j < step; ++j) partial[j] += partial[j + step];
  }
  return partial[0];
}

// acc_i += term(eight bits in a byte, i % 8), for the bytes that bytes(byte index) gives.
template <typename Bytes, typename Term>
void AddByBits(std::span<float> acc, Bytes bytes, Term term) {
  const size_t whole = acc.size() / 8;
  for (size_t b = 0; b < whole; ++b) {
    const auto byte = bytes(b);
    float* const group = acc.data() + 8 * b;
    std::array<float, 8> terms;
    for (size_t j = 0; j < 8; ++j) terms[j] = term(byte, j);
    for (size_t j = 0; j < 8; ++j) group[j] += terms[j];
  }
  for (size_t i = 8 * whole; i < acc.size(); ++i) acc[i] += term(bytes(whole), i % 8);
}

uint32_t ByteAt(std::span<const std::byte> bytes, size_t index) { return std::to_integer<uint32_t>(bytes[index]); }

template <int kBits>
void Pack(std::span<const uint8_t> codes, std::span<std::byte> packed) {
  const size_t groups = codes.size() / 8;
  for (size_t g = 0; g < groups; ++g) {
    uint64_t word = 0;
    for (size_t j = 0; j < 8; ++j) word |= uint64_t{codes[8 * g + j]} << (j * kBits);
    std::memcpy(packed.data() + g * kBits, &word, kBits);
  }
  uint64_t word = 0;
  for (size_t i = 8 * groups; i < codes.size(); ++i) word |= uint64_t{codes[i]} << (i % 8 * kBits);
  if (const size_t rest = packed.size() - groups * kBits; rest > 0) {
    std::memcpy(packed.data() + groups * kBits, &word, rest);
  }
}

template <int kBits>
void Unpack(std::span<const std::byte> packed, std::span<uint8_t> codes) {
  constexpr uint64_t kMask = (1u << kBits) - 1;
  const size_t groups = codes.size() / 8;
  for (size_t g = 0; g < groups; ++g) {
    uint64_t word = 0;
    std::memcpy(&word, packed.data() + g * kBits, kBits);
    for (size_t j = 0; j < 8; ++j) codes[8 * g + j] = static_cast<uint8_t>((word >> (j * kBits)) & kMask);
  }
  uint64_t word = 0;
  if (const size_t rest = packed.size() - groups * kBits; rest > 0) {
    std::memcpy(&word, packed.data() + groups * kBits, rest);
  }
  for (size_t i = 8 * groups; i < codes.size(); ++i) {
    codes[i] = static_cast<uint8_t>((word >> (i % 8 * kBits)) & kMask);
  }
}

// 2^exponent as a product of two floats, first 2^(exponent / 2).
std::pair<float, float> PowersOfTwo(int exponent) {
  return {std::ldexp(1.0f, exponent / 2), std::ldexp(1.0f, exponent - exponent / 2)};
}

// What a code stands for.
float Value(uint8_t code, float gain, float norm) { return norm * ((static_cast<float>(code) - gain) / gain); }

void LeaveResidual(std::span<const float> x, const Levels& levels, std::span<const uint8_t> codes, const Sink& sink) {
  for (size_t i = 0; i < sink.out.size(); ++i) sink.out[i] = x[i] - Value(codes[i], levels.gain, levels.norm);
}

// Calls run(x[i, i + kRun)) for whole runs and returns where the first run it answers true for begins, or the last,
// shorter one.
constexpr size_t kRun = 256;
template <typename T, typename Run>
size_t SkipRuns(std::span<const T> x, Run run) {
  size_t i = 0;
  while (i + kRun <= x.size() && !run(x.subspan(i).template first<kRun>())) i += kRun;
  return i;
}

}  // namespace

size_t FirstNonFinite(std::span<const float> x) {
  // A non-finite magnitude plus the lowest exponent bit carries into the sign bit.
  size_t i = SkipRuns(x, [](std::span<const float, kRun> run) {
    uint32_t carries = 0;
    for (const float value : run) carries |= (Bits(value) & kMagnitudeBits) + (kSignBit - kInfinityBits);
    return (carries & kSignBit) != 0;
  });
  while (i < x.size() && (Bits(x[i]) & kMagnitudeBits) < kInfinityBits) ++i;
  return i;
}

float AbsMax(std::span<const float> x) {
  uint32_t largest = 0;  // magnitudes order as their bits do, infinity and NaN above all others
  for (const float value : x) largest = std::max(largest, Bits(value) & kMagnitudeBits);
  return Float(largest);
}

double SumAbs(std::span<const float> x) {
  return Sum(x, [](float value) { return static_cast<double>(std::fabs(value)); });
}

double SumSquares(std::span<const float> x) {
  return Sum(x, [](float value) { return static_cast<double>(value) * static_cast<double>(value); });
}

size_t CountZeros(std::span<const float> x) {
  size_t non_zeros = 0;
  for (size_t i = 0; i < x.size();) {
    uint32_t count = 0;  // 32 bits a lane
    for (const size_t end = std::min(x.size(), i + (size_t{1} << 16)); i < end; ++i) count -= NonZeroMask(Bits(x[i]));
    non_zeros += count;
  }
  return x.size() - non_zeros;
}

void FormRun(const Message& message, size_t first, std::span<float> out) {
  for (size_t j = 0; j < out.size(); ++j) {
    const size_t i = first + j;
    float u = message.gradient[i];
    if (!message.momentum.empty()) u = message.momentum_weight * message.momentum[i] + message.gradient_weight * u;
    if (!message.shift.empty()) u -= message.shift[i];
    if (!message.error.empty()) u += message.error_weight * message.error[i];
    out[j] = message.kappa * u;
  }
}

float FormRunAbsMax(const Message& message, size_t first, std::span<float> out) {
  FormRun(message, first, out);
  return AbsMax(out);
}

double FormRunSumSquares(const Message& message, size_t first, std::span<float> out) {
  FormRun(message, first, out);
  return SumSquares(out);
}

Magnitudes FormRunMagnitudes(const Message& message, size_t first, std::span<float> out) {
  FormRun(message, first, out);
  return {.sum = SumAbs(out), .zeros = CountZeros(out)};
}

void StoreRun(std::span<const float> run, const Sink& sink) { std::copy(run.begin(), run.end(), sink.out.begin()); }

void FinishStores() {}

void ScaleAdd(std::span<const float> y, float scale, std::span<float> acc) {
  for (size_t i = 0; i < acc.size(); ++i) acc[i] += scale * y[i];
}

void PackSigns(std::span<const float> x, std::span<std::byte> bits) {
  // Eight bytes of value 0 or 1, byte k times 2^(56 - 7k), gather in the top byte: byte k in its bit k.
  constexpr uint64_t kGather = 0x0102040810204080u;
  constexpr size_t kGroup = 64;
  std::array<uint8_t, kGroup> ones{};
  for (size_t i = 0; i < x.size(); i += kGroup) {
    const size_t count = std::min(kGroup, x.size() - i);
    if (count < kGroup) ones.fill(0);
    for (size_t j = 0; j < count; ++j) ones[j] = static_cast<uint8_t>(Bits(x[i + j]) >> 31);
    for (size_t j = 0; j < count; j += 8) {
      uint64_t eight = 0;
      std::memcpy(&eight, &ones[j], sizeof(eight));
      bits[(i + j) / 8] = static_cast<std::byte>((eight * kGather) >> 56);
    }
  }
}

void PackSignsAndSubtract(std::span<const float> x, float value, std::span<std::byte> bits, const Sink& sink) {
  PackSigns(x, bits);
  for (size_t i = 0; i < x.size(); ++i) sink.out[i] = x[i] - Float(Bits(value) | (Bits(x[i]) & kSignBit));
}

void PackSignsAndSubtractFromNonZeros(std::span<const float> x, float value, std::span<std::byte> bits,
                                      const Sink& sink) {
  PackSigns(x, bits);
  for (size_t i = 0; i < x.size(); ++i) {
    const uint32_t term = (Bits(value) | (Bits(x[i]) & kSignBit)) & NonZeroMask(Bits(x[i]));
    sink.out[i] = x[i] - Float(term);
  }
}

void AddSigned(std::span<const std::byte> signs, float value, std::span<float> acc) {
  const uint32_t bits = Bits(value);
  AddByBits(
      acc, [=](size_t b) { return ByteAt(signs, b); },
      [=](uint32_t byte, size_t j) { return Float(bits ^ ((byte * kToTop[j]) & kSignBit)); });
}

void AddSignedWhere(std::span<const std::byte> signs, std::span<const std::byte> non_zeros, float value,
                    std::span<float> acc) {
  struct Pair {
    uint32_t signs, non_zeros;
  };
  const uint32_t bits = Bits(value);
  AddByBits(
      acc,
      [=](size_t b) {
        return Pair{ByteAt(signs, b), ByteAt(non_zeros, b)};
      },
      [=](Pair byte, size_t j) {
        const auto mask = static_cast<uint32_t>(static_cast<int32_t>(byte.non_zeros * kToTop[j]) >> 31);
        return Float((bits ^ ((byte.signs * kToTop[j]) & kSignBit)) & mask);
      });
}

void QuantizeNearest(std::span<const float> x, const Levels& levels, std::span<uint8_t> codes, const Sink& sink) {
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits of the mantissa.
  const float magic = 0x1.8p23f + levels.gain;
  for (size_t i = 0; i < x.size(); ++i) codes[i] = static_cast<uint8_t>(Bits(x[i] * levels.up * levels.steps + magic));
  LeaveResidual(x, levels, codes, sink);
}

void QuantizeStochastic(std::span<const float> x, const Levels& levels, std::span<const uint32_t> words,
                        std::span<uint8_t> codes, const Sink& sink) {
  // The largest sum is 2s * 2^24 + 2^24 - 1 < 2^32 for s <= 127.
  const auto offset = static_cast<uint32_t>(levels.gain * 0x1p24f);
  for (size_t i = 0; i < x.size(); ++i) {
    const float level = std::clamp(x[i] * levels.up * levels.steps, -levels.gain, levels.gain);
    const auto fixed = static_cast<uint32_t>(static_cast<int32_t>(level * 0x1p24f));
    codes[i] = static_cast<uint8_t>((fixed + offset + (words[i] >> 8)) >> 24);
  }
  LeaveResidual(x, levels, codes, sink);
}

void DequantizeAdd(std::span<const uint8_t> codes, float gain, float norm, float scale, std::span<float> acc) {
  for (size_t i = 0; i < acc.size(); ++i) acc[i] += scale * Value(codes[i], gain, norm);
}

void PackCodes(std::span<const uint8_t> codes, int bits, std::span<std::byte> packed) {
  using Function = void (*)(std::span<const uint8_t>, std::span<std::byte>);
  static constexpr std::array<Function, 8> kPack = {Pack<1>, Pack<2>, Pack<3>, Pack<4>,
                                                    Pack<5>, Pack<6>, Pack<7>, Pack<8>};
  kPack[static_cast<size_t>(bits) - 1](codes, packed);
}

void UnpackCodes(std::span<const std::byte> packed, int bits, std::span<uint8_t> codes) {
  using Function = void (*)(std::span<const std::byte>, std::span<uint8_t>);
  static constexpr std::array<Function, 8> kUnpack = {Unpack<1>, Unpack<2>, Unpack<3>, Unpack<4>,
                                                      Unpack<5>, Unpack<6>, Unpack<7>, Unpack<8>};
  kUnpack[static_cast<size_t>(bits) - 1](packed, codes);
}

size_t FirstAbove(std::span<const uint8_t> codes, uint8_t limit) {
  size_t i = SkipRuns(codes, [=](std::span<const uint8_t, kRun> run) {
    uint8_t largest = 0;
    for (const uint8_t code : run) largest = std::max(largest, code);
    return largest > limit;
  });
  while (i < codes.size() && codes[i] <= limit) ++i;
  return i;
}

void RandomWords(uint64_t key, uint64_t first, std::span<uint32_t> words) {
  CounterRng::FromDerivedKey(key).Words(first, words);
}

void RoundToPowersOfTwo(std::span<const float> x, std::span<const uint32_t> words, std::span<uint8_t> exponents,
                        const Sink& sink) {
  // Adding a uniform 23-bit number to the mantissa carries into the exponent with probability mantissa / 2^23.
  for (size_t i = 0; i < x.size(); ++i) {
    const uint32_t exponent = ((Bits(x[i]) & kMagnitudeBits) + (words[i] >> 9)) >> 23;
    exponents[i] = static_cast<uint8_t>(exponent - (exponent == 255));  // 255 would be infinity
  }
  for (size_t i = 0; i < sink.out.size(); ++i) {
    sink.out[i] = x[i] - Float((Bits(x[i]) & kSignBit) | uint32_t{exponents[i]} << 23);
  }
}

void AddPowersOfTwo(std::span<const uint8_t> exponents, std::span<const std::byte> signs, float scale,
                    std::span<float> acc) {
  const size_t whole = acc.size() / 8;
  for (size_t b = 0; b < whole; ++b) {
    const uint32_t byte = ByteAt(signs, b);
    std::array<uint32_t, 8> bits;
    for (size_t j = 0; j < 8; ++j) bits[j] = (byte * kToTop[j]) & kSignBit;
    for (size_t j = 0; j < 8; ++j) bits[j] |= uint32_t{exponents[8 * b + j]} << 23;
    for (size_t j = 0; j < 8; ++j) acc[8 * b + j] += scale * Float(bits[j]);
  }
  for (size_t i = 8 * whole; i < acc.size(); ++i) {
    const uint32_t sign = (ByteAt(signs, whole) * kToTop[i % 8]) & kSignBit;
    acc[i] += scale * Float(sign | uint32_t{exponents[i]} << 23);
  }
}

void ToHalves(std::span<const float> x, int exponent, float limit, std::span<uint16_t> y, const Sink& sink) {
  const auto [first, second] = PowersOfTwo(exponent);
  for (size_t i = 0; i < x.size(); ++i) y[i] = FloatToHalf(std::clamp(x[i] * first * second, -limit, limit));
  const auto [back_first, back_second] = PowersOfTwo(-exponent);
  for (size_t i = 0; i < sink.out.size(); ++i) sink.out[i] = x[i] - HalfToFloat(y[i]) * back_first * back_second;
}

void FromHalves(std::span<const uint16_t> x, int exponent, std::span<float> y) {
  const auto [first, second] = PowersOfTwo(exponent);
  for (size_t i = 0; i < x.size(); ++i) y[i] = HalfToFloat(x[i]) * first * second;
}

void ToBfloat16s(std::span<const float> x, int exponent, float limit, std::span<uint16_t> y, const Sink& sink) {
  const auto [first, second] = PowersOfTwo(exponent);
  for (size_t i = 0; i < x.size(); ++i) y[i] = FloatToBfloat16(std::clamp(x[i] * first * second, -limit, limit));
  const auto [back_first, back_second] = PowersOfTwo(-exponent);
  for (size_t i = 0; i < sink.out.size(); ++i) sink.out[i] = x[i] - Bfloat16ToFloat(y[i]) * back_first * back_second;
}

void FromBfloat16s(std::span<const uint16_t> x, int exponent, std::span<float> y) {
  const auto [first, second] = PowersOfTwo(exponent);
  for (size_t i = 0; i < x.size(); ++i) y[i] = Bfloat16ToFloat(x[i]) * first * second;
}

}  // namespace laconic::kernels::scalar
