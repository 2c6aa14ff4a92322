// The tables of the SQLite journal (laconic/comm/server/sqlite_journal.h lists them), and what is read back from them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "comm/server/sqlite.h"
#include "laconic/comm/server/journal.h"

namespace laconic {

// A row of `rounds` that has a state: the one after so many closed rounds.
struct SavedState {
  uint64_t saved_rounds = 0;
  std::string file;  // name, without folder
  std::string hash;
};

// Makes the tables where the database is empty, checks their version elsewhere, and sets the connection's modes.
absl::Status PrepareSchema(SqliteDatabase& database, bool survive_power_loss);

// Makes the row of `run` (its id in hex), or compares it. FailedPrecondition naming both values where they differ.
absl::Status BeginRun(SqliteDatabase& database, const std::string& run, const RunInfo& info, uint64_t begun_us);

// Everything the journal has of `run`. DataLoss if it is not whole.
absl::StatusOr<RecoveredRun> ReadRun(SqliteDatabase& database, const std::string& run);

// The newest states on record, newest first, at most two.
absl::StatusOr<std::vector<SavedState>> SavedStates(SqliteDatabase& database, const std::string& run);

}  // namespace laconic
