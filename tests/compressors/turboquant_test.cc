#include "compressors/turboquant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/compressors/dense_codec.h"

namespace laconic {
namespace {

using internal::GaussianCodebookOf;
using internal::RotationBlocks;
using internal::TurboQuant;
using ::testing::HasSubstr;
using Mode = TurboQuant::Mode;

TurboQuant Mse(int bits, size_t rounds = 2, size_t block = 1024) {
  return TurboQuant({.bits = bits, .mode = Mode::kMse, .block = block, .rounds = rounds});
}
TurboQuant Unbiased(int bits, size_t block = 1024) {
  return TurboQuant({.bits = bits, .mode = Mode::kUnbiased, .block = block});
}
TurboQuant Qjl(int bits, size_t block = 1024) { return TurboQuant({.bits = bits, .mode = Mode::kQjl, .block = block}); }

constexpr double kDistortion[] = {.363380, .117482, .034548, .009501};

Floats OneHot(size_t count) {
  Floats x(count);
  x[count / 3] = -2.5f;
  return x;
}

// Student's t: a normal over the root of a mean of `freedom` squared ones.
Floats StudentT(size_t count, size_t freedom) {
  const Floats normals = Gaussian(count * (freedom + 1), 9);
  Floats x(count);
  for (size_t i = 0; i < count; ++i) {
    const auto draws = std::span(normals).subspan(i * (freedom + 1), freedom + 1);
    x[i] = static_cast<float>(draws[0] / std::sqrt(SquaredNorm(draws.subspan(1)) / static_cast<double>(freedom)));
  }
  return x;
}

double Inner(const Floats& x, const Floats& y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += static_cast<double>(x[i]) * y[i];
  return sum;
}

// ---- Blocks ----

TEST(RotationBlocks, Tail_IsCutIntoItsPowersOfTwoAndPaddedTo64) {
  const RotationBlocks blocks(2 * 1024 + 500, 1024);  // 500 -> 512
  ASSERT_EQ(blocks.count(), 3u);
  EXPECT_EQ(blocks.coefficients(), 2 * 1024u + 512);
  EXPECT_EQ(blocks.At(2).size, 512u);
  EXPECT_EQ(blocks.At(2).elements, 500u);
  const RotationBlocks more(300, 1024);  // 320 = 256 + 64
  ASSERT_EQ(more.count(), 2u);
  EXPECT_EQ(more.At(0).size, 256u);
  EXPECT_EQ(more.At(1).first, 256u);
  EXPECT_EQ(more.At(1).size, 64u);
  EXPECT_EQ(more.At(1).elements, 44u);
}

TEST(RotationBlocks, AnyLength_IsCoveredOnce) {
  for (size_t elements = 0; elements < 1100; ++elements) {
    const RotationBlocks blocks(elements, 256);
    size_t next = 0;
    for (size_t b = 0; b < blocks.count(); ++b) {
      const RotationBlocks::Block block = blocks.At(b);
      EXPECT_EQ(block.first, next);
      EXPECT_GT(block.elements, 0u);
      EXPECT_LE(block.elements, block.size);
      next += block.elements;
    }
    EXPECT_EQ(next, elements);
  }
}

// ---- Distortion ----

// Blocks of 1024 normal coordinates err by D_b with a standard deviation of at most 5 % (measured: 4 % at one bit);
// 1024 blocks of equal norm average that to 0.16 %. Where norms differ fewer count: 2 % is at least five deviations for
// t(3).
TEST(TurboQuant, GaussianAndHeavyTailedMillion_ErrAsNormalCoordinatesDo) {
  constexpr size_t kMillion = size_t{1} << 20;
  const Floats inputs[] = {Gaussian(kMillion), StudentT(kMillion, 3)};
  for (int bits = 1; bits <= 4; ++bits) {
    for (const Floats& x : inputs) {
      const double expected = kDistortion[bits - 1];
      EXPECT_NEAR(RelativeError(Mse(bits), x), expected, 0.02 * expected) << bits;
    }
  }
}

// With two degrees of freedom a handful of blocks have most of the norm. Four draws: one has a standard deviation of
// 1.5 %.
TEST(TurboQuant, TailsWithoutVariance_ErrAsNormalCoordinatesDo) {
  const Floats x = StudentT(size_t{1} << 20, 2);
  for (int bits = 1; bits <= 4; ++bits) {
    EXPECT_NEAR(RelativeError(Mse(bits), x, 4), kDistortion[bits - 1], 0.04 * kDistortion[bits - 1]) << bits;
  }
}

// A block errs by D_b with a standard deviation of 9 % at four bits and less at fewer; over 2000 draws 0.2 %, and five
// of those. What is left is the lattice: after two rounds the coordinates of a one-hot block are multiples of
// 2/sqrt(1024), which adds 1.2 % at three bits (a sum over the binomial distribution); a third round takes that away.
TEST(TurboQuant, OneHot_ErrsAsNormalCoordinatesDoAfterTwoRounds) {
  const Floats x = OneHot(1024);
  for (int bits = 1; bits <= 4; ++bits) {
    EXPECT_NEAR(RelativeError(Mse(bits), x, 2000), kDistortion[bits - 1], 0.03 * kDistortion[bits - 1]) << bits;
    EXPECT_NEAR(RelativeError(Mse(bits, 3), x, 2000), kDistortion[bits - 1], 0.01 * kDistortion[bits - 1]) << bits;
  }
}

TEST(TurboQuant, OneHot_IsATrapForASingleRound) {
  // All coordinates are +-1, which two bits round to 1.510418: exactly .510418^2, in every draw.
  EXPECT_NEAR(RelativeError(Mse(2, 1), OneHot(1024), 4), 0.2605, 1e-4);
  EXPECT_NEAR(RelativeError(Mse(2, 2), OneHot(1024), 1000), 0.117, 0.003);
}

TEST(TurboQuant, Mse_ShrinksByItsDistortion) {
  const Floats x = Gaussian(size_t{1} << 18);
  for (int bits = 1; bits <= 4; ++bits) {
    const Floats y = RoundTrip(Mse(bits), x);
    EXPECT_NEAR(Inner(x, y) / SquaredNorm(x), 1 - kDistortion[bits - 1], 0.02 * kDistortion[bits - 1]) << bits;
  }
}

TEST(TurboQuant, EveryNumberOfBits_ErrsByItsDistortion) {
  const Floats x = Gaussian(size_t{1} << 17);
  for (int bits = 5; bits <= 8; ++bits) {
    const double expected = GaussianCodebookOf(bits).distortion;
    EXPECT_NEAR(RelativeError(Mse(bits), x), expected, 0.05 * expected) << bits;
  }
}

// ---- Unbiased ----

TEST(TurboQuant, Unbiased_MeetsTheInputItselfInEveryDraw) {
  for (const Floats& x : {Gaussian(1000), OneHot(1000), Floats(1000, 0.7f)}) {
    for (uint64_t step = 0; step < 10; ++step) {
      // Twenty butterflies and two products, each rounded by 2^-24: in root mean square below 2^-21.
      EXPECT_NEAR(Inner(x, RoundTrip(Unbiased(2), x, {.step = step})) / SquaredNorm(x), 1, 0x1p-20);
    }
  }
}

// |mean - x|^2 / |x|^2 has expectation omega / draws and, over 1024 directions, a standard deviation of sqrt(2 / 1024)
// of that: five are 22 %. Variance: D/(1-D), within 2 %; one draw deviates by at most 5 %.
TEST(TurboQuant, Unbiased_HasTheRightMeanAndEdensVariance) {
  constexpr int kDraws = 1000;
  for (const Floats& x : {Gaussian(1024), StudentT(1024, 3), OneHot(1024)}) {
    for (int bits = 1; bits <= 4; ++bits) {
      const double variance = kDistortion[bits - 1] / (1 - kDistortion[bits - 1]);
      EXPECT_NEAR(RelativeError(Unbiased(bits), x, kDraws), variance, 0.02 * variance) << bits;
      EXPECT_LT(RelativeBias(Unbiased(bits), x, kDraws), std::sqrt(1.22 * variance / kDraws)) << bits;
      EXPECT_LT(variance, *Unbiased(bits).traits(Shape::Flat(1024)).omega);
    }
  }
}

TEST(TurboQuant, Unbiased_ClaimsNothingAfterASingleRound) {
  // 1, .1, .1, ...: the large element decides most signs of a single round, and the others are met less often.
  Floats x(64, 0.1f);
  x[0] = 1;
  const TurboQuant once({.bits = 1, .mode = Mode::kUnbiased, .block = 64, .rounds = 1});
  const TurboQuant twice({.bits = 1, .mode = Mode::kUnbiased, .block = 64, .rounds = 2});
  EXPECT_FALSE(once.traits(Shape::Flat(64)).omega.has_value());
  // sqrt(.5708 / 4000) = .012 of noise. Over 100 000 draws the bias is .25 after one round and .006 after two.
  EXPECT_GT(RelativeBias(once, x, 4000), 0.2);
  EXPECT_LT(RelativeBias(twice, x, 4000), 0.02);
}

TEST(TurboQuant, RanksRotateIndependently_SoThatTheirErrorsAverageOut) {
  const Floats x = Gaussian(4096);
  Floats mean(x.size());
  for (uint32_t rank = 0; rank < 16; ++rank) {
    const Floats y = RoundTrip(Unbiased(1), x, {.rank = rank});
    for (size_t i = 0; i < x.size(); ++i) mean[i] += y[i] / 16;
  }
  // omega / 16 with a standard deviation of sqrt(2 / 4096) = 2.2 % of it; five of those.
  EXPECT_NEAR(SquaredDistance(mean, x) / SquaredNorm(x), 0.5708 / 16, 0.11 * 0.5708 / 16);
}

TEST(TurboQuant, DrawOfTooWideAnAngle_IsDrawnAgain) {
  // After one round four equal elements of a coset are (+-2, 0, 0, 0, ...) or all +-1, by half of the signs: tan^2 is 3
  // or 0 at one bit, and the claim is 1.15.
  const TurboQuant codec({.bits = 1, .mode = Mode::kUnbiased, .block = 64, .rounds = 1});
  Floats x(64);
  x[0] = x[1] = x[2] = x[3] = 1;
  bool is_redrawn = false;
  for (uint64_t step = 0; step < 20; ++step) {
    const Bytes body = EncodeBody(codec, x, {.step = step});
    is_redrawn = is_redrawn || body[8 + 4] != std::byte{0};  // behind key and scale
    EXPECT_LT(SquaredDistance(*DecodeBody(codec, body, 64), x), 1e-10);
  }
  EXPECT_TRUE(is_redrawn);  // else twenty of twenty draws were lucky: 1e-6
}

// ---- Inner products ----

// <x, y> = .3, d = 256: mean and d times the variance of <C(x), y> over 4000 draws. The paper's Gaussian S has 1.48,
// .566, .184, .051; rows that are orthogonal have (pi/2 - 1) D_{b-1} (1 - .09) |y|^2, and that is expected here, within
// five standard deviations, sqrt(2 / 4000) = 2.2 % each; both signs of y's part across x.
TEST(TurboQuant, Qjl_EstimatesInnerProductsWithLessVarianceThanAGaussianMatrix) {
  constexpr size_t kSize = 256;
  constexpr int kDraws = 4000;
  const double gaussian[] = {1.48, .566, .184, .051};
  Floats x = Gaussian(kSize, 1), across = Gaussian(kSize, 2), y(kSize);
  for (float& value : x) value /= std::sqrt(static_cast<float>(SquaredNorm(Gaussian(kSize, 1))));
  const auto along = static_cast<float>(Inner(x, across));
  for (size_t i = 0; i < kSize; ++i) across[i] -= along * x[i];
  const auto length = static_cast<float>(std::sqrt(SquaredNorm(across)));
  for (size_t i = 0; i < kSize; ++i) y[i] = 0.3f * x[i] + std::sqrt(0.91f) * across[i] / length;
  for (int bits = 1; bits <= 4; ++bits) {
    const TurboQuant codec = Qjl(bits, kSize);
    double sum = 0, squares = 0;
    for (uint64_t step = 0; step < kDraws; ++step) {
      const double estimate = Inner(RoundTrip(codec, x, {.step = step}), y);
      sum += estimate, squares += estimate * estimate;
    }
    const double mean = sum / kDraws, variance = kSize * (squares / kDraws - mean * mean);
    EXPECT_NEAR(mean, 0.3, 0.005) << bits;
    EXPECT_LT(variance, gaussian[bits - 1]) << bits;
    const double residual = bits == 1 ? 1 : kDistortion[bits - 2];
    EXPECT_NEAR(variance, (M_PI / 2 - 1) * residual * 0.91, 0.12 * 0.5708 * residual) << bits;
  }
}

TEST(TurboQuant, Qjl_HasTheRightMeanAndVariance) {
  constexpr int kDraws = 1000;
  for (const Floats& x : {Gaussian(1024), OneHot(1024)}) {
    for (int bits = 1; bits <= 4; ++bits) {
      const double variance = (M_PI / 2 - 1) * (bits == 1 ? 1 : kDistortion[bits - 2]);
      EXPECT_NEAR(RelativeError(Qjl(bits), x, kDraws), variance, 0.03 * variance) << bits;
      EXPECT_LT(RelativeBias(Qjl(bits), x, kDraws), std::sqrt(1.22 * variance / kDraws)) << bits;
    }
  }
}

// ---- Ends of the range ----

TEST(TurboQuant, MagnitudesNearTheEndsOfFloat_KeepTheirDistortion) {
  const Floats x = Gaussian(4096);
  for (const float scale : {0x1p-120f, 0x1p-70f, 0x1p70f, 0x1p122f}) {
    Floats scaled = x;
    for (float& value : scaled) value *= scale;
    EXPECT_NEAR(RelativeError(Mse(4), scaled), kDistortion[3], 0.1 * kDistortion[3]) << scale;
  }
}

TEST(TurboQuant, LargestFloats_DecodeToFiniteOnes) {
  const Floats x(128, kLargestFloat);
  for (const TurboQuant& codec : {Mse(1), Unbiased(1), Qjl(2)}) {
    for (const float value : RoundTrip(codec, x)) EXPECT_TRUE(std::isfinite(value));
  }
}

// ---- Spec and hostile bodies ----

TEST(TurboQuant, BodyBytes_AreKeyScalesAndCodes) {
  EXPECT_EQ(Mse(4).MaxBodyBytes(Shape::Flat(0)), 0u);
  EXPECT_EQ(Mse(4).MaxBodyBytes(Shape::Flat(2048)), 8u + 2 * 4 + 2048 / 2);
  EXPECT_EQ(Unbiased(3).MaxBodyBytes(Shape::Flat(1)), 8u + 4 + 1 + 64 * 3 / 8);
  EXPECT_EQ(Qjl(3).MaxBodyBytes(Shape::Flat(1024)), 8u + 4 + 1 + 4 + 1024 * 3 / 8);
}

TEST(TurboQuant, BadScales_AreNamed) {
  Bytes body = EncodeBody(Qjl(2), Gaussian(64));
  for (const float bad : {-1.0f, kNaN, kInfinity}) {
    Bytes damaged = body;
    std::memcpy(&damaged[8], &bad, sizeof(bad));
    EXPECT_THAT(std::string(Decode(Qjl(2), damaged, 64).message()), HasSubstr("scale of block 0"));
    damaged = body;
    std::memcpy(&damaged[13], &bad, sizeof(bad));
    EXPECT_THAT(std::string(Decode(Qjl(2), damaged, 64).message()), HasSubstr("residual scale of block 0"));
  }
}

TEST(TurboQuant, Spec_IsCheckedAndCanonical) {
  const auto codec = Create(TurboQuantInfo(), "turboquant(bits=2, mode=unbiased, block=4096)");
  ASSERT_TRUE(codec.ok()) << codec.status();
  EXPECT_EQ((*codec)->ToString(), "turboquant(bits=2, mode=unbiased, block=4096, rounds=2)");
  for (const char* bad :
       {"turboquant(bits=9)", "turboquant(block=1000)", "turboquant(rounds=0)", "turboquant(mode=x)"}) {
    EXPECT_EQ(Create(TurboQuantInfo(), bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace laconic
