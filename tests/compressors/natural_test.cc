#include "compressors/natural.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/compressors/dense_codec.h"

namespace laconic {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

const internal::Natural kNatural;

TEST(Natural, PowersOfTwoAndZeros_AreExact) {
  const Floats x = {1.0f, -2.0f, 0.0f, 0x1p-126f, -0x1p127f, 0.25f, -0.0f, 4.0f, -0.5f};
  EXPECT_EQ(RoundTrip(kNatural, x), x);
}

TEST(Natural, Body_IsExponentsThenSigns) {
  EXPECT_EQ(EncodeBody(kNatural, Floats{1.0f, -2.0f, 0.0f}), MakeBytes({127, 128, 0, 0b010}));
}

TEST(Natural, OtherValues_BecomeANeighbouringPowerOfTwoAsOftenAsTheirMantissaSays) {
  // -5 = -4 (1 + 1/4): -8 in a quarter of 10000 elements, standard deviation sqrt(10000 * 3/16) = 43.3; five of them.
  const Floats y = RoundTrip(kNatural, Floats(10000, -5.0f));
  const auto up = std::count(y.begin(), y.end(), -8.0f);
  EXPECT_EQ(up + std::count(y.begin(), y.end(), -4.0f), 10000);
  EXPECT_NEAR(static_cast<double>(up), 2500, 217);
}

TEST(Natural, FourThirds_AttainsOmega) {
  // Variance over square: m (1 - m) / (1 + m)^2 = (2/9) / (16/9) = 1/8 at m = 1/3. One element's ratio is 1/16 or 1/4,
  // with standard deviation 0.088; over 40000 draws 0.00044, and five of those.
  EXPECT_NEAR(RelativeError(kNatural, Floats(10000, 4.0f / 3), 4), 0.125, 0.0022);
}

TEST(Natural, Gaussian_HasTheErrorOfDocsAlgorithms) {
  EXPECT_NEAR(RelativeError(kNatural, Gaussian(10000), 20), 0.0817, 0.001);  // algorithms.md, section 6
}

TEST(Natural, Mean_IsUnbiased) { EXPECT_LT(RelativeBias(kNatural, Gaussian(500), 4000), 3 * std::sqrt(0.125 / 4000)); }

TEST(Natural, Denormals_RoundToZeroOrTheSmallestNormalUnbiased) {
  // 2^-128 = 2^-126 / 4: up in a quarter of the cases, as in the test above.
  const Floats y = RoundTrip(kNatural, Floats(10000, 0x1p-128f));
  const auto up = std::count(y.begin(), y.end(), 0x1p-126f);
  EXPECT_EQ(up + std::count(y.begin(), y.end(), 0.0f), 10000);
  EXPECT_NEAR(static_cast<double>(up), 2500, 217);
}

TEST(Natural, ValuesAboveTheLargestPower_Saturate) {
  EXPECT_THAT(RoundTrip(kNatural, Floats{kLargestFloat, -0x1.8p127f}), ElementsAre(0x1p127f, -0x1p127f));
}

TEST(Natural, Keys_DrawIndependentlyAndRepeatably) {
  const Floats x = Gaussian(1000);
  EXPECT_EQ(EncodeBody(kNatural, x, {.seed = 1, .rank = 2}), EncodeBody(kNatural, x, {.seed = 1, .rank = 2}));
  EXPECT_NE(EncodeBody(kNatural, x, {.seed = 1, .rank = 2}), EncodeBody(kNatural, x, {.seed = 1, .rank = 3}));
}

TEST(Natural, ElementsDraw_TheWordOfTheirIndex) {
  // So a prefix rounds as it does within the whole.
  const Floats x = Gaussian(1300);
  const Floats whole = RoundTrip(kNatural, x);
  for (const size_t count : {1, 7, 511, 513, 1025}) {
    EXPECT_EQ(RoundTrip(kNatural, Floats(x.begin(), x.begin() + static_cast<ptrdiff_t>(count))),
              Floats(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(count)));
  }
}

TEST(Natural, EmptyTensor_HasNoBody) { EXPECT_THAT(EncodeBody(kNatural, Floats{}), SizeIs(0)); }

TEST(Natural, NonFiniteElement_IsInvalidArgumentThatNamesIt) {
  EXPECT_THAT(EncodeError(kNatural, {1.0f, kNaN}),
              HasStatus(absl::StatusCode::kInvalidArgument, "natural: element 1 of 2 is nan"));
}

TEST(Natural, DecodeAdd_RefusesMalformedBodies) {
  EXPECT_THAT(Decode(kNatural, MakeBytes({1, 2, 3}), 3),
              HasStatus(absl::StatusCode::kDataLoss, "natural body: 3 bytes, expected 4"));
  EXPECT_THAT(Decode(kNatural, MakeBytes({127, 255, 0}), 2),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("exponent of element 1 is 255")));
  EXPECT_THAT(Decode(kNatural, MakeBytes({127, 127, 0b100}), 2),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("padding of the signs")));
}

}  // namespace
}  // namespace laconic
