#include "laconic/optim/checkpoint.h"

#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "laconic/base/status.h"
#include "laconic/comm/transport/in_process.h"
#include "tests/base/matchers.h"

namespace laconic {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

namespace fs = std::filesystem;

class Checkpoint : public testing::Test {
 protected:
  Checkpoint() {
    folder_ =
        testing::TempDir() + "laconic_checkpoint_" + testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
  }
  ~Checkpoint() override { fs::remove_all(folder_); }

  // Rank r of `ranks` saves the number 10 * step + r.
  absl::Status Save(int ranks, uint64_t step) const {
    return RunInProcess(ranks, [&](std::unique_ptr<Transport> transport) {
      Communicator comm(std::move(transport));
      return SaveCheckpoint(comm, folder_, step, "run A",
                            [&](StateWriter& out) { out.U64("number", 10 * step + comm.rank()); });
    });
  }
  uint64_t ReadNumber(const CheckpointIndex& index, size_t rank) const {
    const auto archive = ReadCheckpointFile(folder_, index, rank);
    EXPECT_THAT(archive.status(), IsOk());
    return archive.ok() ? *StateReader(&*archive).U64("number") : 0;
  }
  void WriteIndex(std::string_view text) const {
    fs::create_directories(folder_);
    ASSERT_THAT(WriteFileAtomically(folder_ + "/index.json", std::as_bytes(std::span<const char>(text))), IsOk());
  }
  size_t FilesInFolder() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  std::string folder_;
};

TEST_F(Checkpoint, SavedByThreeRanks_ReadsBackStepRunAndEachRanksState) {
  ASSERT_THAT(Save(3, 50), IsOk());
  const auto index = ReadCheckpointIndex(folder_);
  ASSERT_THAT(index.status(), IsOk());
  EXPECT_EQ(index->step, 50u);
  EXPECT_EQ(index->run, "run A");
  ASSERT_THAT(index->files, SizeIs(3));
  EXPECT_THAT(index->files[1].name, StartsWith("step-50.rank-1-of-3."));
  for (size_t rank = 0; rank < 3; ++rank) EXPECT_EQ(ReadNumber(*index, rank), 500 + rank);
  EXPECT_THAT(ReadCheckpointFile(folder_, *index, 3), HasStatus(absl::StatusCode::kOutOfRange, testing::_));
}

TEST_F(Checkpoint, SecondSave_ReplacesTheFirstAndRemovesItsFiles) {
  ASSERT_THAT(Save(3, 50), IsOk());
  ASSERT_THAT(Save(2, 60), IsOk());
  const auto index = ReadCheckpointIndex(folder_);
  ASSERT_THAT(index.status(), IsOk());
  EXPECT_EQ(index->step, 60u);
  EXPECT_EQ(ReadNumber(*index, 1), 601u);
  EXPECT_EQ(FilesInFolder(), 3u);  // two ranks and the index
}

TEST_F(Checkpoint, FilesOfOthersInTheFolder_Stay) {
  fs::create_directories(folder_);
  WriteIndex("{}");
  ASSERT_THAT(WriteFileAtomically(folder_ + "/notes.txt", {}), IsOk());
  ASSERT_THAT(Save(1, 1), IsOk());
  EXPECT_TRUE(fs::exists(folder_ + "/notes.txt"));
}

TEST_F(Checkpoint, OneRankThatCannotWrite_FailsAllAndKeepsTheLastCheckpoint) {
  ASSERT_THAT(Save(3, 50), IsOk());
  std::vector<absl::Status> statuses(3);
  ASSERT_THAT(RunInProcess(3,
                           [&](std::unique_ptr<Transport> transport) {
                             Communicator comm(std::move(transport));
                             const std::string folder = comm.rank() == 2 ? "/dev/null/nowhere" : folder_;
                             statuses[comm.rank()] = SaveCheckpoint(comm, folder, 60, "run A", [](StateWriter&) {});
                             return absl::OkStatus();
                           }),
              IsOk());
  for (const absl::Status& status : statuses) {
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("checkpoint of step 60"), HasSubstr("rank 2"), HasSubstr("/dev/null/nowhere")));
  }
  const auto index = ReadCheckpointIndex(folder_);
  ASSERT_THAT(index.status(), IsOk());
  EXPECT_EQ(index->step, 50u);
  for (size_t rank = 0; rank < 3; ++rank) EXPECT_EQ(ReadNumber(*index, rank), 500 + rank);
}

// The state in which a crash between the ranks' files and the index leaves the folder.
TEST_F(Checkpoint, NewerFilesWithoutAnIndex_AreIgnored) {
  ASSERT_THAT(Save(1, 50), IsOk());
  const auto before = ReadCheckpointIndex(folder_);
  ASSERT_THAT(before.status(), IsOk());
  const std::string newer = folder_ + "/step-60.rank-0-of-1.0123456789abcdef.safetensors";
  ASSERT_THAT(WriteFileAtomically(newer, {}), IsOk());
  EXPECT_EQ(ReadCheckpointIndex(folder_)->step, 50u);
  EXPECT_EQ(ReadNumber(*before, 0), 500u);
  ASSERT_THAT(Save(1, 70), IsOk());
  EXPECT_FALSE(fs::exists(newer));
}

TEST_F(Checkpoint, EveryFlippedBitOfAFile_IsDataLoss) {
  ASSERT_THAT(Save(1, 50), IsOk());
  const auto index = ReadCheckpointIndex(folder_);
  ASSERT_THAT(index.status(), IsOk());
  const std::string path = folder_ + "/" + index->files[0].name;
  const std::vector<std::byte> bytes = *ReadFile(path);
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::vector<std::byte> flipped = bytes;
    flipped[i] ^= std::byte{1} << (i % 8);
    ASSERT_THAT(WriteFileAtomically(path, flipped), IsOk());
    ASSERT_THAT(ReadCheckpointFile(folder_, *index, 0), HasStatus(absl::StatusCode::kDataLoss, testing::_)) << "byte " << i;
  }
  ASSERT_THAT(WriteFileAtomically(path, std::span(bytes).first(bytes.size() - 1)), IsOk());
  EXPECT_THAT(ReadCheckpointFile(folder_, *index, 0),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("the index says " + std::to_string(bytes.size()))));
}

TEST_F(Checkpoint, NoIndex_IsNotFound) {
  EXPECT_THAT(ReadCheckpointIndex(folder_), HasStatus(absl::StatusCode::kNotFound, HasSubstr(folder_)));
}

TEST_F(Checkpoint, IndexWithABadField_IsDataLossNamingIt) {
  const auto with = [](std::string_view file, std::string_view rest) {
    return std::string(R"({"format": "laconic-checkpoint", "version": 1, "run": "r", )") + std::string(rest) +
           R"("files": [)" + std::string(file) + "]}";
  };
  constexpr std::string_view kFile = R"({"name": "a.safetensors", "bytes": 8, "hash": "00000000000000ff"})";
  WriteIndex(with(kFile, R"("step": 3, )"));
  const auto index = ReadCheckpointIndex(folder_);
  ASSERT_THAT(index.status(), IsOk());
  EXPECT_EQ(index->step, 3u);
  EXPECT_EQ(index->files[0].hash, 255u);

  const auto expect_bad = [&](const std::string& text, std::string_view field) {
    WriteIndex(text);
    EXPECT_THAT(ReadCheckpointIndex(folder_), HasStatus(absl::StatusCode::kDataLoss, HasSubstr(std::string(field))))
        << text;
  };
  expect_bad(with(kFile, ""), "index.step is missing");
  expect_bad(with(kFile, R"("step": -1, )"), "step is not an unsigned integer");
  expect_bad(with(kFile, R"("step": 1.5, )"), "step is not an unsigned integer");
  expect_bad(with(kFile, R"("step": 1, "more": 2, )"), "index.more is unknown");
  expect_bad(with("", R"("step": 1, )"), "files is not a list of 1 to");
  expect_bad(with(R"({"name": "a", "bytes": 8})", R"("step": 1, )"), "files[0].hash is missing");
  expect_bad(with(R"({"name": "a", "bytes": 8, "hash": "ff"})", R"("step": 1, )"), "files[0].hash is not 16");
  expect_bad(with(R"({"name": "a", "bytes": 8, "hash": "00000000000000fg"})", R"("step": 1, )"),
             "files[0].hash is not 16");
  for (const char* name : {"", "../a", "/etc/passwd", "b/a", "..", ".hidden", R"(b\\a)", R"(a\u0000b)"}) {
    expect_bad(
        with(R"({"name": ")" + std::string(name) + R"(", "bytes": 8, "hash": "00000000000000ff"})", R"("step": 1, )"),
        "files[0].name is not a plain file name");
  }
  expect_bad(R"({"format": "other", "version": 1, "run": "", "step": 1, "files": []})", "format is not");
  expect_bad(R"({"format": "laconic-checkpoint", "version": 2, "run": "", "step": 1, "files": []})", "version is 2");
  expect_bad("[1, 2", "not a JSON text");
  expect_bad("[1, 2]", "index is not an object");
  expect_bad(std::string(100000, '['), "not a JSON text");
}

// Whatever a damaged index holds, reading it gives a value or DataLoss.
RC_GTEST_FIXTURE_PROP(Checkpoint, DamagedIndex_GivesAValueOrDataLoss, ()) {
  std::string text =
      R"({"files": [{"bytes": 8, "hash": "00000000000000ff", "name": "a"}], "format": "laconic-checkpoint", )"
      R"("run": "r", "step": 50, "version": 1})";
  const auto edits = *rc::gen::container<std::vector<std::pair<size_t, char>>>(
      rc::gen::pair(rc::gen::inRange<size_t>(0, text.size()), rc::gen::arbitrary<char>()));
  for (const auto& [position, character] : edits) text[position] = character;
  WriteIndex(text);
  const absl::Status status = ReadCheckpointIndex(folder_).status();
  RC_ASSERT(status.ok() || absl::IsDataLoss(status));
}

TEST(AgreeOnStatus, LowestFailedRank_IsWhatAllGet) {
  std::vector<absl::Status> agreed(4);
  ASSERT_THAT(RunInProcess(4,
                           [&](std::unique_ptr<Transport> transport) {
                             Communicator comm(std::move(transport));
                             absl::Status own;
                             if (comm.rank() == 1) own = absl::NotFoundError("no file");
                             if (comm.rank() == 3) own = absl::InternalError(std::string(10000, 'x'));
                             agreed[comm.rank()] = AgreeOnStatus(comm, own);
                             return AgreeOnStatus(comm, absl::OkStatus());
                           }),
              IsOk());
  for (const absl::Status& status : agreed) EXPECT_EQ(status, absl::NotFoundError("rank 1: no file"));
}

}  // namespace
}  // namespace laconic
