#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "laconic/base/byte_io.h"
#include "laconic/base/state.h"
#include "tests/base/matchers.h"

namespace laconic {

bool operator==(const StateArchive::Entry& a, const StateArchive::Entry& b) {
  return a.type == b.type && a.shape == b.shape && a.bytes == b.bytes;
}

namespace {

using testing::AllOf;
using testing::Eq;
using testing::HasSubstr;

std::vector<std::byte> File(const std::string& header, size_t data_bytes) {
  std::vector<std::byte> bytes(8 + header.size() + data_bytes);
  ByteWriter writer(bytes);
  writer.Put<uint64_t>(header.size());
  writer.PutBytes(std::as_bytes(std::span<const char>(header)));
  return bytes;
}

std::string Header(std::span<const std::byte> file) {
  ByteReader reader(file);
  const std::span<const std::byte> text = reader.Take(reader.Get<uint64_t>());
  return std::string(reinterpret_cast<const char*>(text.data()), text.size());
}

StateArchive SmallArchive() {
  StateArchive archive;
  StateWriter writer(&archive);
  writer.Bytes("a", std::vector<std::byte>{std::byte{9}});
  writer.Floats("b", std::vector<float>{1.5f, -2}, Shape({2, 1}));
  writer.U64("c", 3);
  writer.Text("spec", "sign");
  return archive;
}

auto Refused(const std::string& why) { return HasStatus(absl::StatusCode::kDataLoss, HasSubstr(why)); }

TEST(Safetensors, SmallArchive_HasExactlyTheseBytes) {
  const std::vector<std::byte> bytes = SerializeStateArchive(SmallArchive());
  const std::string header = Header(bytes);
  EXPECT_EQ(header.substr(0, header.find_last_of('}') + 1),
            R"({"__metadata__":{"spec":"sign"},)"
            R"("a":{"data_offsets":[16,17],"dtype":"U8","shape":[1]},)"
            R"("b":{"data_offsets":[8,16],"dtype":"F32","shape":[2,1]},)"
            R"("c":{"data_offsets":[0,8],"dtype":"U64","shape":[]}})");
  EXPECT_EQ(bytes.size(), 8 + header.size() + 17);
  EXPECT_EQ(header.size() % 8, 0u);
  const float b0 = 1.5f;
  EXPECT_EQ(std::memcmp(bytes.data() + 8 + header.size() + 8, &b0, sizeof(b0)), 0);
}

TEST(Safetensors, EmptyArchive_RoundTrips) {
  const auto archive = ParseStateArchive(SerializeStateArchive({}));
  ASSERT_THAT(archive, IsOk());
  EXPECT_TRUE(archive->tensors.empty());
  EXPECT_TRUE(archive->texts.empty());
}

// What other writers may leave: any order of keys, white space, a null-sized tensor, data not sorted by name.
TEST(Safetensors, FileOfAnotherWriter_Parses) {
  const auto archive = ParseStateArchive(File(R"({ "z": {"shape": [2], "dtype": "U8", "data_offsets": [4, 6]},
      "none": {"shape": [3, 0], "dtype": "F32", "data_offsets": [4, 4]},
      "a": {"shape": [], "dtype": "F32", "data_offsets": [0, 4]} }   )",
                                              6));
  ASSERT_THAT(archive, IsOk());
  EXPECT_EQ(archive->tensors.size(), 3u);
  EXPECT_EQ(archive->tensors.at("none").shape, Shape({3, 0}));
}

struct BadHeader {
  const char* name;
  const char* header;
  size_t data_bytes;
  const char* why;
};

class SafetensorsBadHeader : public testing::TestWithParam<BadHeader> {};

TEST_P(SafetensorsBadHeader, Parse_IsDataLossWithTheReason) {
  EXPECT_THAT(ParseStateArchive(File(GetParam().header, GetParam().data_bytes)), Refused(GetParam().why));
}

INSTANTIATE_TEST_SUITE_P(
    All, SafetensorsBadHeader,
    testing::Values(
        BadHeader{"Gap", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2, "gap at byte 0"},
        BadHeader{
            "GapBetween",
            R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
            3, "gap at byte 1"},
        BadHeader{
            "Overlap",
            R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
            3, "overlap at byte 2"},
        BadHeader{
            "SameBytesTwice",
            R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
            2, "overlap at byte 2"},
        BadHeader{"LeftOver", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 2,
                  "2 bytes of data, tensors cover 1"},
        BadHeader{"OutOfFile", R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", 2, "leave the 2 bytes"},
        BadHeader{"Reversed", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", 2, "[1, 0] leave"},
        BadHeader{"NegativeOffset", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}})", 0, "two unsigned"},
        BadHeader{"FractionalOffset", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0.0,1]}})", 1, "two unsigned"},
        BadHeader{"HugeOffset", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551616]}})", 1,
                  "two unsigned"},
        BadHeader{"ThreeOffsets", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}})", 1, "two unsigned"},
        BadHeader{"ShapeTooLarge", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4,
                  "F32 [2] takes other than 4"},
        BadHeader{"ShapeOverflows", R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
                  "overflows"},
        BadHeader{"BytesOverflow", R"({"a":{"dtype":"U64","shape":[2305843009213693952],"data_offsets":[0,0]}})", 0,
                  "takes other than 0"},
        BadHeader{"NineDimensions", R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})", 1,
                  "9 dimensions"},
        BadHeader{"UnknownType", R"({"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})", 2, "dtype F16"},
        BadHeader{"NumericType", R"({"a":{"dtype":32,"shape":[1],"data_offsets":[0,4]}})", 4, "dtype is not"},
        BadHeader{"MissingShape", R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1, "wants dtype, shape"},
        BadHeader{"ExtraField", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", 1,
                  "wants dtype, shape"},
        BadHeader{"EntryIsArray", R"({"a":[]})", 0, "wants dtype, shape"},
        BadHeader{
            "DuplicateTensor",
            R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
            1, "unique keys"},
        BadHeader{"DuplicateField", R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1,
                  "unique keys"},
        BadHeader{"MetadataNotTexts", R"({"__metadata__":{"step":1}})", 0, "__metadata__ step"},
        BadHeader{"MetadataNotObject", R"({"__metadata__":"x"})", 0, "__metadata__ is not"},
        BadHeader{"NotAnObject", "[1]", 0, "JSON object"}, BadHeader{"Empty", "", 0, "JSON object"},
        BadHeader{"TrailingText", "{}{}", 0, "JSON object"},
        BadHeader{"InvalidUtf8", "{\"\xff\":{}}", 0, "JSON object"}),
    [](const auto& info) { return info.param.name; });

TEST(Safetensors, HeaderNestedAMillionDeep_IsDataLossWithoutExhaustingTheStack) {
  EXPECT_THAT(ParseStateArchive(File(std::string(1'000'000, '['), 0)), Refused("JSON object"));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_THAT(ParseStateArchive(File(objects, 0)), Refused("JSON object"));
}

TEST(Safetensors, HeaderLengthPastTheFile_IsDataLossWithoutAllocatingIt) {
  std::vector<std::byte> bytes(16);
  for (const uint64_t length : {uint64_t{9}, uint64_t{1} << 40, ~uint64_t{0}}) {
    ByteWriter(bytes).Put(length);
    EXPECT_THAT(ParseStateArchive(bytes), Refused("header of " + std::to_string(length) + " bytes in a file of 16"));
  }
}

TEST(Safetensors, TruncatedAtEveryLength_IsDataLoss) {
  const std::vector<std::byte> bytes = SerializeStateArchive(SmallArchive());
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_THAT(ParseStateArchive(std::span(bytes).first(length)), Refused("safetensors file")) << length;
  }
}

// A flip may still be a file (another name, another value), but then it is one that writes itself back with the same
// content.
TEST(Safetensors, EveryFlippedBit_GivesAnArchiveOrDataLoss) {
  std::vector<std::byte> bytes = SerializeStateArchive(SmallArchive());
  size_t refused = 0;
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto archive = ParseStateArchive(bytes);
    if (archive.ok()) {
      const auto again = ParseStateArchive(SerializeStateArchive(*archive));
      ASSERT_THAT(again, IsOk());
      EXPECT_EQ(again->tensors, archive->tensors);
      EXPECT_EQ(again->texts, archive->texts);
    } else {
      EXPECT_EQ(archive.status().code(), absl::StatusCode::kDataLoss);
      ++refused;
    }
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
  EXPECT_GT(refused, 64u);  // at the least every flip of the header's length
}

TEST(Safetensors, FloatBitPatterns_SurviveExactly) {
  const std::vector<float> values = {-0.0f, 1e-45f, INFINITY, std::nanf("0x1234"), 0x1.fffffep127f};
  StateArchive archive;
  StateWriter(&archive).Floats("x", values);
  const auto again = ParseStateArchive(SerializeStateArchive(archive));
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(std::memcmp(StateReader(&*again).Floats("x")->data(), values.data(), sizeof(float) * values.size()), 0);
}

TEST(Safetensors, TextThatIsNotUtf8_IsWrittenWithReplacementCharacters) {
  StateArchive archive;
  StateWriter(&archive).Text("spec", "a\xff");
  const auto again = ParseStateArchive(SerializeStateArchive(archive));
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->texts.at("spec"), "a\uFFFD");
}

RC_GTEST_PROP(Safetensors, AnyArchive_RoundTrips,
              (const std::map<std::string, std::vector<uint64_t>>& numbers,
               const std::map<std::string, std::vector<uint8_t>>& bytes)) {
  const auto printable = [](const std::string& name) {  // names are UTF-8; the generator makes any bytes
    std::string out = "n";
    for (const char c : name) out += static_cast<char>(' ' + static_cast<unsigned char>(c) % 95);
    return out;
  };
  StateArchive archive;
  for (const auto& [name, values] : numbers) {
    const std::span<const std::byte> raw = std::as_bytes(std::span(values));
    archive.tensors["u64/" + printable(name)] = {StateType::kU64, Shape::Flat(values.size()), {raw.begin(), raw.end()}};
    archive.tensors["f32/" + printable(name)] = {StateType::kF32, Shape({values.size(), 2}), {raw.begin(), raw.end()}};
  }
  for (const auto& [name, values] : bytes) {
    const std::span<const std::byte> raw = std::as_bytes(std::span(values));
    archive.tensors["u8/" + printable(name)] = {StateType::kU8, Shape::Flat(values.size()), {raw.begin(), raw.end()}};
    archive.texts[printable(name)] = printable(std::string(values.begin(), values.end()));
  }
  const std::vector<std::byte> file = SerializeStateArchive(archive);
  const auto again = ParseStateArchive(file);
  RC_ASSERT(again.ok());
  RC_ASSERT(again->tensors == archive.tensors);
  RC_ASSERT(again->texts == archive.texts);
  RC_ASSERT(SerializeStateArchive(*again) == file);
}

RC_GTEST_PROP(Safetensors, AnyBytes_GiveAnArchiveOrDataLoss, (std::vector<uint8_t> bytes)) {
  // Half the cases get a plausible length and opening brace, to reach past the first check.
  if (bytes.size() > 9 && bytes[0] % 2 == 0) {
    std::fill_n(bytes.begin(), 8, uint8_t{0});
    bytes[0] = static_cast<uint8_t>(bytes.size() - 8);
    bytes[8] = '{';
  }
  const auto archive = ParseStateArchive(std::as_bytes(std::span(bytes)));
  RC_ASSERT(archive.ok() || archive.status().code() == absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace laconic
