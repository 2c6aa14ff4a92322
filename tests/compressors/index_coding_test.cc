#include "compressors/index_coding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <set>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/base/matchers.h"

namespace laconic::internal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Indices = std::vector<uint64_t>;
using Bytes = std::vector<std::byte>;

Bytes EncodeBest(const Indices& indices, uint64_t elements) {
  const IndexPlan plan = PlanIndices(indices, elements);
  Bytes bytes(plan.bytes);
  EncodeIndices(indices, elements, plan, bytes);
  return bytes;
}

absl::StatusOr<Indices> Decode(const Bytes& bytes, uint64_t count, uint64_t elements) {
  IndexDecoder decoder(bytes, count, elements);
  Indices indices;
  for (auto some = decoder.Next(); !some.empty(); some = decoder.Next()) {
    indices.insert(indices.end(), some.begin(), some.end());
  }
  if (absl::Status status = decoder.Finish(); !status.ok()) return status;
  return indices;
}

Bytes ToBytes(std::initializer_list<int> values) {
  Bytes bytes;
  for (const int value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

// `count` of `elements` indices, every set equally likely (selection sampling).
Indices UniformIndices(uint64_t count, uint64_t elements) {
  std::mt19937_64 random(1);
  Indices indices;
  for (uint64_t i = 0; indices.size() < count; ++i) {
    if (random() % (elements - i) < count - indices.size()) indices.push_back(i);
  }
  return indices;
}

double Log2Binomial(double d, double k) {
  return (std::lgamma(d + 1) - std::lgamma(k + 1) - std::lgamma(d - k + 1)) / std::log(2.0);
}

uint64_t EliasFanoBits(const Indices& indices, uint64_t elements) {
  const uint64_t ratio = elements / indices.size();
  const auto low = static_cast<uint64_t>(std::bit_width(ratio) - 1);
  return indices.size() * (low + 1) + (indices.back() >> low);
}

TEST(IndexCoding, NoIndexAndAllIndices_TakeNoBytes) {
  EXPECT_EQ(PlanIndices(Indices{}, 5).bytes, 0u);
  EXPECT_THAT(*Decode({}, 0, 5), ElementsAre());
  EXPECT_EQ(PlanIndices(Indices{0, 1, 2}, 3).bytes, 0u);
  EXPECT_THAT(*Decode({}, 3, 3), ElementsAre(0, 1, 2));
  EXPECT_THAT(*Decode({}, 0, 0), ElementsAre());
}

TEST(IndexCoding, FourIndicesOfEight_AreABitmap) {
  EXPECT_EQ(EncodeBest({0, 2, 3, 7}, 8), ToBytes({0x00, 0b10001101}));
}

TEST(IndexCoding, TwoIndicesOf4096_AreRiceCoded) {
  // Gaps 0 and 4094 = 3 * 2^10 + 1022; m = 10 costs 11 + 14 bits: "1" and 0 in ten bits, "0001" and 1022 in ten bits.
  const Bytes bytes = EncodeBest({0, 4095}, 4096);
  EXPECT_EQ(bytes, ToBytes({0x80 | 10, 0x01, 0x40, 0xff, 0x01}));
  EXPECT_THAT(*Decode(bytes, 2, 4096), ElementsAre(0, 4095));
}

TEST(IndexCoding, LongRuns_ArePacked) {
  // The first 512 of a million: all gaps are 0, and a block of 128 of them is a width of 0.
  Indices indices(512);
  for (size_t j = 0; j < indices.size(); ++j) indices[j] = j;
  const IndexPlan plan = PlanIndices(indices, 1'000'000);
  EXPECT_EQ(plan.form, IndexForm::kPacked);
  EXPECT_EQ(plan.bytes, 1u + 4u);  // 4 x 7 bits
  EXPECT_EQ(*Decode(EncodeBest(indices, 1'000'000), 512, 1'000'000), indices);
}

TEST(IndexCoding, UniformIndices_CostAtMostFivePercentAboveTheEntropy) {
  for (const uint64_t count : {1'000u, 10'000u, 100'000u}) {
    const uint64_t elements = 1'000'000;
    const Indices indices = UniformIndices(count, elements);
    const double bits = 8.0 * static_cast<double>(PlanIndices(indices, elements).bytes);
    const double bound = Log2Binomial(1e6, static_cast<double>(count));
    EXPECT_LE(bits, 1.05 * bound + 64) << count;
    EXPECT_GE(bits, 0.99 * bound) << "below the entropy: the code cannot be decodable";
    EXPECT_EQ(*Decode(EncodeBest(indices, elements), count, elements), indices);
  }
}

TEST(IndexCoding, TenThousandOfAMillion_TakeTheBitsOfRiceSix) {
  // Computed independently (docs/algorithms.md): Rice(6) 8.11 +- .03 bits an index, Elias-Fano 8.563, bound 8.079.
  const Indices indices = UniformIndices(10'000, 1'000'000);
  const IndexPlan plan = PlanIndices(indices, 1'000'000);
  EXPECT_EQ(plan.form, IndexForm::kRice);
  EXPECT_EQ(plan.parameter, 6);
  EXPECT_NEAR(8.0 * static_cast<double>(plan.bytes) / 1e4, 8.11, .03);
  EXPECT_NEAR(static_cast<double>(EliasFanoBits(indices, 1'000'000)) / 1e4, 8.563, .01);
  EXPECT_NEAR(Log2Binomial(1e6, 1e4) / 1e4, 8.079, .001);
}

TEST(IndexCoding, SmallTensors_CostAtMostFivePercentAboveTheEntropyPlus64Bits) {
  for (const uint64_t elements : {1u, 10u, 100u, 1'000u, 10'000u}) {
    for (const uint64_t divisor : {1'000u, 100u, 10u}) {
      const uint64_t count = std::max<uint64_t>(1, elements / divisor);
      const Indices indices = UniformIndices(count, elements);
      EXPECT_LE(8.0 * static_cast<double>(PlanIndices(indices, elements).bytes),
                1.05 * Log2Binomial(static_cast<double>(elements), static_cast<double>(count)) + 64)
          << count << " of " << elements;
    }
  }
}

TEST(IndexCoding, IndicesIn32Bits_AreCodedAsThoseIn64) {
  for (const uint64_t count : {1u, 10u, 1'000u, 50'000u}) {
    const uint64_t elements = 100'000;
    const Indices indices = UniformIndices(count, elements);
    const std::vector<uint32_t> narrow(indices.begin(), indices.end());
    const IndexPlan plan = PlanIndices(std::span<const uint32_t>(narrow), elements);
    EXPECT_EQ(plan.bytes, PlanIndices(indices, elements).bytes);
    Bytes bytes(plan.bytes);
    EncodeIndices(std::span<const uint32_t>(narrow), elements, plan, bytes);
    EXPECT_EQ(bytes, EncodeBest(indices, elements)) << count;
  }
}

TEST(IndexCoding, LongGapsAmongShortOnes_RoundTrip) {
  // Quotients beyond what is read at a time, before, inside and at the end of groups of short codes.
  Indices indices;
  uint64_t next = 0;
  for (int i = 0; i < 2000; ++i) indices.push_back(next += i % 97 == 0 ? 100'000 : 1 + i % 3);
  for (const int parameter : {0, 1, 6, 30, 31, 32, 63}) {
    uint64_t bits = 0;
    next = 0;
    for (const uint64_t index : indices) {
      bits += static_cast<uint64_t>(parameter) + 1 + ((index - next) >> parameter);
      next = index + 1;
    }
    Bytes bytes(1 + (bits + 7) / 8);
    EncodeIndices(indices, next, {IndexForm::kRice, parameter, bytes.size()}, bytes);
    EXPECT_EQ(*Decode(bytes, indices.size(), next), indices) << parameter;
  }
}

TEST(IndexCoding, IndicesBeyond32Bits_RoundTrip) {
  const uint64_t elements = uint64_t{1} << 62;
  const Indices indices = {0, 1, uint64_t{1} << 32, (uint64_t{1} << 61) + 5, elements - 1};
  EXPECT_EQ(*Decode(EncodeBest(indices, elements), indices.size(), elements), indices);
}

// Any set of indices below any small bound, dense, sparse or clustered.
rc::Gen<std::pair<Indices, uint64_t>> AnyIndices() {
  return rc::gen::mapcat(rc::gen::inRange<uint64_t>(1, 3000), [](uint64_t elements) {
    return rc::gen::map(
        rc::gen::container<std::set<uint64_t>>(rc::gen::inRange<uint64_t>(0, elements)),
        [elements](const std::set<uint64_t>& set) { return std::pair(Indices(set.begin(), set.end()), elements); });
  });
}

RC_GTEST_PROP(IndexCoding, AnySet_RoundTripsWithinItsBoundAndNeverCostsMoreThanEliasFano, ()) {
  const auto [indices, elements] = *AnyIndices();
  const Bytes bytes = EncodeBest(indices, elements);
  RC_ASSERT(*Decode(bytes, indices.size(), elements) == indices);
  RC_ASSERT(bytes.size() <= MaxIndexBytes(indices.size(), elements));
  if (!indices.empty()) RC_ASSERT(bytes.size() <= 1 + (EliasFanoBits(indices, elements) + 7) / 8);
}

RC_GTEST_PROP(IndexCoding, EveryForm_RoundTripsWithTheLengthPlannedForIt, ()) {
  const auto [indices, elements] = *AnyIndices();
  RC_PRE(!indices.empty() && indices.size() < elements);
  IndexPlan plan = PlanIndices(indices, elements);
  const IndexPlan best = plan;
  // The bitmap's and the best Rice code's lengths by their definitions.
  plan = {IndexForm::kBitmap, 0, 1 + static_cast<size_t>((elements + 7) / 8)};
  Bytes bytes(plan.bytes);
  EncodeIndices(indices, elements, plan, bytes);
  RC_ASSERT(*Decode(bytes, indices.size(), elements) == indices);
  RC_ASSERT(best.bytes <= plan.bytes);
  const int parameter = *rc::gen::inRange(0, 64);
  uint64_t bits = 0;
  uint64_t next = 0;
  for (const uint64_t index : indices) {
    bits += static_cast<uint64_t>(parameter) + 1 + ((index - next) >> parameter);
    next = index + 1;
  }
  plan = {IndexForm::kRice, parameter, 1 + static_cast<size_t>((bits + 7) / 8)};
  bytes.assign(plan.bytes, std::byte{0});
  EncodeIndices(indices, elements, plan, bytes);
  RC_ASSERT(*Decode(bytes, indices.size(), elements) == indices);
  RC_ASSERT(best.bytes <= plan.bytes);
}

RC_GTEST_PROP(IndexDecoder, AnyBytes_GiveAscendingIndicesInRangeOrDataLoss, ()) {
  const auto raw = *rc::gen::container<std::vector<uint8_t>>(rc::gen::arbitrary<uint8_t>());
  const uint64_t elements = *rc::gen::inRange<uint64_t>(0, 600);
  const uint64_t count = *rc::gen::inRange<uint64_t>(0, elements + 1);
  Bytes bytes(raw.size());
  for (size_t i = 0; i < raw.size(); ++i) bytes[i] = std::byte{raw[i]};
  if (!bytes.empty()) bytes[0] &= std::byte{0xbf};  // forms 0 and 2 half of the time
  const absl::StatusOr<Indices> indices = Decode(bytes, count, elements);
  if (!indices.ok()) {
    RC_ASSERT(indices.status().code() == absl::StatusCode::kDataLoss);
    return;
  }
  RC_ASSERT(indices->size() == count);
  for (size_t j = 0; j < count; ++j)
    RC_ASSERT((*indices)[j] < elements && (j == 0 || (*indices)[j - 1] < (*indices)[j]));
}

RC_GTEST_PROP(IndexDecoder, Truncation_IsDataLoss, ()) {
  const auto [indices, elements] = *AnyIndices();
  Bytes bytes = EncodeBest(indices, elements);
  RC_PRE(!bytes.empty());
  bytes.resize(*rc::gen::inRange<size_t>(0, bytes.size()));
  RC_ASSERT(Decode(bytes, indices.size(), elements).status().code() == absl::StatusCode::kDataLoss);
}

TEST(IndexDecoder, IndexEqualToLength_IsDataLossThatNamesBoth) {
  const Bytes of_4097 = EncodeBest({0, 4096}, 4097);
  EXPECT_THAT(Decode(of_4097, 2, 4096), HasStatus(absl::StatusCode::kDataLoss, "index 4096 >= 4096 elements"));
}

TEST(IndexDecoder, GapThatOverflows_IsDataLoss) {
  // Rice with m = 63: quotient 1 and the low bits all ones is 2^64 - 1; a quotient of 2 does not fit 64 bits at all.
  const Bytes all_ones = ToBytes({0x80 | 63, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01});
  EXPECT_THAT(Decode(all_ones, 1, 10),
              HasStatus(absl::StatusCode::kDataLoss, "index 18446744073709551615 >= 10 elements"));
  const Bytes too_far = ToBytes({0x80 | 63, 0x04, 0, 0, 0, 0, 0, 0, 0, 0});
  EXPECT_THAT(Decode(too_far, 1, 10), HasStatus(absl::StatusCode::kDataLoss, HasSubstr(">= 10 elements")));
  // After index 0 the sum 1 + (2^64 - 1) wraps.
  const Bytes wraps = ToBytes({0x40, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f});
  EXPECT_THAT(Decode(wraps, 2, 10), HasStatus(absl::StatusCode::kDataLoss, HasSubstr(">= 10 elements")));
}

TEST(IndexDecoder, PaddingThatIsNotZero_IsDataLoss) {
  EXPECT_THAT(Decode(ToBytes({0x80, 0x02}), 1, 4), IsOk());  // Rice(0): "01" and six zero bits
  EXPECT_THAT(Decode(ToBytes({0x80, 0x06}), 1, 4),
              HasStatus(absl::StatusCode::kDataLoss, "bits left over after 1 indices"));
  EXPECT_THAT(Decode(ToBytes({0x00, 0x12}), 1, 4),
              HasStatus(absl::StatusCode::kDataLoss, "bits left over after 1 indices"));
}

TEST(IndexDecoder, ByteTooMany_IsDataLoss) {
  EXPECT_THAT(Decode(ToBytes({0x80, 0x02, 0x00}), 1, 4),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("left over")));
  EXPECT_THAT(Decode(ToBytes({0x00}), 3, 3), HasStatus(absl::StatusCode::kDataLoss, "1 index bytes, expected 0"));
  EXPECT_THAT(Decode(ToBytes({0x00, 0x02, 0x00}), 1, 4),
              HasStatus(absl::StatusCode::kDataLoss, "bitmap of 2 bytes for 4 elements, expected 1"));
}

TEST(IndexDecoder, BitmapWithAnotherCount_IsDataLoss) {
  EXPECT_THAT(Decode(ToBytes({0x00, 0x07}), 2, 8),
              HasStatus(absl::StatusCode::kDataLoss, "bitmap of 3 indices, expected 2"));
  EXPECT_THAT(Decode(ToBytes({0x00, 0x01}), 2, 8),
              HasStatus(absl::StatusCode::kDataLoss, "bitmap of 1 indices, expected 2"));
}

TEST(IndexDecoder, UnknownFormOrParameter_IsDataLoss) {
  EXPECT_THAT(Decode(ToBytes({0xc0, 0x01}), 1, 8), HasStatus(absl::StatusCode::kDataLoss, "unknown index form 0xc0"));
  EXPECT_THAT(Decode(ToBytes({0x01, 0x01}), 1, 8), HasStatus(absl::StatusCode::kDataLoss, "unknown index form 0x01"));
  EXPECT_THAT(Decode(ToBytes({0x40, 0x41}), 1, 8), HasStatus(absl::StatusCode::kDataLoss, "packed indices of 65 bits"));
  EXPECT_THAT(Decode({}, 1, 8), HasStatus(absl::StatusCode::kDataLoss, "index bytes are missing"));
}

TEST(BitIo, WidthsAcrossWordBorders_RoundTrip) {
  // 5 + 64 + 57 + 1 + 0 + 58 = 185 bits.
  Bytes bytes(24);
  BitWriter out(bytes);
  out.Put(21, 5);
  out.Put(0xfedcba9876543210u, 64);
  out.Put(LowBits(57), 57);
  out.Put(0, 1);
  out.Put(0, 0);
  out.Put(uint64_t{1} << 57, 58);
  out.Finish();
  BitReader in(bytes);
  EXPECT_EQ(in.Get(5), 21u);
  EXPECT_EQ(in.Get(64), 0xfedcba9876543210u);
  EXPECT_EQ(in.Get(57), LowBits(57));
  EXPECT_EQ(in.Get(1), 0u);
  EXPECT_EQ(in.Get(0), 0u);
  EXPECT_EQ(in.Get(58), uint64_t{1} << 57);
  EXPECT_TRUE(in.AtEnd());
  EXPECT_EQ(in.Get(8), 0u);
  EXPECT_FALSE(in.ok());
}

TEST(BitIo, UnaryRunsLongerThanAWord_RoundTrip) {
  const std::vector<uint64_t> runs = {0, 1, 56, 57, 62, 63, 64, 200, 0};
  uint64_t bits = 0;
  for (const uint64_t run : runs) bits += run + 1;
  Bytes bytes((bits + 7) / 8);
  BitWriter out(bytes);
  for (const uint64_t run : runs) out.PutUnary(run);
  out.Finish();
  BitReader in(bytes);
  for (const uint64_t run : runs) EXPECT_EQ(in.GetUnary(), run);
  EXPECT_TRUE(in.AtEnd());
}

}  // namespace
}  // namespace laconic::internal
