#include "laconic/comm/server/sqlite_journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/base/matchers.h"
#include "tests/comm/server/journal_checks.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Folder {
 public:
  Folder() {
    std::string name = testing::TempDir() + "laconic_journal_XXXXXX";
    path_ = mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string File(const std::string& name) const { return path_ + "/" + name; }
  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::string path_;
};

class SqlitePlace : public JournalPlace {
 public:
  explicit SqlitePlace(bool survive_power_loss) : survive_power_loss_(survive_power_loss) {}
  absl::StatusOr<std::unique_ptr<RoundJournal>> Open() override {
    return MakeSqliteJournal({.path = folder_.File("run.db"), .survive_power_loss = survive_power_loss_});
  }

 private:
  const bool survive_power_loss_;
  Folder folder_;
};

INSTANTIATE_TEST_SUITE_P(Sqlite, JournalTest,
                         testing::Values(JournalKind{"sqlite", [] { return std::make_unique<SqlitePlace>(false); }},
                                         JournalKind{"sqlite_full",
                                                     [] { return std::make_unique<SqlitePlace>(true); }}),
                         JournalKindName);

// Rows of a query as an administrator's program would see them: values joined by '|'.
std::vector<std::string> Query(const std::string& path, std::string_view sql) {
  sqlite3* connection = nullptr;
  EXPECT_EQ(sqlite3_open_v2(path.c_str(), &connection, SQLITE_OPEN_READWRITE, nullptr), SQLITE_OK);
  std::vector<std::string> rows;
  char* error = nullptr;
  const auto take = [](void* out, int columns, char** values, char**) {
    std::string row;
    for (int i = 0; i < columns; ++i)
      row += (i == 0 ? "" : "|") + std::string(values[i] == nullptr ? "NULL" : values[i]);
    static_cast<std::vector<std::string>*>(out)->push_back(row);
    return 0;
  };
  EXPECT_EQ(sqlite3_exec(connection, std::string(sql).c_str(), take, &rows, &error), SQLITE_OK) << error;
  sqlite3_free(error);
  sqlite3_close(connection);
  return rows;
}

const RunInfo kRun = {.id = 0xabc, .description = "model: mlp\nseed: 1", .clients = 4, .rounds = 10};

class SqliteJournalTest : public testing::Test {
 protected:
  void Open(SqliteJournalOptions options = {}) {
    journal_.reset();
    options.path = path_;
    auto journal = MakeSqliteJournal(options);
    ASSERT_THAT(journal, IsOk());
    journal_ = *std::move(journal);
    auto run = journal_->Open(kRun, At(0));
    ASSERT_THAT(run, IsOk());
    run_ = *std::move(run);
  }
  // Round `round` of clients 0 and 1, saved.
  void CloseRound(uint64_t round) {
    if (round == 0) {
      ASSERT_THAT(journal_->RegisterClient(0, 1, At(0)), IsOk());
      ASSERT_THAT(journal_->RegisterClient(1, 1, At(0)), IsOk());
    }
    const AcceptedUpdate updates[] = {MakeUpdate(round, 0, round, 4, 1), MakeUpdate(round, 1, round, 4, 2)};
    ASSERT_THAT(journal_->Accept(updates), IsOk());
    const StateArchive state = MakeState(round);
    Counters counters;
    counters[Counter::kAccepted] = 2 * (round + 1);
    ASSERT_THAT(
        journal_->CloseRound({.round = round, .opened = At(0), .closed = At(1), .participants = 2, .counted = 2},
                             counters, &state),
        IsOk());
  }

  Folder folder_;
  std::string path_ = folder_.File("run.db");
  std::unique_ptr<RoundJournal> journal_;
  RecoveredRun run_;
};

TEST_F(SqliteJournalTest, Tables_ReadAsDocumentedWhileTheJournalIsOpen) {
  Open();
  CloseRound(0);
  EXPECT_THAT(Query(path_, "SELECT run, description, clients, rounds FROM runs"),
              ElementsAre("0000000000000abc|model: mlp\nseed: 1|4|10"));
  EXPECT_THAT(Query(path_, "SELECT client, incarnation, registered_us FROM clients"),
              ElementsAre("0|1|1700000000000000", "1|1|1700000000000000"));
  EXPECT_THAT(
      Query(path_, "SELECT round, client, counted_in, incarnation, length(digest), bytes, hex(payload) FROM inbox"),
      ElementsAre("0|0|0|1|16|4|01010101", "0|1|0|1|16|4|02020202"));
  EXPECT_THAT(
      Query(path_, "SELECT round, participants, counted, extensions, closed_us - opened_us, state_file FROM rounds"),
      ElementsAre("0|2|2|0|1000000|run.db-0000000000000abc-1.safetensors"));
  EXPECT_THAT(Query(path_, "SELECT value FROM metrics WHERE name = 'accepted'"), ElementsAre("2"));
  EXPECT_THAT(Query(path_, "PRAGMA user_version"), ElementsAre("1"));
}

TEST_F(SqliteJournalTest, Files_AreOursAloneAndTheLastTwoStatesStay) {
  Open();
  for (uint64_t round = 0; round < 4; ++round) CloseRound(round);
  EXPECT_THAT(folder_.Files(),
              ElementsAre("run.db", "run.db-0000000000000abc-3.safetensors", "run.db-0000000000000abc-4.safetensors",
                          "run.db-lock", "run.db-shm", "run.db-wal"));
  for (const std::string& name : folder_.Files()) {
    struct stat facts {};
    ASSERT_EQ(stat(folder_.File(name).c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 0777, 0600u) << name;
  }
}

TEST_F(SqliteJournalTest, Payloads_GoOnceTwoStatesCoverThem) {
  Open();
  for (uint64_t round = 0; round < 3; ++round) CloseRound(round);
  EXPECT_THAT(Query(path_, "SELECT round, count(*), count(payload) FROM inbox GROUP BY round"),
              ElementsAre("0|2|0", "1|2|0", "2|2|2"));
  EXPECT_THAT(Query(path_, kSqliteAudit), IsEmpty());
}

TEST_F(SqliteJournalTest, KeepPayloads_KeepsThemAll) {
  Open({.keep_payloads = true});
  for (uint64_t round = 0; round < 3; ++round) CloseRound(round);
  EXPECT_THAT(Query(path_, "SELECT count(*), count(payload) FROM inbox"), ElementsAre("6|6"));
}

TEST_F(SqliteJournalTest, SecondServer_IsRefusedUntilTheFirstIsGone) {
  Open();
  EXPECT_THAT(MakeSqliteJournal({.path = path_}),
              HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr(path_ + "-lock is held by another process")));
  journal_.reset();
  EXPECT_THAT(MakeSqliteJournal({.path = path_}), IsOk());
}

TEST_F(SqliteJournalTest, TwoRunsInOneDatabase_DoNotSeeEachOther) {
  Open();
  CloseRound(0);
  RunInfo other = kRun;
  other.id = 0xdef;
  journal_.reset();
  auto journal = MakeSqliteJournal({.path = path_});
  ASSERT_THAT(journal, IsOk());
  const auto run = (*journal)->Open(other, At(0));
  ASSERT_THAT(run, IsOk());
  EXPECT_EQ(run->closed_rounds, 0u);
  EXPECT_TRUE(run->clients.empty());
  EXPECT_THAT(Query(path_, "SELECT run FROM runs"), ElementsAre("0000000000000abc", "0000000000000def"));
}

// The line that differs is named, not the whole text.
TEST_F(SqliteJournalTest, AnotherDescription_IsRefusedNamingTheLine) {
  Open();
  journal_.reset();
  auto journal = MakeSqliteJournal({.path = path_});
  ASSERT_THAT(journal, IsOk());
  RunInfo other = kRun;
  other.description = "model: mlp\nseed: 2";
  EXPECT_THAT((*journal)->Open(other, At(0)),
              HasStatus(absl::StatusCode::kFailedPrecondition,
                        HasSubstr("run 0000000000000abc was begun with description \"seed: 1\", not \"seed: 2\"")));
}

TEST_F(SqliteJournalTest, AnotherSchemaVersion_IsRefused) {
  Open();
  journal_.reset();
  Query(path_, "PRAGMA user_version = 2");
  EXPECT_THAT(
      MakeSqliteJournal({.path = path_}),
      HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("schema version 2, this library reads and writes 1")));
}

TEST_F(SqliteJournalTest, AnotherProgramsDatabase_IsRefusedAndLeftAlone) {
  std::ofstream(path_).close();
  std::filesystem::permissions(path_, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  Query(path_, "CREATE TABLE songs(title TEXT)");
  EXPECT_THAT(MakeSqliteJournal({.path = path_}),
              HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("no journal")));
  EXPECT_THAT(Query(path_, "SELECT name FROM sqlite_schema"), ElementsAre("songs"));
  EXPECT_THAT(Query(path_, "PRAGMA journal_mode"), ElementsAre("delete"));
}

TEST_F(SqliteJournalTest, FileThatIsNoDatabase_IsDataLoss) {
  std::ofstream(path_) << std::string(4096, 'x');
  EXPECT_THAT(MakeSqliteJournal({.path = path_}), HasStatus(absl::StatusCode::kDataLoss, HasSubstr(path_)));
}

TEST_F(SqliteJournalTest, FileThatOthersMayWrite_IsRefused) {
  std::ofstream(path_).close();
  std::filesystem::permissions(path_, std::filesystem::perms(0666));
  EXPECT_THAT(MakeSqliteJournal({.path = path_}),
              HasStatus(absl::StatusCode::kPermissionDenied, HasSubstr("mode 666")));
}

TEST_F(SqliteJournalTest, FolderThatIsMissing_IsNamed) {
  EXPECT_THAT(MakeSqliteJournal({.path = folder_.File("missing/run.db")}),
              HasStatus(absl::StatusCode::kPermissionDenied, HasSubstr("missing/run.db")));
}

TEST_F(SqliteJournalTest, NameThatSqliteUnderstandsOtherwise_IsAFile) {
  const std::filesystem::path here = std::filesystem::current_path();
  std::filesystem::current_path(std::filesystem::path(path_).parent_path());
  const auto journal = MakeSqliteJournal({.path = ":memory:"});
  std::filesystem::current_path(here);
  EXPECT_THAT(journal, IsOk());
  EXPECT_TRUE(std::filesystem::exists(folder_.File(":memory:")));
}

// Flips a byte in the middle of a file.
void Damage(const std::string& path) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(std::filesystem::file_size(path) / 2));
  file.put('\x5a');
}

TEST_F(SqliteJournalTest, DamagedState_GoesOnFromTheOneBefore) {
  Open();
  for (uint64_t round = 0; round < 4; ++round) CloseRound(round);
  journal_.reset();
  Damage(folder_.File("run.db-0000000000000abc-4.safetensors"));
  Open();
  EXPECT_EQ(run_.closed_rounds, 4u);
  EXPECT_EQ(run_.saved_rounds, 3u);
  EXPECT_EQ(*StateReader(&*run_.state).U64("value"), 2u);
  ASSERT_EQ(run_.updates.size(), 2u);  // those of round 3, to be closed again
  EXPECT_EQ(run_.updates[0].counted_in, 3u);
  EXPECT_THAT(run_.warnings, ElementsAre(AllOf(HasSubstr("after 4 rounds"), HasSubstr("hash"))));
}

TEST_F(SqliteJournalTest, DamagedFirstState_GoesOnFromTheStart) {
  Open();
  CloseRound(0);
  journal_.reset();
  std::filesystem::remove(folder_.File("run.db-0000000000000abc-1.safetensors"));
  Open();
  EXPECT_EQ(run_.closed_rounds, 1u);
  EXPECT_EQ(run_.saved_rounds, 0u);
  EXPECT_FALSE(run_.state.has_value());
  EXPECT_EQ(run_.updates.size(), 2u);
}

TEST_F(SqliteJournalTest, BothStatesDamaged_IsDataLossNamingBoth) {
  Open();
  for (uint64_t round = 0; round < 4; ++round) CloseRound(round);
  journal_.reset();
  Damage(folder_.File("run.db-0000000000000abc-3.safetensors"));
  Damage(folder_.File("run.db-0000000000000abc-4.safetensors"));
  auto journal = MakeSqliteJournal({.path = path_});
  ASSERT_THAT(journal, IsOk());
  EXPECT_THAT((*journal)->Open(kRun, At(0)),
              HasStatus(absl::StatusCode::kDataLoss,
                        AllOf(HasSubstr("-3.safetensors"), HasSubstr("-4.safetensors"), HasSubstr("has no payload"))));
}

// Every fault that the audit and the reader look for, made by hand.
struct Tampering {
  std::string name, sql, audit, open;
};
class SqliteAuditTest : public SqliteJournalTest, public testing::WithParamInterface<Tampering> {};
TEST_P(SqliteAuditTest, FaultInTheRows_IsFound) {
  Open();
  for (uint64_t round = 0; round < 3; ++round) CloseRound(round);
  journal_.reset();
  auto faults = AuditSqliteJournal(path_);
  ASSERT_THAT(faults, IsOk());
  EXPECT_THAT(*faults, IsEmpty());
  Query(path_, GetParam().sql);
  faults = AuditSqliteJournal(path_);
  ASSERT_THAT(faults, IsOk());
  EXPECT_THAT(*faults, Contains(HasSubstr(GetParam().audit)));
  if (GetParam().open.empty()) return;
  auto journal = MakeSqliteJournal({.path = path_});
  ASSERT_THAT(journal, IsOk());
  EXPECT_THAT((*journal)->Open(kRun, At(0)), HasStatus(absl::StatusCode::kDataLoss, HasSubstr(GetParam().open)));
}
INSTANTIATE_TEST_SUITE_P(
    All, SqliteAuditTest,
    testing::Values(
        Tampering{
            "UpdateLost",
            "UPDATE rounds SET state_file = NULL WHERE round = 2; DELETE FROM inbox WHERE round = 2 AND client = 1",
            "round 2: counted 2, accepted 1", "round 2 counted 2 updates, 1 are there"},
        Tampering{"UpdateFromTheFuture",
                  "INSERT INTO inbox SELECT run, 9, 3, 9, 1, digest, bytes, accepted_us, payload FROM inbox WHERE "
                  "round = 2 AND client = 1",
                  "round 9, client 3: accepted beyond the open round", "counts in round 9, open is 3"},
        Tampering{"CountedTwiceInARound", "UPDATE inbox SET counted_in = 2 WHERE round = 1 AND client = 0",
                  "round 2, client 0: counts 2 times in one round", ""},
        Tampering{"CountedBeforeItWasMade", "UPDATE inbox SET counted_in = 0 WHERE round = 1 AND client = 0",
                  "round 1, client 0: counts in an earlier round", ""},
        Tampering{"RoundMissing", "DELETE FROM rounds WHERE round = 1", "rounds are missing",
                  "2 rows of closed rounds up to round 2"},
        Tampering{"Stranger", "DELETE FROM clients WHERE client = 1",
                  "round 2, client 1: sent by nobody who registered", ""}),
    [](const auto& info) { return info.param.name; });

TEST_F(SqliteJournalTest, SameUpdateTwice_CannotBeWritten) {
  Open();
  CloseRound(0);
  const AcceptedUpdate again = MakeUpdate(0, 1, 1, 4, 2);
  EXPECT_FALSE(journal_->Accept({&again, 1}).ok());
  EXPECT_THAT(Query(path_, "SELECT count(*) FROM inbox"), ElementsAre("2"));
}

// One of two cannot be written: neither is.
TEST_F(SqliteJournalTest, Accept_IsAllOrNothing) {
  Open();
  CloseRound(0);
  const AcceptedUpdate updates[] = {MakeUpdate(1, 0, 1, 4, 2), MakeUpdate(0, 1, 1, 4, 2)};
  EXPECT_FALSE(journal_->Accept(updates).ok());
  EXPECT_THAT(Query(path_, "SELECT count(*) FROM inbox"), ElementsAre("2"));
}

// The largest size a file of this process may grow to is where the disk ends.
TEST_F(SqliteJournalTest, FullDisk_IsResourceExhaustedAndNothingIsTakenUntilThereIsRoom) {
  Open();
  CloseRound(0);
  struct rlimit before {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  const struct rlimit full = {1 << 20, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  const AcceptedUpdate large = MakeUpdate(1, 0, 1, 4 << 20, 3);
  const absl::Status refused = journal_->Accept({&large, 1});
  StateArchive big;
  StateWriter(&big).Bytes("weights", large.bytes);
  const absl::Status unsaved = journal_->CloseRound({.round = 1, .opened = At(0), .closed = At(1)}, Counters(), &big);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, old_handler);

  EXPECT_THAT(refused, HasStatus(absl::StatusCode::kResourceExhausted, HasSubstr(path_)));
  EXPECT_THAT(unsaved, HasStatus(absl::StatusCode::kResourceExhausted, HasSubstr(path_)));
  EXPECT_THAT(Query(path_, "SELECT count(*) FROM inbox"), ElementsAre("2"));
  EXPECT_THAT(Query(path_, "SELECT count(*) FROM rounds"), ElementsAre("1"));
  EXPECT_THAT(journal_->Accept({&large, 1}), IsOk());
  EXPECT_THAT(Query(path_, "SELECT count(*) FROM inbox"), ElementsAre("3"));
}

TEST_F(SqliteJournalTest, LockedByAnotherProgram_IsUnavailableAndPasses) {
  Open({.patience = absl::Milliseconds(1)});
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open_v2(path_.c_str(), &other, SQLITE_OPEN_READWRITE, nullptr), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  EXPECT_THAT(journal_->RegisterClient(0, 1, At(0)), HasStatus(absl::StatusCode::kUnavailable, HasSubstr("locked")));
  sqlite3_close(other);
  EXPECT_THAT(journal_->RegisterClient(0, 1, At(0)), IsOk());
}

// A process that is killed right after a write returned has not lost it: nothing is closed, flushed or checkpointed.
TEST_F(SqliteJournalTest, KillNine_LosesNothingThatWasWritten) {
  int told[2];
  ASSERT_EQ(pipe(told), 0);
  const pid_t child = fork();
  if (child == 0) {
    auto journal = MakeSqliteJournal({.path = path_});
    bool ok = journal.ok() && (*journal)->Open(kRun, At(0)).ok() && (*journal)->RegisterClient(2, 5, At(0)).ok();
    const AcceptedUpdate update = MakeUpdate(0, 2, 0, 1000, 8);
    ok = ok && (*journal)->Accept({&update, 1}).ok();
    const char answer = ok ? 'y' : 'n';
    if (write(told[1], &answer, 1) != 1) _exit(1);
    for (;;) pause();
  }
  char answer = 0;
  ASSERT_EQ(read(told[0], &answer, 1), 1);
  ASSERT_EQ(kill(child, SIGKILL), 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  close(told[0]);
  close(told[1]);
  EXPECT_EQ(answer, 'y');
  Open();
  ASSERT_EQ(run_.updates.size(), 1u);
  EXPECT_EQ(run_.updates[0].bytes, MakeUpdate(0, 2, 0, 1000, 8).bytes);
  ASSERT_EQ(run_.clients.size(), 1u);
  EXPECT_EQ(run_.clients[0].incarnation, 5u);
}

}  // namespace
}  // namespace laconic
