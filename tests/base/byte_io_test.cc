#include "laconic/base/byte_io.h"

#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/base/matchers.h"

namespace laconic {
namespace {

using testing::ElementsAre;
using testing::Eq;
using testing::IsEmpty;

enum class Colour : uint8_t { kRed = 7 };

// A message with one field of each kind; 1 + 2 + 4 + 8 + 4 + 1 + 3 = 23 bytes.
constexpr size_t kMessageBytes = 23;
void WriteMessage(ByteWriter& writer) {
  writer.Put<uint8_t>(1);
  writer.Put<uint16_t>(0x0203);
  writer.Put<uint32_t>(0x04050607);
  writer.Put<uint64_t>(0x08090a0b0c0d0e0f);
  writer.Put(-0.0f);
  writer.Put(Colour::kRed);
  writer.PutArray<uint8_t>(std::vector<uint8_t>{1, 2, 3});
}

TEST(ByteWriter, Put_IsLittleEndian) {
  std::vector<std::byte> bytes(4);
  ByteWriter writer(bytes);
  writer.Put<uint32_t>(0x04030201);
  EXPECT_THAT(bytes, ElementsAre(std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}));
  EXPECT_EQ(writer.written(), 4u);
  EXPECT_THAT(writer.Finish("word"), IsOk());
}

TEST(ByteWriter, TooSmallByAnyAmount_IsResourceExhaustedAndNeverWritesOutside) {
  for (size_t capacity = 0; capacity < kMessageBytes; ++capacity) {
    std::vector<std::byte> bytes(kMessageBytes, std::byte{0xee});
    ByteWriter writer{std::span(bytes).first(capacity)};
    WriteMessage(writer);
    EXPECT_THAT(writer.Finish("message"),
                HasStatus(absl::StatusCode::kResourceExhausted,
                          Eq("message: needs more than " + std::to_string(capacity) + " bytes")));
    EXPECT_LE(writer.written(), capacity);
    EXPECT_THAT(std::span(bytes).subspan(capacity), testing::Each(std::byte{0xee}));
  }
}

TEST(ByteWriter, AfterAnOverflow_SmallerWritesAreDroppedToo) {
  std::vector<std::byte> bytes(2);
  ByteWriter writer(bytes);
  writer.Put<uint32_t>(1);
  writer.Put<uint8_t>(1);
  EXPECT_EQ(writer.written(), 0u);
  EXPECT_THAT(writer.Claim(1), IsEmpty());
  EXPECT_FALSE(writer.Finish("x").ok());
}

TEST(ByteWriter, Claim_OfNearlyTwoToThe64_DoesNotWrapAround) {
  std::vector<std::byte> bytes(8);
  ByteWriter writer(bytes);
  writer.Put<uint32_t>(1);
  EXPECT_THAT(writer.Claim(SIZE_MAX - 2), IsEmpty());
  EXPECT_FALSE(writer.Finish("x").ok());
}

TEST(ByteReader, WrittenMessage_ReadsBack) {
  std::vector<std::byte> bytes(kMessageBytes);
  ByteWriter writer(bytes);
  WriteMessage(writer);
  ASSERT_THAT(writer.Finish("message"), IsOk());

  ByteReader reader(bytes);
  EXPECT_EQ(reader.Get<uint8_t>(), 1);
  EXPECT_EQ(reader.Get<uint16_t>(), 0x0203);
  EXPECT_EQ(reader.Get<uint32_t>(), 0x04050607u);
  EXPECT_EQ(reader.Get<uint64_t>(), 0x08090a0b0c0d0e0fu);
  EXPECT_TRUE(std::signbit(reader.Get<float>()));
  EXPECT_EQ(reader.Get<Colour>(), Colour::kRed);
  EXPECT_EQ(reader.position(), 20u);
  EXPECT_THAT(reader.Take(3), ElementsAre(std::byte{1}, std::byte{2}, std::byte{3}));
  EXPECT_THAT(reader.Finish("message"), IsOk());
}

TEST(ByteReader, TruncatedAtEveryLength_IsDataLossAndYieldsZerosFromThere) {
  const std::vector<std::byte> bytes(12, std::byte{0xff});
  for (size_t length = 0; length < bytes.size(); ++length) {
    ByteReader reader{std::span(bytes).first(length)};
    const std::vector<uint32_t> words = {reader.Get<uint32_t>(), reader.Get<uint32_t>(), reader.Get<uint32_t>()};
    for (size_t i = 0; i < words.size(); ++i) EXPECT_EQ(words[i], i < length / 4 ? 0xffffffffu : 0u);
    EXPECT_FALSE(reader.ok());
    EXPECT_EQ(reader.Finish("words").code(), absl::StatusCode::kDataLoss);
  }
}

TEST(ByteReader, AfterAnOverrun_ReadsThatWouldFitYieldZeros) {
  const std::vector<std::byte> bytes(3, std::byte{0xff});
  ByteReader reader(bytes);
  EXPECT_EQ(reader.Get<uint32_t>(), 0u);
  EXPECT_EQ(reader.Get<uint8_t>(), 0);
  EXPECT_THAT(reader.Finish("x"),
              HasStatus(absl::StatusCode::kDataLoss, Eq("x: ends too early: a read at byte 0 of 3 goes past the end")));
}

TEST(ByteReader, LeftOverBytes_AreDataLoss) {
  const std::vector<std::byte> bytes(5);
  ByteReader reader(bytes);
  reader.Get<uint32_t>();
  EXPECT_TRUE(reader.ok());
  EXPECT_THAT(reader.Finish("x"), HasStatus(absl::StatusCode::kDataLoss, Eq("x: 1 bytes left over at byte 4 of 5")));
}

TEST(ByteReader, Take_OfNearlyTwoToThe64_DoesNotWrapAround) {
  const std::vector<std::byte> bytes(8);
  ByteReader reader(bytes);
  reader.Get<uint32_t>();
  EXPECT_THAT(reader.Take(UINT64_MAX - 2), IsEmpty());
  EXPECT_FALSE(reader.ok());
}

TEST(ByteReader, Take_OfNothingAtTheEnd_IsNoError) {
  ByteReader reader({});
  EXPECT_THAT(reader.Take(0), IsEmpty());
  EXPECT_THAT(reader.Finish("nothing"), IsOk());
}

RC_GTEST_PROP(ByteIo, AnyArray_RoundTrips, (const std::vector<uint64_t>& words, uint8_t tail)) {
  std::vector<std::byte> bytes(8 * words.size() + 1);
  ByteWriter writer(bytes);
  writer.PutArray<uint64_t>(words);
  writer.Put(tail);
  RC_ASSERT(writer.Finish("words").ok());
  RC_ASSERT(writer.rest().empty());
  ByteReader reader(bytes);
  for (const uint64_t word : words) RC_ASSERT(reader.Get<uint64_t>() == word);
  RC_ASSERT(reader.Get<uint8_t>() == tail);
  RC_ASSERT(reader.Finish("words").ok());
}

}  // namespace
}  // namespace laconic
