#include "examples/nn/file_formats.h"

#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include "tests/base/matchers.h"
#include "tests/examples/temporary_folder.h"

namespace laconic::nn {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using Idx = TemporaryFolder;
constexpr auto kDataLoss = absl::StatusCode::kDataLoss;

TEST_F(Idx, PlainAndGzipFiles_ReadAlike) {
  const std::string bytes = IdxBytes({2, 3}, "abcdef");
  for (const std::string& path : {WriteFile("plain", bytes), WriteGzip("packed.gz", bytes)}) {
    const auto idx = ReadIdxFile(path);
    ASSERT_THAT(idx, IsOk());
    EXPECT_THAT(idx->dimensions, ElementsAre(2, 3));
    EXPECT_THAT(idx->bytes, ElementsAre('a', 'b', 'c', 'd', 'e', 'f'));
  }
}

TEST_F(Idx, MissingFile_IsNotFoundNamingIt) {
  EXPECT_THAT(ReadIdxFile(Path("none")), HasStatus(absl::StatusCode::kNotFound, HasSubstr(Path("none"))));
}

TEST_F(Idx, CutAnywhere_IsDataLoss) {
  const std::string bytes = IdxBytes({2, 3}, "abcdef");
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_THAT(ReadIdxFile(WriteFile("cut", bytes.substr(0, length))), HasStatus(kDataLoss, testing::_)) << length;
  }
  EXPECT_THAT(ReadIdxFile(WriteFile("cut", bytes.substr(0, 15))),
              HasStatus(kDataLoss, HasSubstr("after 3 of the 6 bytes")));
}

TEST_F(Idx, GzipStreamCutAnywhere_IsDataLoss) {
  const std::string packed_path = WriteGzip("whole.gz", IdxBytes({2, 3}, "abcdef"));
  std::ifstream in(packed_path, std::ios::binary);
  const std::string packed{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  // The last 8 bytes are checksum and length of what has been read whole by then; zlib looks at them at the end of the
  // stream.
  for (size_t length = 1; length < packed.size(); ++length) {
    EXPECT_THAT(ReadIdxFile(WriteFile("cut.gz", packed.substr(0, length))), HasStatus(kDataLoss, testing::_)) << length;
  }
}

TEST_F(Idx, BytesAfterTheData_AreDataLoss) {
  EXPECT_THAT(ReadIdxFile(WriteFile("long", IdxBytes({2}, "abc"))), HasStatus(kDataLoss, HasSubstr("bytes follow")));
}

TEST_F(Idx, OtherMagic_IsDataLoss) {
  for (const std::string& magic : {std::string("\0\0\x0d\x01", 4), std::string("\1\0\x08\x01", 4),
                                   std::string("\0\0\x08\0", 4), std::string("\0\0\x08\x05", 4), std::string("PNG!")}) {
    EXPECT_THAT(ReadIdxFile(WriteFile("magic", magic + std::string(40, '\0'))),
                HasStatus(kDataLoss, HasSubstr("not an IDX file")));
  }
}

TEST_F(Idx, HeaderThatClaimsTooMuch_FailsWithoutTheMemory) {
  EXPECT_THAT(ReadIdxFile(WriteFile("bomb", IdxBytes({0xffffffff, 0xffffffff, 0xffffffff}, "a"))),
              HasStatus(kDataLoss, HasSubstr("more than 2^40")));
  EXPECT_THAT(ReadIdxFile(WriteFile("bomb", IdxBytes({0xffffffff, 0xff}, "a"))),
              HasStatus(kDataLoss, HasSubstr("ends after 1 of")));
}

TEST(Libsvm, Lines_BecomeLabelsAndSparseRows) {
  const auto file = ParseLibsvm("+1 1:0.5 3:-2e1  # first\n\n-1\t2:1\r\n7\n", "text");
  ASSERT_THAT(file, IsOk());
  EXPECT_THAT(file->labels, ElementsAre(1, -1, 7));
  EXPECT_THAT(file->row_begin, ElementsAre(0, 2, 3, 3));
  EXPECT_THAT(file->indices, ElementsAre(0, 2, 1));
  EXPECT_THAT(file->values, ElementsAre(0.5f, -20, 1));
}

TEST(Libsvm, MalformedLines_AreDataLossNamingTheLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"1 1:1\nx 1:1\n", "text:2: not an integer label: \"x\""},
      {"1.5 1:1\n", "text:1: not an integer label"},
      {"1 1\n", "text:1: not index:value"},
      {"1 1:\n", "text:1: not index:value"},
      {"1 :1\n", "text:1: not index:value"},
      {"1 -1:1\n", "text:1: not index:value"},
      {"1 1:nan\n", "text:1: not index:value"},
      {"1 1:1e99\n", "text:1: not index:value"},
      {"1 0:1\n", "text:1: indices must start at 1 and ascend"},
      {"1 2:1 2:1\n", "text:1: indices must start at 1 and ascend"},
      {"1 4294967296:1\n", "text:1: not index:value"},
      {"1 4000000000:1\n", "text:1: index above 16777216"},
  };
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(ParseLibsvm(text, "text"), HasStatus(kDataLoss, HasSubstr(message))) << text;
  }
}

// Any text gives rows that hang together, or DataLoss.
RC_GTEST_PROP(Libsvm, AnyText_GivesConsistentRowsOrDataLoss, ()) {
  const auto text = *rc::gen::container<std::string>(rc::gen::elementOf(std::string("0123:+-.e #\n\tx")));
  const auto file = ParseLibsvm(text, "text");
  if (!file.ok()) {
    RC_ASSERT(absl::IsDataLoss(file.status()));
    return;
  }
  RC_ASSERT(file->row_begin.size() == file->labels.size() + 1);
  RC_ASSERT(file->row_begin.back() == file->indices.size());
  RC_ASSERT(file->indices.size() == file->values.size());
  for (size_t row = 0; row < file->labels.size(); ++row) {
    for (size_t i = file->row_begin[row] + 1; i < file->row_begin[row + 1]; ++i) {
      RC_ASSERT(file->indices[i] > file->indices[i - 1]);
    }
  }
}

}  // namespace
}  // namespace laconic::nn
