#include "comm/server/sqlite.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "laconic/base/status.h"

namespace laconic {
namespace {

bool NoRoom(int error) { return error == ENOSPC || error == EDQUOT || error == EFBIG; }

}  // namespace

SqliteStatement::SqliteStatement(SqliteStatement&& other) noexcept
    : database_(other.database_),
      statement_(std::exchange(other.statement_, nullptr)),
      bind_error_(other.bind_error_) {}

SqliteStatement& SqliteStatement::operator=(SqliteStatement&& other) noexcept {
  std::swap(database_, other.database_);
  std::swap(statement_, other.statement_);
  std::swap(bind_error_, other.bind_error_);
  return *this;
}

SqliteStatement::~SqliteStatement() { sqlite3_finalize(statement_); }

void SqliteStatement::Noted(int code) {
  if (bind_error_ == SQLITE_OK) bind_error_ = code;
}

void SqliteStatement::Bind(int parameter, uint64_t value) {
  Noted(sqlite3_bind_int64(statement_, parameter, static_cast<int64_t>(value)));
}

void SqliteStatement::Bind(int parameter, std::string_view text) {
  Noted(sqlite3_bind_text64(statement_, parameter, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8));
}

void SqliteStatement::Bind(int parameter, std::span<const std::byte> blob) {
  // A null pointer would bind NULL, and an empty blob is not that.
  const void* data = blob.empty() ? static_cast<const void*>("") : blob.data();
  Noted(sqlite3_bind_blob64(statement_, parameter, data, blob.size(), SQLITE_STATIC));
}

void SqliteStatement::BindNull(int parameter) { Noted(sqlite3_bind_null(statement_, parameter)); }

absl::StatusOr<bool> SqliteStatement::Step() {
  errno = 0;
  const int code = bind_error_ != SQLITE_OK ? bind_error_ : sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return database_->Error(sqlite3_sql(statement_), code);
}

void SqliteStatement::Reset() {
  sqlite3_reset(statement_);  // repeats the error of the last step, which its caller has
  sqlite3_clear_bindings(statement_);
  bind_error_ = SQLITE_OK;
}

absl::Status SqliteStatement::RunBound() {
  const absl::StatusOr<bool> row = Step();
  Reset();
  return row.status();
}

absl::Status SqliteStatement::ForEachBound(absl::FunctionRef<absl::Status(const SqliteStatement&)> row) {
  absl::Status status;
  while (status.ok()) {
    const absl::StatusOr<bool> more = Step();
    if (!more.ok()) status = more.status();
    if (!status.ok() || !*more) break;
    status = row(*this);
  }
  Reset();
  return status;
}

bool SqliteStatement::IsNull(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

uint64_t SqliteStatement::U64(int column) const {
  return static_cast<uint64_t>(sqlite3_column_int64(statement_, column));
}

std::string SqliteStatement::Text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  return text == nullptr ? "" : std::string(text, static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
}

std::span<const std::byte> SqliteStatement::Blob(int column) const {
  const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(statement_, column));
  return {data, data == nullptr ? 0 : static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

absl::StatusOr<std::unique_ptr<SqliteDatabase>> SqliteDatabase::Open(const std::string& path, absl::Duration patience) {
  sqlite3* connection = nullptr;
  // No mutex: one thread at a time is the promise of this class.
  const int code = sqlite3_open_v2(path.c_str(), &connection, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (connection == nullptr) return absl::ResourceExhaustedError(fmt::format("open {}: out of memory", path));
  std::unique_ptr<SqliteDatabase> database(new SqliteDatabase(path, connection));
  if (code != SQLITE_OK) return database->Error("open", code);
  sqlite3_extended_result_codes(connection, 1);
  sqlite3_busy_timeout(connection, static_cast<int>(absl::ToInt64Milliseconds(patience)));
  return database;
}

SqliteDatabase::~SqliteDatabase() { sqlite3_close_v2(connection_); }

absl::Status SqliteDatabase::Execute(const std::string& sql) {
  errno = 0;
  const int code = sqlite3_exec(connection_, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : Error(sql, code);
}

absl::StatusOr<SqliteStatement> SqliteDatabase::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(connection_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                                      &statement, nullptr);
  if (code != SQLITE_OK) return Error(sql, code);
  return SqliteStatement(this, statement);
}

absl::StatusOr<uint64_t> SqliteDatabase::Number(const std::string& sql) {
  LACONIC_ASSIGN_OR_RETURN(SqliteStatement statement, Prepare(sql));
  uint64_t number = 0;
  LACONIC_RETURN_IF_ERROR(statement.ForEach([&](const SqliteStatement& row) {
    number = row.U64(0);
    return absl::OkStatus();
  }));
  return number;
}

absl::Status SqliteDatabase::Transaction(absl::FunctionRef<absl::Status()> body) {
  LACONIC_RETURN_IF_ERROR(Execute("BEGIN IMMEDIATE"));
  absl::Status status = body();
  if (status.ok()) status = Execute("COMMIT");
  // Some errors have rolled back already; then this has nothing to do and says so, which interests nobody.
  if (!status.ok()) Execute("ROLLBACK").IgnoreError();
  return status;
}

absl::Status SqliteDatabase::Error(std::string_view action, int code) const {
  // SQLite does not note it for writes of its log; what the last system call left is then all there is to go by.
  const int system_error = sqlite3_system_errno(connection_) != 0 ? sqlite3_system_errno(connection_) : errno;
  std::string message = fmt::format("{}: {}: {}", path_, action, sqlite3_errmsg(connection_));
  const int primary = code & 0xff;
  const bool of_system = primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN || primary == SQLITE_FULL;
  if (of_system && system_error != 0) message += fmt::format(" ({})", std::generic_category().message(system_error));
  if (primary == SQLITE_FULL || primary == SQLITE_TOOBIG || primary == SQLITE_NOMEM ||
      (primary == SQLITE_IOERR && NoRoom(system_error))) {
    return absl::ResourceExhaustedError(message);
  }
  switch (primary) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_IOERR:
      return absl::UnavailableError(message);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(message);
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
      return absl::PermissionDeniedError(message);
    default:
      return absl::InternalError(message);
  }
}

}  // namespace laconic
