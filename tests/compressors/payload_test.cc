#include "laconic/compressors/payload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "tests/base/matchers.h"

namespace laconic {
namespace {

using ::testing::HasSubstr;
using Bytes = std::vector<std::byte>;

constexpr PayloadHeader kHeader = {.codec = CodecId::kTopK, .tensor = 3, .part = 1, .step = 8, .elements = 4096};

Bytes Seal(const PayloadHeader& header, std::string_view body) {
  Bytes frame(kPayloadHeaderBytes + body.size());
  if (!body.empty()) std::memcpy(frame.data() + kPayloadHeaderBytes, body.data(), body.size());
  EXPECT_EQ(SealPayload(header, body.size(), frame), frame.size());
  return frame;
}

absl::StatusOr<std::span<const std::byte>> Open(const Bytes& bytes, const PayloadHeader& expected = kHeader,
                                                size_t* frame_bytes = nullptr) {
  return OpenPayload(bytes, expected, 100, "fc1.weight", 3, frame_bytes);
}

std::string Text(std::span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

TEST(Payload, SealThenOpen_GivesTheBody) {
  const Bytes frame = Seal(kHeader, "body");
  ASSERT_THAT(Open(frame), IsOk());
  EXPECT_EQ(Text(*Open(frame)), "body");
}

TEST(Payload, EmptyBody_IsAHeaderAlone) {
  const Bytes frame = Seal(kHeader, "");
  EXPECT_EQ(frame.size(), 48u);
  ASSERT_THAT(Open(frame), IsOk());
  EXPECT_TRUE(Open(frame)->empty());
}

TEST(Payload, FramesInARow_AreOpenedOneByOne) {
  Bytes both = Seal(kHeader, "first");
  const Bytes second = Seal(kHeader, "2nd");
  both.insert(both.end(), second.begin(), second.end());
  size_t frame_bytes = 0;
  EXPECT_EQ(Text(*Open(both, kHeader, &frame_bytes)), "first");
  EXPECT_EQ(frame_bytes, 53u);
  both.erase(both.begin(), both.begin() + 53);
  EXPECT_EQ(Text(*Open(both, kHeader, &frame_bytes)), "2nd");
  EXPECT_EQ(frame_bytes, both.size());
}

TEST(Payload, FieldThatIsNotTheExpected_IsDataLossThatNamesBoth) {
  const auto expect = [](PayloadHeader expected, const char* message) {
    EXPECT_THAT(
        Open(Seal(kHeader, "body"), expected),
        HasStatus(absl::StatusCode::kDataLoss, std::string("payload of tensor fc1.weight from rank 3: ") + message));
  };
  PayloadHeader expected = kHeader;
  expected.codec = CodecId::kSign;
  expect(expected, "codec 3, expected 5");
  expected = kHeader;
  expected.tensor = 4;
  expect(expected, "tensor 3, expected 4");
  expected = kHeader;
  expected.part = 0;
  expect(expected, "part 1, expected 0");
  expected = kHeader;
  expected.step = 7;
  expect(expected, "step 8, expected 7");
  expected = kHeader;
  expected.elements = 4097;
  expect(expected, "elements 4096, expected 4097");
}

TEST(Payload, OtherMagicVersionOrFlags_IsDataLoss) {
  Bytes frame = Seal(kHeader, "body");
  frame[0] = std::byte{'X'};
  EXPECT_THAT(Open(frame), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("magic 0x4e434158, expected 0x4e43414c")));
  frame = Seal(kHeader, "body");
  frame[4] = std::byte{2};
  EXPECT_THAT(Open(frame), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("version 2, expected 1")));
  frame = Seal(kHeader, "body");
  frame[7] = std::byte{1};
  EXPECT_THAT(Open(frame), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("flags 256, expected 0")));
}

TEST(Payload, BodyLongerThanTheCodecsBound_IsDataLossBeforeItIsRead) {
  EXPECT_THAT(Open(Seal(kHeader, std::string(101, 'x'))),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("body of 101 bytes, at most 100 expected")));
  Bytes frame = Seal(kHeader, "body");
  for (size_t i = 32; i < 40; ++i) frame[i] = std::byte{0xff};
  EXPECT_THAT(Open(frame), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("body of 18446744073709551615 bytes")));
}

TEST(Payload, BytesAfterALoneFrame_AreDataLoss) {
  Bytes frame = Seal(kHeader, "body");
  frame.push_back(std::byte{0});
  EXPECT_THAT(Open(frame), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("1 bytes follow the body")));
}

TEST(Payload, EveryTruncation_IsDataLoss) {
  const Bytes frame = Seal(kHeader, "body");
  for (size_t size = 0; size < frame.size(); ++size) {
    size_t frame_bytes = 0;
    EXPECT_THAT(Open(Bytes(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size)), kHeader, &frame_bytes),
                HasStatus(absl::StatusCode::kDataLoss, HasSubstr("from rank 3")))
        << size;
  }
}

TEST(Payload, EveryBitFlip_IsDataLoss) {
  const Bytes frame = Seal(kHeader, "body");
  for (size_t bit = 0; bit < 8 * frame.size(); ++bit) {
    Bytes flipped = frame;
    flipped[bit / 8] ^= std::byte{1} << (bit % 8);
    size_t frame_bytes = 0;
    EXPECT_EQ(Open(flipped, kHeader, &frame_bytes).status().code(), absl::StatusCode::kDataLoss) << bit;
  }
}

}  // namespace
}  // namespace laconic
