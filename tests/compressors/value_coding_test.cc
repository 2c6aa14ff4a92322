#include "compressors/value_coding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/base/matchers.h"

namespace laconic::internal {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using Bytes = std::vector<std::byte>;
constexpr float kMax = std::numeric_limits<float>::max();
constexpr float kDenormal = std::numeric_limits<float>::denorm_min();

Bytes Encode(ValueFormat format, const std::vector<float>& values) {
  Bytes block(ValueBytes(format, values.size()));
  EncodeValues(format, values, block);
  return block;
}

absl::StatusOr<std::vector<float>> Decode(ValueFormat format, const Bytes& block, uint64_t count) {
  const absl::StatusOr<ValueReader> reader = ValueReader::Open(format, count, block);
  if (!reader.ok()) return reader.status();
  std::vector<float> values(count);
  if (absl::Status status = reader->Read(0, values); !status.ok()) return status;
  return values;
}

std::vector<float> RoundTrip(ValueFormat format, const std::vector<float>& values) {
  return *Decode(format, Encode(format, values), values.size());
}

TEST(ValueCoding, Fp32_IsExact) {
  const std::vector<float> values = {0.1f, -kMax, kDenormal, -0.0f};
  EXPECT_THAT(RoundTrip(ValueFormat::kFp32, values), ElementsAreArray(values));
  EXPECT_EQ(ValueBytes(ValueFormat::kFp32, 4), 16u);
}

TEST(ValueCoding, Bf16_RoundsToNearestEven) {
  // Eight significant bits: 1 + 2^-8 lies between 1 and 1 + 2^-7 and goes to the even one; 1 + 3 * 2^-8 goes up.
  EXPECT_THAT(RoundTrip(ValueFormat::kBf16, {1 + 0x1p-8f, 1 + 3 * 0x1p-8f, -3.0f}), ElementsAre(1, 1 + 0x1p-6f, -3));
  EXPECT_EQ(ValueBytes(ValueFormat::kBf16, 3), 6u);
}

TEST(ValueCoding, Fp16_RoundsToNearestEven) {
  EXPECT_THAT(RoundTrip(ValueFormat::kFp16, {1 + 0x1p-11f, 1 + 3 * 0x1p-11f, -3.0f}), ElementsAre(1, 1 + 0x1p-9f, -3));
  EXPECT_EQ(ValueBytes(ValueFormat::kFp16, 3), 8u);
}

TEST(ValueCoding, Fp16OfTinyAndHugeValues_KeepsElevenBits) {
  EXPECT_THAT(RoundTrip(ValueFormat::kFp16, {1.5e-8f * 0x1p-80f, -0x1p-107f}),
              ElementsAre(testing::FloatNear(1.5e-8f * 0x1p-80f, 1.5e-8f * 0x1p-91f), -0x1p-107f));
  EXPECT_THAT(RoundTrip(ValueFormat::kFp16, {kDenormal, -3 * kDenormal}), ElementsAre(kDenormal, -3 * kDenormal));
  EXPECT_THAT(RoundTrip(ValueFormat::kFp16, {0x1p127f, -0x1p100f}), ElementsAre(0x1p127f, -0x1p100f));
}

TEST(ValueCoding, LargestFloat_StaysFinite) {
  EXPECT_THAT(RoundTrip(ValueFormat::kFp16, {kMax}), ElementsAre(65504 * 0x1p112f));
  EXPECT_THAT(RoundTrip(ValueFormat::kBf16, {kMax}), ElementsAre(255 * 0x1p120f));
}

TEST(ValueCoding, Zeros_StayZeros) {
  for (const auto format : {ValueFormat::kFp32, ValueFormat::kFp16, ValueFormat::kBf16, ValueFormat::kQ2}) {
    EXPECT_THAT(RoundTrip(format, {0.0f, 0.0f}), ElementsAre(0, 0));
    EXPECT_EQ(ValueBytes(format, 0), 0u);
    EXPECT_THAT(RoundTrip(format, {}), ElementsAre());
  }
}

RC_GTEST_PROP(ValueCoding, AnyNormalFloats_LoseAtMostTheRelativeLoss, ()) {
  const auto bits = *rc::gen::container<std::vector<uint32_t>>(rc::gen::arbitrary<uint32_t>());
  std::vector<float> values;
  for (const uint32_t word : bits) {
    const float value = std::bit_cast<float>(word * 2654435761u);
    if (std::isnormal(value)) values.push_back(value);
  }
  double energy = 0;
  for (const float value : values) energy += static_cast<double>(value) * value;
  for (const auto format : {ValueFormat::kFp32, ValueFormat::kFp16, ValueFormat::kBf16, ValueFormat::kQ2}) {
    const std::vector<float> decoded = RoundTrip(format, values);
    double lost = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      const double error = static_cast<double>(decoded[i]) - values[i];
      lost += error * error;
    }
    RC_ASSERT(lost <= RelativeLoss(format, values.size()) * energy);
  }
}

// The mean magnitude is 3; 1 and 2 lie below it, 4 and 5 above; Lloyd's split stays there.
TEST(ValueCoding, Q2_IsASignAndOneOfTwoMeans) {
  EXPECT_THAT(RoundTrip(ValueFormat::kQ2, {1, -2, 4, -5}), ElementsAre(1.5f, -1.5f, 4.5f, -4.5f));
  EXPECT_EQ(ValueBytes(ValueFormat::kQ2, 4), 9u);
  EXPECT_EQ(ValueBytes(ValueFormat::kQ2, 1025), 2u * 8 + 256 + 1);
}

TEST(ValueCoding, Q2OfOneMagnitude_IsExact) {
  EXPECT_THAT(RoundTrip(ValueFormat::kQ2, {-3, 3, 3}), ElementsAre(-3, 3, 3));
  EXPECT_THAT(RoundTrip(ValueFormat::kQ2, {0.1f, kMax}), ElementsAre(0.1f, kMax));
}

// What top-k keeps of bell-shaped data: magnitudes t + an exponential of mean about t/6. Bins of equal width, 4 over 6
// standard deviations around the mean with mean codebook, put nothing into one of the two inner bins and lose more.
TEST(ValueCoding, Q2OfSelectedValues_LosesLittle) {
  std::vector<float> values(1024);
  double energy = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double tail = -std::log((static_cast<double>(i) + 0.5) / 1024);
    values[i] = static_cast<float>((i % 2 == 0 ? 1 : -1) * (2.4 + 0.4 * tail));
    energy += static_cast<double>(values[i]) * values[i];
  }
  const std::vector<float> decoded = RoundTrip(ValueFormat::kQ2, values);
  double lost = 0;
  for (size_t i = 0; i < values.size(); ++i) lost += std::pow(static_cast<double>(decoded[i]) - values[i], 2);
  // The best two levels leave 0.35 of an exponential's variance (Max 1960's quantiser for one-sided exponentials).
  EXPECT_NEAR(lost / 1024 / (0.4 * 0.4), 0.35, 0.02);
  EXPECT_LT(lost / energy, 0.01);
}

TEST(ValueReader, Q2WithPaddingThatIsNotZero_IsDataLoss) {
  Bytes block = Encode(ValueFormat::kQ2, {1, 2, 3});
  block.back() |= std::byte{0x40};
  EXPECT_THAT(Decode(ValueFormat::kQ2, block, 3),
              HasStatus(absl::StatusCode::kDataLoss, "bits left over after 3 values"));
  block = Encode(ValueFormat::kQ2, {1, 1, 1});
  block[3] = std::byte{0x7f};
  block[2] = std::byte{0x80};
  EXPECT_THAT(Decode(ValueFormat::kQ2, block, 3), HasStatus(absl::StatusCode::kDataLoss, "value 0 is inf"));
}

TEST(ValueReader, PartsOfABlock_AreThoseOfTheWhole) {
  std::vector<float> values(2500);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 7) - 3;
  for (const auto format : {ValueFormat::kFp32, ValueFormat::kFp16, ValueFormat::kBf16, ValueFormat::kQ2}) {
    const Bytes block = Encode(format, values);
    const std::vector<float> whole = RoundTrip(format, values);
    std::vector<float> middle(1500);
    ASSERT_THAT(ValueReader::Open(format, values.size(), block)->Read(1, middle), IsOk());
    EXPECT_TRUE(std::equal(middle.begin(), middle.end(), whole.begin() + 1));
  }
}

TEST(ValueReader, OtherLength_IsDataLoss) {
  EXPECT_THAT(Decode(ValueFormat::kFp32, Bytes(7), 2),
              HasStatus(absl::StatusCode::kDataLoss, "7 bytes hold 2 fp32 values, expected 8"));
  EXPECT_THAT(Decode(ValueFormat::kFp16, Bytes(4), 2),
              HasStatus(absl::StatusCode::kDataLoss, "4 bytes hold 2 fp16 values, expected 6"));
}

TEST(ValueReader, ValueThatIsNotFinite_IsDataLossThatNamesIt) {
  EXPECT_THAT(Decode(ValueFormat::kFp32, Encode(ValueFormat::kFp32, {1, INFINITY}), 2),
              HasStatus(absl::StatusCode::kDataLoss, "value 1 is inf"));
  Bytes block = Encode(ValueFormat::kFp16, {1, 2});
  block[3] = std::byte{0xfc};  // the first half's sign and exponent bits: all ones
  EXPECT_THAT(Decode(ValueFormat::kFp16, block, 2), HasStatus(absl::StatusCode::kDataLoss, "value 0 is -inf"));
}

TEST(ValueReader, ExponentOutOfRange_IsDataLoss) {
  Bytes block = Encode(ValueFormat::kFp16, {1});
  block[0] = std::byte{113};
  block[1] = std::byte{0};
  EXPECT_THAT(Decode(ValueFormat::kFp16, block, 1),
              HasStatus(absl::StatusCode::kDataLoss, "exponent 113 outside -164..112"));
}

}  // namespace
}  // namespace laconic::internal
