#include "laconic/comm/server/sqlite_journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "comm/server/sqlite.h"
#include "comm/server/sqlite_schema.h"
#include "laconic/base/file_lock.h"
#include "laconic/base/hash.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

std::string Hex(uint64_t value) { return fmt::format("{:016x}", value); }

uint64_t Microseconds(absl::Time time) { return static_cast<uint64_t>(absl::ToUnixMicros(time)); }

// What the journal writes.
struct Statements {
  SqliteStatement register_client, accept, close_round, set_metric, forget_payloads;
};

absl::StatusOr<Statements> PrepareAll(SqliteDatabase& database) {
  LACONIC_ASSIGN_OR_RETURN(
      SqliteStatement register_client,
      database.Prepare("INSERT INTO clients(run, client, incarnation, registered_us) "
                       "VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                       "incarnation = excluded.incarnation, registered_us = excluded.registered_us"));
  LACONIC_ASSIGN_OR_RETURN(
      SqliteStatement accept,
      database.Prepare("INSERT INTO inbox(run, round, client, counted_in, incarnation, digest, bytes, accepted_us, "
                       "payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"));
  LACONIC_ASSIGN_OR_RETURN(
      SqliteStatement close_round,
      database.Prepare("INSERT INTO rounds(run, round, opened_us, closed_us, participants, counted, extensions, "
                       "state_file, state_hash) VALUES (?, ?, ?, ?, ?, ?, ?, nullif(?, ''), nullif(?, ''))"));
  LACONIC_ASSIGN_OR_RETURN(SqliteStatement set_metric,
                           database.Prepare("INSERT INTO metrics(run, name, value) VALUES (?, ?, ?) "
                                            "ON CONFLICT DO UPDATE SET value = excluded.value"));
  LACONIC_ASSIGN_OR_RETURN(SqliteStatement forget_payloads,
                           database.Prepare("UPDATE inbox SET payload = NULL "
                                            "WHERE run = ? AND counted_in < ? AND payload IS NOT NULL"));
  return Statements{std::move(register_client), std::move(accept), std::move(close_round), std::move(set_metric),
                    std::move(forget_payloads)};
}

class SqliteJournal : public RoundJournal {
 public:
  SqliteJournal(SqliteJournalOptions options, FileLock lock, std::unique_ptr<SqliteDatabase> database,
                Statements statements)
      : options_(std::move(options)),
        lock_(std::move(lock)),
        database_(std::move(database)),
        statements_(std::move(statements)) {}

  absl::StatusOr<RecoveredRun> Open(const RunInfo& run, absl::Time now) override {
    run_ = Hex(run.id);
    LACONIC_RETURN_IF_ERROR(BeginRun(*database_, run_, run, Microseconds(now)));
    LACONIC_ASSIGN_OR_RETURN(RecoveredRun recovered, ReadRun(*database_, run_));
    LACONIC_ASSIGN_OR_RETURN(saved_, SavedStates(*database_, run_));
    return recovered;
  }

  absl::Status RegisterClient(uint32_t client, uint64_t incarnation, absl::Time now) override {
    return statements_.register_client.Run(run_, uint64_t{client}, incarnation, Microseconds(now));
  }

  absl::Status Accept(std::span<const AcceptedUpdate> updates) override {
    return database_->Transaction([&]() -> absl::Status {
      for (const AcceptedUpdate& update : updates) {
        const std::string digest = Hex(update.digest);
        LACONIC_RETURN_IF_ERROR(statements_.accept.Run(
            run_, update.round, uint64_t{update.client}, update.counted_in, update.incarnation, digest,
            uint64_t{update.bytes.size()}, Microseconds(update.accepted), std::span<const std::byte>(update.bytes)));
      }
      return absl::OkStatus();
    });
  }

  absl::Status CloseRound(const ClosedRound& closed, const Counters& counters, const StateArchive* state) override {
    SavedState saved;
    if (state != nullptr) {
      const std::vector<std::byte> bytes = SerializeStateArchive(*state);
      saved = {.saved_rounds = closed.round + 1, .file = StateFileName(closed.round + 1), .hash = Hex(Hash64(bytes))};
      LACONIC_RETURN_IF_ERROR(WriteFileAtomically(BesideDatabase(saved.file), bytes));
    }
    LACONIC_RETURN_IF_ERROR(database_->Transaction([&]() -> absl::Status {
      LACONIC_RETURN_IF_ERROR(statements_.close_round.Run(run_, closed.round, Microseconds(closed.opened),
                                                          Microseconds(closed.closed), uint64_t{closed.participants},
                                                          uint64_t{closed.counted}, uint64_t{closed.extensions},
                                                          std::string_view(saved.file), std::string_view(saved.hash)));
      absl::Status status;
      ForEachCounter([&](Counter counter) {
        if (status.ok()) status = statements_.set_metric.Run(run_, CounterName(counter), counters[counter]);
      });
      LACONIC_RETURN_IF_ERROR(status);
      // The state before this one stays good for a restart should this one turn out damaged, so what leads from there
      // to here stays too.
      if (state == nullptr || options_.keep_payloads || saved_.empty()) return absl::OkStatus();
      return statements_.forget_payloads.Run(run_, saved_.front().saved_rounds);
    }));
    if (state != nullptr) Keep(std::move(saved));
    return absl::OkStatus();
  }

 private:
  std::string StateFileName(uint64_t saved_rounds) const {
    const std::string database = std::filesystem::path(options_.path).filename().string();
    return fmt::format("{}-{}-{}.safetensors", database, run_, saved_rounds);
  }
  std::string BesideDatabase(const std::string& file) const {
    return (std::filesystem::path(options_.path).parent_path() / file).string();
  }

  // `saved` is the newest now, and the second newest stays. A file that cannot be removed is in nobody's way.
  void Keep(SavedState saved) {
    saved_.insert(saved_.begin(), std::move(saved));
    for (; saved_.size() > 2; saved_.pop_back()) unlink(BesideDatabase(saved_.back().file).c_str());
  }

  const SqliteJournalOptions options_;
  FileLock lock_;  // outlives the database: what closes last is given to the next server last
  std::unique_ptr<SqliteDatabase> database_;
  Statements statements_;
  std::string run_;
  std::vector<SavedState> saved_;  // newest first, at most two
};

// The file, made if there is none, and ours alone to write.
absl::Status PrepareFile(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
  struct stat facts {};
  if (descriptor < 0 || fstat(descriptor, &facts) != 0) {
    const int error = errno;
    if (descriptor >= 0) close(descriptor);
    return absl::PermissionDeniedError(fmt::format("open {}: {}", path, std::generic_category().message(error)));
  }
  close(descriptor);
  if ((facts.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return absl::PermissionDeniedError(
        fmt::format("{}: mode {:o} lets others write a journal; chmod 600 it", path, facts.st_mode & 0777));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<RoundJournal>> MakeSqliteJournal(const SqliteJournalOptions& options) {
  if (options.path.empty()) return absl::InvalidArgumentError("a journal needs the path of its database");
  SqliteJournalOptions absolute = options;
  // Absolute, because SQLite gives names such as ":memory:" a meaning of their own.
  absolute.path = std::filesystem::absolute(options.path).string();
  LACONIC_ASSIGN_OR_RETURN(FileLock lock, FileLock::Take(absolute.path + "-lock"));
  LACONIC_RETURN_IF_ERROR(PrepareFile(absolute.path));
  LACONIC_ASSIGN_OR_RETURN(std::unique_ptr<SqliteDatabase> database,
                           SqliteDatabase::Open(absolute.path, options.patience));
  LACONIC_RETURN_IF_ERROR(PrepareSchema(*database, options.survive_power_loss));
  LACONIC_ASSIGN_OR_RETURN(Statements statements, PrepareAll(*database));
  return std::make_unique<SqliteJournal>(std::move(absolute), std::move(lock), std::move(database),
                                         std::move(statements));
}

}  // namespace laconic
