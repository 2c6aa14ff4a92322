// Each kernel against its definition in kernels.h, written out element by element, over lengths around every unroll
// width and all offsets within a cache line; on every instruction set that this CPU can run, the oracle included.
#include "compressors/kernels/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "compressors/float16.h"
#include "compressors/kernels/targets.h"
#include "tests/compressors/dense_codec.h"

namespace laconic {
namespace {

const size_t kLengths[] = {0,  1,  2,  3,  4,  5,   7,   8,   9,   15,  16,  17,
                           31, 33, 63, 64, 65, 100, 255, 256, 257, 511, 513, 1000};

// Ties, zeros of both signs, denormals and extremes among ordinary values.
Floats Varied(size_t count) {
  Floats x = Gaussian(count, 11);
  const float special[] = {0.0f,       -0.0f,         1.0f,           -1.0f,    kSmallestDenormal,
                           -0x1p-127f, kLargestFloat, -kLargestFloat, 0x1p-126f};
  for (size_t i = 0; i < count; i += 3) x[i] = special[i / 3 % 9];
  return x;
}

std::vector<uint32_t> Words(size_t count) {
  std::vector<uint32_t> words(count);
  CounterRng(RngKey{.seed = 2}).Words(0, words);
  for (size_t i = 0; i < count; i += 5) words[i] = i % 2 == 0 ? 0xffffffffu : 0;
  return words;
}

bool Bit(std::span<const std::byte> bits, size_t i) { return (std::to_integer<int>(bits[i / 8]) >> (i % 8) & 1) != 0; }

// Calls check(x) for every length and offset; x lies at its own address each time.
void ForEachSpan(const std::function<void(std::span<const float>)>& check) {
  for (const size_t length : kLengths) {
    const Floats values = Varied(length);
    for (size_t offset = 0; offset < 16; ++offset) {
      Floats memory(length + 16, kNaN);  // whoever reads past the span meets a NaN
      std::copy(values.begin(), values.end(), memory.begin() + static_cast<ptrdiff_t>(offset));
      check(std::span<const float>(memory).subspan(offset, length));
    }
  }
}

uint32_t Bits(float value) { return std::bit_cast<uint32_t>(value); }

void ExpectSameBits(std::span<const float> actual, std::span<const float> expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(Bits(actual[i]), Bits(expected[i]))
        << "element " << i << " of " << actual.size() << ": " << actual[i] << ", expected " << expected[i];
  }
}

class Kernels : public testing::TestWithParam<int64_t> {
 private:
  kernels::ForcedTarget forced_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Targets, Kernels, testing::ValuesIn(kernels::RunnableTargets()),
                         [](const testing::TestParamInfo<int64_t>& info) {
                           return std::string(kernels::TargetName(info.param));
                         });

TEST_P(Kernels, ForcedTarget_IsTheOneThatRuns) { EXPECT_EQ(KernelTarget(), kernels::TargetName(GetParam())); }

TEST_P(Kernels, FirstNonFinite_FindsTheFirst) {
  ForEachSpan([](std::span<const float> x) { EXPECT_EQ(kernels::FirstNonFinite(x), x.size()); });
  for (const size_t length : kLengths) {
    for (size_t at = 0; at < length; at += 1 + length / 20) {
      Floats x(length, -kLargestFloat);
      x[at] = at % 2 == 0 ? -kInfinity : kNaN;
      x.back() = kInfinity;
      EXPECT_EQ(kernels::FirstNonFinite(x), at);
      EXPECT_FALSE(std::isfinite(kernels::AbsMax(x)));
      EXPECT_FALSE(std::isfinite(kernels::SumAbs(x)));
      EXPECT_FALSE(std::isfinite(kernels::SumSquares(x)));
    }
  }
}

TEST_P(Kernels, Reductions_FollowTheirDefinitions) {
  ForEachSpan([](std::span<const float> x) {
    float largest = 0;
    size_t zeros = 0;
    double sums[16] = {}, squares[16] = {};
    for (size_t i = 0; i < x.size(); ++i) {
      largest = std::max(largest, std::abs(x[i]));
      zeros += x[i] == 0 ? 1 : 0;
      sums[i % 16] += std::abs(static_cast<double>(x[i]));
      squares[i % 16] += static_cast<double>(x[i]) * x[i];
    }
    const auto total = [](const double* s) {
      double eight[8], four[4];
      for (int j = 0; j < 8; ++j) eight[j] = s[j] + s[j + 8];
      for (int j = 0; j < 4; ++j) four[j] = eight[j] + eight[j + 4];
      return (four[0] + four[2]) + (four[1] + four[3]);
    };
    EXPECT_EQ(kernels::AbsMax(x), largest);
    EXPECT_EQ(kernels::CountZeros(x), zeros);
    EXPECT_EQ(kernels::SumAbs(x), total(sums));
    EXPECT_EQ(kernels::SumSquares(x), total(squares));
  });
}

TEST_P(Kernels, ScaleAdd_RoundsTwice) {
  ForEachSpan([](std::span<const float> y) {
    Floats acc = Gaussian(y.size(), 3), expected = acc;
    for (size_t i = 0; i < y.size(); ++i) {
      const float product = 0.3f * y[i];
      expected[i] += product;
    }
    kernels::ScaleAdd(y, 0.3f, acc);
    ExpectSameBits(acc, expected);
  });
}

TEST_P(Kernels, Signs_PackAndComeBack) {
  ForEachSpan([](std::span<const float> x) {
    Bytes bits((x.size() + 7) / 8, std::byte{0xff});
    kernels::PackSigns(x, bits);
    for (size_t i = 0; i < 8 * bits.size(); ++i) ASSERT_EQ(Bit(bits, i), i < x.size() && std::signbit(x[i])) << i;

    Floats acc = Gaussian(x.size(), 3), expected = acc;
    for (size_t i = 0; i < x.size(); ++i) expected[i] += std::copysign(0.7f, x[i]);
    kernels::AddSigned(bits, 0.7f, acc);
    ExpectSameBits(acc, expected);

    Bytes some(bits.size());
    for (size_t i = 0; i < some.size(); ++i) some[i] = static_cast<std::byte>(i * 37 + 5);
    for (size_t i = 0; i < x.size(); ++i) expected[i] += Bit(some, i) ? std::copysign(0.7f, x[i]) : 0.0f;
    kernels::AddSignedWhere(bits, some, 0.7f, acc);
    ExpectSameBits(acc, expected);
  });
}

TEST_P(Kernels, PackSignsAndSubtract_LeavesTheResidual) {
  ForEachSpan([](std::span<const float> x) {
    Floats all(x.size()), all_expected = all, some = all, some_expected = all;
    for (size_t i = 0; i < x.size(); ++i) {
      all_expected[i] = x[i] - std::copysign(0.7f, x[i]);
      some_expected[i] = x[i] != 0 ? all_expected[i] : x[i];
    }
    Bytes bits((x.size() + 7) / 8), same(bits.size()), expected(bits.size());
    kernels::PackSigns(x, expected);
    kernels::PackSignsAndSubtract(x, 0.7f, bits, {.out = all});
    kernels::PackSignsAndSubtractFromNonZeros(x, 0.7f, same, {.out = some});
    EXPECT_EQ(bits, expected);
    EXPECT_EQ(same, expected);
    ExpectSameBits(all, all_expected);
    ExpectSameBits(some, some_expected);
  });
}

TEST_P(Kernels, Levels_BringTheNormToTheOutermostCode) {
  for (const float gain : {0.5f, 1.0f, 3.0f, 7.0f, 15.0f, 31.0f, 63.0f, 127.0f}) {
    for (const float norm : {kSmallestDenormal, 0x1.8p-140f, 0x1p-126f, 1e-20f, 0.1f, 1.0f, 3.0f, 1e9f, 1e30f,
                             0x1.fffffep66f, kLargestFloat}) {
      const kernels::Levels levels = kernels::Levels::Of(gain, norm);
      const float level = norm * levels.up * levels.steps;
      EXPECT_GE(level, gain) << norm;
      EXPECT_LE(level, gain * (1 + 0x1p-22f)) << norm;
    }
  }
}

TEST_P(Kernels, Codes_RoundAsDefinedAndStayOnTheGrid) {
  for (const int s : {1, 3, 7, 31, 127}) {
    const kernels::Levels levels = kernels::Levels::Of(static_cast<float>(s), kLargestFloat);
    ForEachSpan([&](std::span<const float> x) {
      const std::vector<uint32_t> words = Words(x.size());
      std::vector<uint8_t> nearest(x.size()), stochastic(x.size());
      Floats residual(x.size());
      kernels::QuantizeNearest(x, levels, nearest, {.out = residual});
      kernels::QuantizeStochastic(x, levels, words, stochastic, {});
      for (size_t i = 0; i < x.size(); ++i) {
        const float scaled = x[i] * levels.up;
        const float level = scaled * levels.steps;
        ASSERT_EQ(nearest[i], std::nearbyint(static_cast<double>(level)) + s) << x[i];
        const float ratio = static_cast<float>(nearest[i] - s) / static_cast<float>(s);
        const float value = kLargestFloat * ratio;
        ASSERT_EQ(residual[i], x[i] - value);
        const double limited = std::clamp(static_cast<double>(level), -1.0 * s, 1.0 * s);
        const double fixed = std::trunc(limited * 0x1p24) + s * 0x1p24 + (words[i] >> 8);
        ASSERT_EQ(stochastic[i], std::floor(fixed * 0x1p-24)) << x[i];
        ASSERT_LE(stochastic[i], 2 * s);
      }
    });
  }
}

TEST_P(Kernels, QuantizeNearest_TiesGoToTheEvenCode) {
  std::vector<uint8_t> codes(4);
  kernels::QuantizeNearest(Floats{0.5f, 1.5f, -0.5f, -1.5f}, kernels::Levels::Of(3, 3), codes, {});
  EXPECT_EQ(codes, (std::vector<uint8_t>{4, 4, 2, 2}));
}

// Every code of every grid: what it stands for is the correctly rounded quotient.
TEST_P(Kernels, DequantizeAdd_RoundsEveryOperation) {
  for (const float gain : {0.5f, 1.0f, 3.0f, 7.0f, 15.0f, 31.0f, 63.0f, 127.0f}) {
    std::vector<uint8_t> codes(static_cast<size_t>(2 * gain) + 1);
    for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(i);
    codes.resize(codes.size() + 64);  // so that every code is met in a vector
    Floats acc = Gaussian(codes.size()), expected = acc;
    for (size_t i = 0; i < codes.size(); ++i) {
      const float ratio = (static_cast<float>(codes[i]) - gain) / gain;
      const float value = 1.7f * ratio;
      const float product = 0.3f * value;
      expected[i] += product;
    }
    kernels::DequantizeAdd(codes, gain, 1.7f, 0.3f, acc);
    ExpectSameBits(acc, expected);
  }
}

TEST_P(Kernels, PackedCodes_LieLowestFirstAndComeBack) {
  for (int bits = 1; bits <= 8; ++bits) {
    for (const size_t length : kLengths) {
      std::vector<uint8_t> codes(length), back(length);
      for (size_t i = 0; i < length; ++i) codes[i] = static_cast<uint8_t>((i * 151 + 7) & ((1u << bits) - 1));
      Bytes packed((length * static_cast<size_t>(bits) + 7) / 8, std::byte{0xff});
      kernels::PackCodes(codes, bits, packed);
      for (size_t i = 0; i < 8 * packed.size(); ++i) {
        const size_t code = i / static_cast<size_t>(bits);
        const bool expected = code < length && (codes[code] >> (i % static_cast<size_t>(bits)) & 1) != 0;
        ASSERT_EQ(Bit(packed, i), expected) << bits << " bits, bit " << i;
      }
      kernels::UnpackCodes(packed, bits, back);
      EXPECT_EQ(back, codes);
    }
  }
}

TEST_P(Kernels, FirstAbove_FindsTheFirst) {
  for (const size_t length : kLengths) {
    std::vector<uint8_t> codes(length, 200);
    EXPECT_EQ(kernels::FirstAbove(codes, 200), length);
    for (size_t at = 0; at < length; at += 1 + length / 20) {
      codes[at] = codes.back() = 201;
      EXPECT_EQ(kernels::FirstAbove(codes, 200), at);
      codes[at] = codes.back() = 200;
    }
  }
}

TEST_P(Kernels, PowersOfTwo_RoundByTheMantissaAndComeBack) {
  ForEachSpan([](std::span<const float> x) {
    const std::vector<uint32_t> words = Words(x.size());
    std::vector<uint8_t> exponents(x.size());
    kernels::RoundToPowersOfTwo(x, words, exponents, {});
    Bytes signs((x.size() + 7) / 8);
    kernels::PackSigns(x, signs);
    Floats acc(x.size(), 1.0f), expected = acc;
    for (size_t i = 0; i < x.size(); ++i) {
      const float magnitude = std::abs(x[i]);
      const float low = magnitude < 0x1p-126f ? 0.0f : std::ldexp(1.0f, std::ilogb(magnitude));
      const float unit = low == 0 ? 0x1p-126f : low;  // the distance to the next power of two
      const bool up = (static_cast<double>(magnitude) - low) / unit + (words[i] >> 9) * 0x1p-23 >= 1;
      const float rounded = up && low < 0x1p127f ? low + unit : low;
      ASSERT_EQ(exponents[i], rounded == 0 ? 0 : std::ilogb(rounded) + 127) << x[i];
      const float product = 0.3f * std::copysign(rounded, x[i]);
      expected[i] += product;
    }
    kernels::AddPowersOfTwo(exponents, signs, 0.3f, acc);
    ExpectSameBits(acc, expected);
  });
}

TEST_P(Kernels, Casts_ScaleExactlyByAnyPowerOfTwo) {
  ForEachSpan([](std::span<const float> values) {
    Floats x(values.begin(), values.end());
    for (float& value : x) value = std::clamp(value, -100.0f, 100.0f);
    std::vector<uint16_t> wire(x.size());
    Floats back(x.size()), moved(x.size());
    for (const int exponent : {-113, -7, 0, 1, 30, 163}) {
      // Moved so that the products come back to x; where that is out of float's range there is nothing to compare.
      for (size_t i = 0; i < x.size(); ++i) moved[i] = std::ldexp(x[i], -exponent);
      kernels::ToHalves(moved, exponent, wire);
      kernels::FromHalves(wire, -exponent, back);
      for (size_t i = 0; i < x.size(); ++i) {
        if (std::ldexp(moved[i], exponent) != x[i]) continue;
        ASSERT_EQ(wire[i], FloatToHalf(x[i])) << x[i] << " by 2^" << exponent;
        ASSERT_EQ(Bits(back[i]), Bits(std::ldexp(HalfToFloat(wire[i]), -exponent)));
      }
      kernels::ToBfloat16s(moved, exponent, wire);
      kernels::FromBfloat16s(wire, -exponent, back);
      for (size_t i = 0; i < x.size(); ++i) {
        if (std::ldexp(moved[i], exponent) != x[i] || std::abs(x[i]) < 0x1p-60f) continue;
        ASSERT_EQ(wire[i], FloatToBfloat16(x[i])) << x[i] << " by 2^" << exponent;
        ASSERT_EQ(Bits(back[i]), Bits(std::ldexp(Bfloat16ToFloat(wire[i]), -exponent)));
      }
    }
  });
}

}  // namespace
}  // namespace laconic
