#include "compressors/value_coding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

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
  for (const auto format : {ValueFormat::kFp32, ValueFormat::kFp16, ValueFormat::kBf16}) {
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
  for (const auto format : {ValueFormat::kFp32, ValueFormat::kFp16, ValueFormat::kBf16}) {
    const std::vector<float> decoded = RoundTrip(format, values);
    double lost = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      const double error = static_cast<double>(decoded[i]) - values[i];
      lost += error * error;
    }
    RC_ASSERT(lost <= RelativeLoss(format, values.size()) * energy);
  }
}

TEST(ValueReader, PartsOfABlock_AreThoseOfTheWhole) {
  const std::vector<float> values = {1, 2, 3, 4, 5};
  for (const auto format : {ValueFormat::kFp32, ValueFormat::kFp16, ValueFormat::kBf16}) {
    const Bytes block = Encode(format, values);
    std::vector<float> middle(3);
    ASSERT_THAT(ValueReader::Open(format, 5, block)->Read(1, middle), IsOk());
    EXPECT_THAT(middle, ElementsAre(2, 3, 4));
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
