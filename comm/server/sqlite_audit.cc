#include <filesystem>

#include "comm/server/sqlite.h"
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/comm/server/sqlite_journal.h"

namespace laconic {

absl::StatusOr<std::vector<std::string>> AuditSqliteJournal(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return absl::NotFoundError(fmt::format("{}: no such journal", path));
  LACONIC_ASSIGN_OR_RETURN(const auto database, SqliteDatabase::Open(path, absl::Seconds(1)));
  LACONIC_ASSIGN_OR_RETURN(SqliteStatement audit, database->Prepare(kSqliteAudit));
  std::vector<std::string> faults;
  LACONIC_RETURN_IF_ERROR(audit.ForEach([&](const SqliteStatement& row) {
    const std::string client = row.IsNull(2) ? "" : fmt::format(", client {}", row.U64(2));
    faults.push_back(fmt::format("run {}, round {}{}: {}", row.Text(0), row.U64(1), client, row.Text(3)));
    return absl::OkStatus();
  }));
  return faults;
}

}  // namespace laconic
