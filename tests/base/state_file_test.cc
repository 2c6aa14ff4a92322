#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "laconic/base/state.h"
#include "tests/base/matchers.h"

namespace laconic {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

class StateFile : public testing::Test {
 protected:
  StateFile() {
    std::string pattern = testing::TempDir() + "/laconic_state_file.XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~StateFile() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const { return folder_ / name; }
  std::string Content(const std::string& name) const {
    const auto bytes = ReadFile(Path(name));
    return bytes.ok() ? std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size())
                      : bytes.status().ToString();
  }
  size_t FilesInFolder() const {
    return std::distance(std::filesystem::directory_iterator(folder_), std::filesystem::directory_iterator());
  }

  std::filesystem::path folder_;
};

TEST_F(StateFile, Archive_WritesAndReadsBack) {
  StateArchive archive;
  StateWriter(&archive).U64("step", 50);
  ASSERT_THAT(WriteStateFile(Path("a"), archive), IsOk());
  const auto again = ReadStateFile(Path("a"));
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(*StateReader(&*again).U64("step"), 50u);
}

TEST_F(StateFile, Write_ReplacesTheOldFileAndLeavesNothingElse) {
  ASSERT_THAT(WriteFileAtomically(Path("a"), Bytes("old, and longer")), IsOk());
  ASSERT_THAT(WriteFileAtomically(Path("a"), Bytes("new")), IsOk());
  EXPECT_EQ(Content("a"), "new");
  EXPECT_EQ(FilesInFolder(), 1u);
}

TEST_F(StateFile, Write_IsReadableByTheOwnerOnly) {
  ASSERT_THAT(WriteFileAtomically(Path("a"), Bytes("x")), IsOk());
  struct stat facts {};
  ASSERT_EQ(stat(Path("a").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600u);
}

// A file size limit makes write() fail half way, as a full disk does. SIGXFSZ, which comes with it, is ignored
// meanwhile.
TEST_F(StateFile, Write_ThatRunsOutOfSpace_KeepsTheOldFileAndRemovesTheTemporary) {
  ASSERT_THAT(WriteFileAtomically(Path("a"), Bytes("old")), IsOk());
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {4096, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = WriteFileAtomically(Path("a"), std::vector<std::byte>(10'000));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, old_handler);

  EXPECT_THAT(status, HasStatus(absl::StatusCode::kResourceExhausted, HasSubstr(Path("a.tmp"))));
  EXPECT_EQ(Content("a"), "old");
  EXPECT_EQ(FilesInFolder(), 1u);
}

TEST_F(StateFile, Write_WhereTheTargetCannotBeReplaced_RemovesTheTemporary) {
  std::filesystem::create_directories(Path("a/inside"));
  EXPECT_THAT(WriteFileAtomically(Path("a"), Bytes("x")),
              HasStatus(absl::StatusCode::kInternal, AllOf(HasSubstr("rename to"), HasSubstr(Path("a")))));
  EXPECT_EQ(FilesInFolder(), 1u);
}

TEST_F(StateFile, Write_IntoAMissingFolder_IsNotFound) {
  EXPECT_THAT(WriteFileAtomically(Path("no/a"), Bytes("x")),
              HasStatus(absl::StatusCode::kNotFound, HasSubstr("No such file")));
}

// What a killed writer left, here a link that points elsewhere, is removed and not written through.
TEST_F(StateFile, Write_OverALeftTemporaryThatIsALink_DoesNotFollowIt) {
  ASSERT_THAT(WriteFileAtomically(Path("victim"), Bytes("safe")), IsOk());
  std::filesystem::create_symlink(Path("victim"), Path("a.tmp"));
  ASSERT_THAT(WriteFileAtomically(Path("a"), Bytes("new")), IsOk());
  EXPECT_EQ(Content("victim"), "safe");
  EXPECT_EQ(Content("a"), "new");
}

TEST_F(StateFile, Read_OfAMissingFile_IsNotFoundByPath) {
  EXPECT_THAT(ReadFile(Path("none")), HasStatus(absl::StatusCode::kNotFound, HasSubstr(Path("none"))));
  EXPECT_THAT(ReadStateFile(Path("none")), HasStatus(absl::StatusCode::kNotFound, HasSubstr(Path("none"))));
}

TEST_F(StateFile, Read_OfAFolder_IsAnError) {
  EXPECT_THAT(ReadFile(folder_), HasStatus(absl::StatusCode::kInternal, HasSubstr("directory")));
}

TEST_F(StateFile, Read_OfAnEmptyFile_IsNoBytes) {
  std::ofstream(Path("empty"));
  EXPECT_TRUE(ReadFile(Path("empty"))->empty());
  EXPECT_THAT(ReadStateFile(Path("empty")), HasStatus(absl::StatusCode::kDataLoss, HasSubstr(Path("empty"))));
}

TEST_F(StateFile, Read_OfAFileWhoseLengthIsNotKnown_GivesAllOfIt) {
  // /proc files report a length of zero.
  const auto bytes = ReadFile("/proc/self/maps");
  ASSERT_THAT(bytes, IsOk());
  EXPECT_GT(bytes->size(), 1000u);
}

}  // namespace
}  // namespace laconic
