#include "compressors/sign.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "rapidcheck.h"
#include "tests/compressors/dense_codec.h"

namespace laconic {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::shared_ptr<const Compressor> Sign(const std::string& spec) { return *Create(SignInfo(), spec); }

size_t BodyBytes(const Compressor& codec, const Floats& x) { return EncodeBody(codec, x).size(); }

TEST(Sign, OneBlock_DecodesToTheMeanMagnitudeWithEachSign) {
  EXPECT_THAT(RoundTrip(*Sign("sign"), Floats{1.0f, -2.0f, 3.0f, -6.0f}), ElementsAre(3.0f, -3.0f, 3.0f, -3.0f));
}

TEST(Sign, RootMeanSquare_IsTheScaleOfElementsThatAreNotZero) {
  // sqrt((1 + 49) / 2) = 5.
  EXPECT_THAT(RoundTrip(*Sign("sign(scale=rms)"), Floats{1.0f, 0.0f, -7.0f}), ElementsAre(5.0f, 0.0f, -5.0f));
  EXPECT_THAT(RoundTrip(*Sign("sign(block=2, zeros=plus, scale=rms)"), Floats{1.0f, -7.0f, 3.0f}),
              ElementsAre(5.0f, -5.0f, 3.0f));
  EXPECT_THAT(RoundTrip(*Sign("sign(block=0, scale=rms)"), Floats{0.0f, 0.0f}), Each(0.0f));
  EXPECT_THAT(RoundTrip(*Sign("sign(scale=rms)"), Floats{kLargestFloat, -kLargestFloat}),
              ElementsAre(kLargestFloat, -kLargestFloat));
}

// One spike among zeros that are not exact: 2 (1 - 1/sqrt(n)) > 1, so no claim of delta; the largest error shrinks.
TEST(Sign, RootMeanSquareOfASpike_ErrsByMoreThanItHoldsButNowhereByAsMuch) {
  Floats x(64, 1e-6f);
  x[5] = 1;
  const Floats y = RoundTrip(*Sign("sign(scale=rms)"), x);
  double error2 = 0, largest = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    error2 += std::pow(static_cast<double>(y[i]) - x[i], 2);
    largest = std::max(largest, std::abs(static_cast<double>(y[i]) - x[i]));
  }
  EXPECT_NEAR(error2, 2 * (1 - 1 / 8.0), 1e-3);
  EXPECT_NEAR(largest, 1 - 1 / 8.0, 1e-3);
  EXPECT_FALSE(Sign("sign(scale=rms)")->traits(Shape({64})).delta.has_value());
  EXPECT_TRUE(Sign("sign(block=3, scale=rms)")->traits(Shape({64})).delta.has_value());
}

TEST(Sign, Blocks_HaveTheirOwnScales) {
  EXPECT_THAT(RoundTrip(*Sign("sign(block=2)"), Floats{1.0f, -3.0f, 10.0f, 30.0f, -7.0f}),
              ElementsAre(2.0f, -2.0f, 20.0f, 20.0f, -7.0f));
  EXPECT_THAT(RoundTrip(*Sign("sign(block=0)"), Floats{1.0f, -3.0f, 10.0f, 30.0f, -6.0f}),
              ElementsAre(10.0f, -10.0f, 10.0f, 10.0f, -10.0f));
}

TEST(Sign, BlockOfOne_IsExact) {
  const Floats x = {1.5f, -2.0f, 0.0f, kSmallestDenormal, -kLargestFloat};
  EXPECT_EQ(RoundTrip(*Sign("sign(block=1)"), x), x);
}

TEST(Sign, Body_IsScalesFlagsAndSignBitsLowestFirst) {
  // Scale 1, no zeros (flag bit 0 clear), elements 1, 8 and 9 negative.
  EXPECT_EQ(EncodeBody(*Sign("sign"), Floats{1, -1, 1, 1, 1, 1, 1, 1, -1, -1}),
            Join({FloatBytes(1), MakeBytes({0, 0b00000010, 0b00000011})}));
  EXPECT_EQ(EncodeBody(*Sign("sign(zeros=plus)"), Floats{1, -1, 1}), Join({FloatBytes(1), MakeBytes({0b010})}));
}

// ---- Zeros ----

TEST(Sign, ExactZeros_StayZeroAndDoNotCountInTheScale) {
  EXPECT_THAT(RoundTrip(*Sign("sign"), Floats{0.0f, 4.0f, -0.0f, -2.0f, 0.0f}),
              ElementsAre(0.0f, 3.0f, 0.0f, -3.0f, 0.0f));
}

TEST(Sign, PlusZeros_DecodeToTheScale) {
  EXPECT_THAT(RoundTrip(*Sign("sign(zeros=plus)"), Floats{0.0f, 4.0f, -2.0f}), ElementsAre(2.0f, 2.0f, -2.0f));
}

TEST(Sign, Body_WithZerosListsThem) {
  // Block of 4 with zeros at 0 and 2: flag, 2 zeros, 2 bytes of index block (tag of the bitmap form, bitmap), signs.
  EXPECT_EQ(EncodeBody(*Sign("sign"), Floats{0, 4, 0, -2}),
            Join({FloatBytes(3), MakeBytes({1, 2, 2, 0x00, 0b0101, 0b1000})}));
}

TEST(Sign, NoZeros_CostOneBitABlock) {
  // 16 blocks: scales, 2 bytes of flags, one bit an element.
  EXPECT_EQ(BodyBytes(*Sign("sign"), Gaussian(16 * 2048)), 16 * 4 + 2 + 16 * 2048 / 8);
}

TEST(Sign, BlockOfZeros_CostsNothingBesideItsScale) {
  Floats x = Gaussian(16 * 2048);
  std::fill(x.begin() + 2048, x.begin() + 15 * 2048, 0.0f);
  EXPECT_EQ(BodyBytes(*Sign("sign"), x), 16 * 4 + 2 + 2 * 2048 / 8);
  EXPECT_EQ(BodyBytes(*Sign("sign"), Floats(16 * 2048)), 16 * 4 + 2);
  EXPECT_EQ(BodyBytes(*Sign("sign(block=0)"), Floats(200000)), 4 + 1);
}

TEST(Sign, ScatteredZeros_CostCloseToTheirEntropy) {
  // Each element is zero with probability p: H(p) bits an element at least; index coding promises 1.05 H(p) n + 64 a
  // block, and counts and lengths take four bytes more.
  const CounterRng rng(RngKey{.seed = 9});
  const size_t count = 32 * 2048;
  for (const double p : {0.001, 0.01, 0.1, 0.5}) {
    Floats x = Gaussian(count);
    for (size_t i = 0; i < count; ++i) x[i] = rng.Uniform(i) < p ? 0.0f : x[i];
    const double entropy_bits = -(p * std::log2(p) + (1 - p) * std::log2(1 - p)) * static_cast<double>(count);
    const double zero_bits = 8.0 * static_cast<double>(BodyBytes(*Sign("sign"), x)) - 8 * (32 * 4 + 4 + count / 8);
    EXPECT_LE(zero_bits, 1.05 * entropy_bits + 32 * (64 + 32)) << p;
  }
}

TEST(Sign, ParameterWhoseGradientIsAlwaysZero_NeverMovesUnderErrorFeedback) {
  // reliability.md: sign(0) never moves a weight. 24 dead coordinates among 100, residual fed back for 50 steps.
  const auto codec = Sign("sign(block=64)");
  Floats error(100), weights(100);
  for (uint64_t step = 0; step < 50; ++step) {
    Floats message = Gaussian(100, 100 + step);
    for (size_t i = 0; i < 24; ++i) message[4 * i] = 0;
    for (size_t i = 0; i < 100; ++i) message[i] += error[i];
    const Floats sent = RoundTrip(*codec, message);
    error = Residual(*codec, message);
    for (size_t i = 0; i < 100; ++i) weights[i] -= 0.1f * sent[i];
  }
  for (size_t i = 0; i < 24; ++i) EXPECT_EQ(weights[4 * i], 0.0f) << 4 * i;
  EXPECT_NE(weights[1], 0.0f);
}

TEST(Sign, AnyPatternOfZeros_RoundTripsAtEveryLength) {
  const std::vector<std::shared_ptr<const Compressor>> codecs = {
      Sign("sign(block=1)"), Sign("sign(block=7)"), Sign("sign(block=64)"), Sign("sign(block=0)"), Sign("sign")};
  rc::check([&](const std::vector<int8_t>& values) {
    Floats x(values.begin(), values.end());
    for (float& value : x) value = std::abs(value) < 20 ? 0.0f : value;
    for (const auto& codec : codecs) {
      const Floats y = RoundTrip(*codec, x);
      const Floats residual = Residual(*codec, x);
      for (size_t i = 0; i < x.size(); ++i) {
        RC_ASSERT((x[i] == 0) == (y[i] == 0));
        RC_ASSERT(x[i] * y[i] >= 0);
        RC_ASSERT(residual[i] == x[i] - y[i]);
      }
    }
  });
}

TEST(Sign, WholeTensorOfSeveralRuns_HasOneScaleAndExactZeros) {
  // 3 runs of 65536: one without zeros, one of nothing but zeros, a short one with some.
  Floats x(2 * 65536 + 1000, -2.0f);
  std::fill(x.begin() + 65536, x.begin() + 2 * 65536, 0.0f);
  x[2 * 65536 + 5] = 0.0f;
  const auto codec = Sign("sign(block=0)");
  EXPECT_EQ(RoundTrip(*codec, x), x);  // one magnitude: exact
  EXPECT_THAT(Residual(*codec, x), Each(0.0f));
  // Scale, flags, signs of two runs, and little for the zeros.
  EXPECT_LE(BodyBytes(*codec, x), 4 + 1 + 65536 / 8 + 125 + 16);
}

// ---- Claims ----

TEST(Sign, Gaussian_HasTheErrorOfDocsAlgorithms) {
  // algorithms.md, check 25: 1 - 2/pi = .363 for large d. The scale's deviation |x|_1^2/(d |x|^2) has standard
  // deviation about 0.6/sqrt(d) at 10^5 elements: 0.002.
  EXPECT_NEAR(RelativeError(*Sign("sign(block=0)"), Gaussian(100000)), 1 - 2 / std::numbers::pi, 0.006);
  EXPECT_NEAR(RelativeError(*Sign("sign"), Gaussian(100000)), 0.363, 0.006);
}

TEST(Sign, Error_IsWhatDeltaOfXSays) {
  // |C(x) - x|^2 = |x|^2 - |x|_1^2 / d, here 50 - 144/4 = 14.
  EXPECT_DOUBLE_EQ(SquaredDistance(RoundTrip(*Sign("sign"), Floats{1.0f, -2.0f, 3.0f, -6.0f}), Floats{1, -2, 3, -6}),
                   14);
  EXPECT_EQ(Sign("sign(block=64)")->traits(Shape({1000})).delta, 1.0 / 64);
  EXPECT_EQ(Sign("sign(block=64)")->traits(Shape({10})).delta, 1.0 / 10);
  EXPECT_EQ(Sign("sign(block=0)")->traits(Shape({1000})).delta, 1.0 / 1000);
}

TEST(Sign, SpikeAmongNearlyNothing_IsTheWorstCaseAndWithinTheClaim) {
  Floats x(64, 1e-20f);
  x[10] = 5;
  EXPECT_NEAR(RelativeError(*Sign("sign(block=64)"), x), 1 - 1.0 / 64, 1e-12);
}

// ---- Extremes ----

TEST(Sign, HugeValues_GiveAFiniteScaleAndResidual) {
  const Floats x(300, -kLargestFloat);
  EXPECT_EQ(RoundTrip(*Sign("sign"), x), x);
  Floats mixed(300, kLargestFloat);
  mixed[7] = -1;
  for (const float value : Residual(*Sign("sign"), mixed)) EXPECT_TRUE(std::isfinite(value));
}

TEST(Sign, Denormals_AreNotLost) {
  EXPECT_THAT(RoundTrip(*Sign("sign"), Floats{kSmallestDenormal, -3 * kSmallestDenormal, 0.0f}),
              ElementsAre(2 * kSmallestDenormal, -2 * kSmallestDenormal, 0.0f));
}

TEST(Sign, NonFiniteElement_IsInvalidArgumentThatNamesIt) {
  Floats x = Gaussian(5000);
  x[4321] = kNaN;
  x[4999] = kInfinity;
  for (const char* spec : {"sign", "sign(block=0)", "sign(zeros=plus)"}) {
    EXPECT_THAT(EncodeError(*Sign(spec), x),
                HasStatus(absl::StatusCode::kInvalidArgument, "sign: element 4321 of 5000 is nan"));
  }
}

TEST(Sign, EmptyTensor_HasNoBody) {
  EXPECT_THAT(EncodeBody(*Sign("sign"), Floats{}), SizeIs(0));
  EXPECT_THAT(Decode(*Sign("sign"), {}, 0), IsOk());
}

// ---- Untrusted bodies ----

TEST(Sign, DecodeAdd_RefusesBadScales) {
  const auto codec = Sign("sign(block=2, zeros=plus)");
  for (const float bad : {kNaN, kInfinity, -1.0f, -0.0f}) {
    EXPECT_THAT(Decode(*codec, Join({FloatBytes(1), FloatBytes(bad), MakeBytes({0, 0})}), 4),
                HasStatus(absl::StatusCode::kDataLoss, HasSubstr("scale of block 1 is")));
  }
}

TEST(Sign, DecodeAdd_RefusesBadLengthsAndPadding) {
  const auto codec = Sign("sign");
  EXPECT_THAT(Decode(*codec, Join({FloatBytes(1), MakeBytes({0})}), 3),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("sign body")));
  EXPECT_THAT(Decode(*codec, Join({FloatBytes(1), MakeBytes({0, 0, 0})}), 3),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("sign body")));
  EXPECT_THAT(Decode(*codec, Join({FloatBytes(1), MakeBytes({0, 0b1000})}), 3),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("padding of block 0")));
  EXPECT_THAT(Decode(*codec, Join({FloatBytes(1), MakeBytes({0b10, 0})}), 3),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("padding of the zero flags")));
}

TEST(Sign, DecodeAdd_RefusesBadZeroSets) {
  const auto codec = Sign("sign");
  const auto answer = [&](float scale, std::initializer_list<int> rest) {
    return Decode(*codec, Join({FloatBytes(scale), MakeBytes(rest)}), 4);
  };
  EXPECT_THAT(answer(3, {1, 2, 2, 0x00, 0b0101, 0b1000}), IsOk());
  EXPECT_THAT(answer(0, {1, 2, 2, 0x00, 0b0101, 0b1000}), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("scale 0")));
  EXPECT_THAT(answer(3, {1, 0, 0, 0}), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("0 zeros among 4 elements")));
  EXPECT_THAT(answer(3, {1, 5, 0, 0}), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("5 zeros among 4 elements")));
  EXPECT_THAT(answer(3, {1, 2, 200, 1, 0}), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("200 bytes is cut off")));
  EXPECT_THAT(answer(3, {1, 2, 2, 0x00, 0b0111, 0b1000}),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("zeros of block 0")));
  EXPECT_THAT(answer(3, {1, 0x80}), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("varint")));
}

TEST(Sign, Spec_PrintsCanonicallyAndNamesWhatItTakes) {
  EXPECT_EQ(Sign("sign")->ToString(), "sign(block=2048, zeros=exact, scale=l1)");
  EXPECT_EQ(Sign("sign(zeros=plus, block=0)")->ToString(), "sign(block=0, zeros=plus, scale=l1)");
  EXPECT_EQ(Sign("sign(scale=rms)")->ToString(), "sign(block=2048, zeros=exact, scale=rms)");
  EXPECT_THAT(Create(SignInfo(), "sign(block=65537)"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("0..65536")));
  EXPECT_THAT(Create(SignInfo(), "sign(zeros=minus)"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("exact|plus")));
}

}  // namespace
}  // namespace laconic
