#include "compressors/cast.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "compressors/float16.h"
#include "tests/compressors/dense_codec.h"

namespace laconic {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::shared_ptr<const Compressor> Cast(const std::string& spec) { return *Create(CastInfo(), spec); }

// ---- float16.h ----

TEST(Float16, KnownValues) {
  EXPECT_EQ(FloatToHalf(1.0f), 0x3c00);
  EXPECT_EQ(FloatToHalf(-2.0f), 0xc000);
  EXPECT_EQ(FloatToHalf(65504.0f), 0x7bff);
  EXPECT_EQ(FloatToHalf(0x1p-14f), 0x0400);  // the smallest normal half
  EXPECT_EQ(FloatToHalf(0x1p-24f), 0x0001);  // the smallest denormal half
  EXPECT_EQ(FloatToHalf(-0.0f), 0x8000);
  EXPECT_EQ(HalfToFloat(0x3555), 0.333251953125f);
  EXPECT_EQ(FloatToBfloat16(1.0f), 0x3f80);
  EXPECT_EQ(Bfloat16ToFloat(0x4049), 3.140625f);
}

TEST(Float16, EveryHalfAndBfloat16_SurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto value = static_cast<uint16_t>(bits);
    if ((value & 0x7c00) != 0x7c00) {
      EXPECT_EQ(FloatToHalf(HalfToFloat(value)), value);
    }
    if ((value & 0x7f80) != 0x7f80) {
      EXPECT_EQ(FloatToBfloat16(Bfloat16ToFloat(value)), value);
    }
  }
}

// Between two neighbours a < b of the narrow format: below the midpoint a, above it b, on it the even one. Over all
// pairs this determines every rounding of a finite value that does not overflow.
template <typename Widen, typename Narrow>
void ExpectRoundToNearestEven(uint16_t largest, Widen widen, Narrow narrow) {
  for (uint16_t a = 0; a < largest; ++a) {
    const auto b = static_cast<uint16_t>(a + 1);
    const auto middle = static_cast<float>((static_cast<double>(widen(a)) + widen(b)) / 2);
    ASSERT_EQ(narrow(middle), a % 2 == 0 ? a : b) << a;
    ASSERT_EQ(narrow(std::nextafter(middle, 0.0f)), a) << a;
    ASSERT_EQ(narrow(std::nextafter(middle, kInfinity)), b) << a;
    ASSERT_EQ(narrow(-middle), 0x8000 | (a % 2 == 0 ? a : b)) << a;
  }
}

TEST(Float16, EveryGapBetweenHalves_RoundsToNearestEven) {
  ExpectRoundToNearestEven(kMaxHalfBits, HalfToFloat, FloatToHalf);
}

TEST(Float16, EveryGapBetweenBfloat16s_RoundsToNearestEven) {
  ExpectRoundToNearestEven(kMaxBfloat16Bits, Bfloat16ToFloat, FloatToBfloat16);
}

TEST(Float16, Overflow_SaturatesAndNaNStaysNaN) {
  for (const float big : {65519.99f, 65520.0f, 1e6f, kLargestFloat, kInfinity}) {
    EXPECT_EQ(FloatToHalf(big), 0x7bff) << big;
    EXPECT_EQ(FloatToHalf(-big), 0xfbff) << big;
  }
  EXPECT_EQ(FloatToBfloat16(kLargestFloat), kMaxBfloat16Bits);
  EXPECT_EQ(FloatToBfloat16(-kInfinity), 0x8000 | kMaxBfloat16Bits);
  EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(kNaN))));
  EXPECT_TRUE(
      std::isnan(Bfloat16ToFloat(FloatToBfloat16(std::bit_cast<float>(0x7f800001u)))));  // payload in dropped bits
  EXPECT_EQ(HalfToFloat(0x7c00), kInfinity);
}

// ---- cast ----

TEST(Cast, Fp16_KeepsWhatFitsElevenBits) {
  EXPECT_THAT(RoundTrip(*Cast("cast(to=fp16)"), Floats{1.0f, -0.5f, 0.0f, 2049.0f, 2051.0f}),
              ElementsAre(1.0f, -0.5f, 0.0f, 2048.0f, 2052.0f));  // ties to even
}

TEST(Cast, Bf16_KeepsWhatFitsEightBits) {
  EXPECT_THAT(RoundTrip(*Cast("cast(to=bf16)"), Floats{1.0f, -256.0f, 257.0f, 259.0f}),
              ElementsAre(1.0f, -256.0f, 256.0f, 260.0f));
}

TEST(Cast, Body_IsExponentThenHalves) {
  // The largest magnitude, 3, lies in [2^1, 2^2): E = 1 - 14 = -13, and 3 * 2^13 = 24576 is the half 0x7600.
  EXPECT_EQ(EncodeBody(*Cast("cast(to=fp16)"), Floats{3.0f, 0.0f}),
            MakeBytes({0xf3, 0xff, 0xff, 0xff, 0x00, 0x76, 0, 0}));
  EXPECT_EQ(EncodeBody(*Cast("cast(to=fp16, scale=none)"), Floats{3.0f}), MakeBytes({0x00, 0x42}));
  EXPECT_EQ(EncodeBody(*Cast("cast(to=bf16, scale=none)"), Floats{3.0f}), MakeBytes({0x40, 0x40}));
}

TEST(Cast, Gaussian_HasTheErrorOfDocsAlgorithms) {
  // algorithms.md, section 6: 4.3e-8 and 2.7e-6 of |x|^2. A squared error is uniform^2 times the square of its binade's
  // unit, so over N(0,1) its standard deviation is 1.0e-7 (64 times that in bf16): 3.2e-10 over 10^5 elements, and five
  // of those.
  const Floats x = Gaussian(100000);
  EXPECT_NEAR(RelativeError(*Cast("cast(to=fp16)"), x), 4.3e-8, 0.16e-8);
  EXPECT_NEAR(RelativeError(*Cast("cast(to=bf16)"), x), 64 * 4.3e-8, 64 * 0.16e-8);
}

TEST(Cast, AutoScale_HoldsItsClaimForAnyMagnitude) {
  for (const std::string to : {"fp16", "bf16"}) {
    const auto codec = Cast("cast(to=" + to + ")");
    const double bound = 1 - *codec->traits(Shape({2000})).delta;
    for (const int exponent : {-147, -140, -126, -100, -20, 0, 20, 100, 124}) {
      Floats x = Gaussian(2000);
      for (float& value : x) value = std::ldexp(value, exponent);
      EXPECT_LE(RelativeError(*codec, x), bound) << to << " at 2^" << exponent;
    }
  }
}

TEST(Cast, LargestFloat_SaturatesInsteadOfOverflowing) {
  // 2^128 - 2^104 would round up to 2^128; the next half below, in units of 2^113, is 2^15 - 2^4 (bfloat16: 2^15 -
  // 2^7).
  EXPECT_THAT(RoundTrip(*Cast("cast(to=fp16)"), Floats{-kLargestFloat}), ElementsAre(-(0x1p127f - 0x1p116f) * 2));
  EXPECT_THAT(RoundTrip(*Cast("cast(to=bf16)"), Floats{kLargestFloat}), ElementsAre((0x1p127f - 0x1p119f) * 2));
  EXPECT_THAT(RoundTrip(*Cast("cast(to=fp16, scale=none)"), Floats{1e30f, -65530.0f}),
              ElementsAre(65504.0f, -65504.0f));
}

TEST(Cast, Denormals_AreKeptUnderAutoScale) {
  EXPECT_THAT(RoundTrip(*Cast("cast(to=fp16)"), Floats{kSmallestDenormal, -3 * kSmallestDenormal, 0.0f}),
              ElementsAre(kSmallestDenormal, -3 * kSmallestDenormal, 0.0f));
}

TEST(Cast, WithoutScale_Fp16ClaimsNothing) {
  EXPECT_FALSE(Cast("cast(to=fp16, scale=none)")->traits(Shape({10})).delta.has_value());
  EXPECT_EQ(Cast("cast(to=bf16, scale=none)")->traits(Shape({10})).delta, 1 - 0x1p-16);
  EXPECT_THAT(RoundTrip(*Cast("cast(to=fp16, scale=none)"), Floats{0x1p-26f}), ElementsAre(0.0f));  // why
}

TEST(Cast, EncodeResidual_LeavesWhatRoundingTook) {
  EXPECT_THAT(Residual(*Cast("cast(to=fp16)"), Floats{2049.0f, 1.0f}), ElementsAre(1.0f, 0.0f));
}

TEST(Cast, EmptyTensor_HasNoBody) { EXPECT_THAT(EncodeBody(*Cast("cast(to=fp16)"), Floats{}), SizeIs(0)); }

TEST(Cast, NonFiniteElement_IsInvalidArgumentThatNamesIt) {
  EXPECT_THAT(EncodeError(*Cast("cast(to=bf16)"), {0.0f, 1.0f, -kInfinity}),
              HasStatus(absl::StatusCode::kInvalidArgument, "cast: element 2 of 3 is -inf"));
}

TEST(Cast, DecodeAdd_RefusesMalformedBodies) {
  const auto codec = Cast("cast(to=fp16)");
  EXPECT_THAT(Decode(*codec, MakeBytes({0, 0, 0, 0, 0}), 1),
              HasStatus(absl::StatusCode::kDataLoss, "cast body: 5 bytes, expected 6"));
  EXPECT_THAT(Decode(*codec, MakeBytes({114, 0, 0, 0, 0, 0}), 1),
              HasStatus(absl::StatusCode::kDataLoss, "cast body: exponent 114, expected -163..113"));
  EXPECT_THAT(Decode(*codec, MakeBytes({0, 0, 0, 0x80, 0, 0}), 1),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("exponent -2147483648")));
  EXPECT_THAT(Decode(*codec, MakeBytes({0, 0, 0, 0, 0, 0, 0x00, 0x7c}), 2),
              HasStatus(absl::StatusCode::kDataLoss, "cast body: element 1 is inf"));
  // 65504 * 2^113 is beyond the largest float.
  EXPECT_THAT(Decode(*codec, MakeBytes({113, 0, 0, 0, 0xff, 0x7b}), 1),
              HasStatus(absl::StatusCode::kDataLoss, "cast body: element 0 is inf"));
  EXPECT_THAT(Decode(*Cast("cast(to=bf16, scale=none)"), MakeBytes({0xc0, 0x7f}), 1),
              HasStatus(absl::StatusCode::kDataLoss, "cast body: element 0 is nan"));
}

TEST(Cast, Spec_NeedsItsFormat) {
  EXPECT_EQ(Cast("cast(to=bf16)")->ToString(), "cast(to=bf16, scale=auto)");
  EXPECT_THAT(Create(CastInfo(), "cast"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("to=fp16 or to=bf16")));
  EXPECT_THAT(Create(CastInfo(), "cast(to=fp8)"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("fp16|bf16")));
}

}  // namespace
}  // namespace laconic
