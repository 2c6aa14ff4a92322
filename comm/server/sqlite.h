// SQLite behind Status: a connection, prepared statements, transactions. Errors carry path, action and SQLite's words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

struct sqlite3;
struct sqlite3_stmt;

namespace laconic {

class SqliteDatabase;

// A prepared statement. Parameters are numbered from 1, columns from 0, as in SQLite. Blobs and texts that are bound
// must stay as they are until Reset.
class SqliteStatement {
 public:
  SqliteStatement(const SqliteDatabase* database, sqlite3_stmt* statement)
      : database_(database), statement_(statement) {}
  SqliteStatement(SqliteStatement&& other) noexcept;
  SqliteStatement& operator=(SqliteStatement&& other) noexcept;
  ~SqliteStatement();

  void Bind(int parameter, uint64_t value);  // kept as a signed number of the same bits
  void Bind(int parameter, std::string_view text);
  void Bind(int parameter, std::span<const std::byte> blob);
  void BindNull(int parameter);

  // Binds parameters 1, 2, ... and steps once, for a statement without rows; it is reset again afterwards.
  template <typename... Values>
  absl::Status Run(const Values&... values) {
    BindAll(values...);
    return RunBound();
  }
  // The same for a statement with rows: `row` is called at each, until it fails.
  template <typename... Values>
  absl::Status ForEach(absl::FunctionRef<absl::Status(const SqliteStatement&)> row, const Values&... values) {
    BindAll(values...);
    return ForEachBound(row);
  }

  bool IsNull(int column) const;
  uint64_t U64(int column) const;
  std::string Text(int column) const;
  std::span<const std::byte> Blob(int column) const;  // valid until the next row

 private:
  template <typename... Values>
  void BindAll(const Values&... values) {
    int parameter = 0;
    (Bind(++parameter, values), ...);
  }
  absl::Status RunBound();
  absl::Status ForEachBound(absl::FunctionRef<absl::Status(const SqliteStatement&)> row);
  absl::StatusOr<bool> Step();
  void Reset();
  void Noted(int code);

  const SqliteDatabase* database_;
  sqlite3_stmt* statement_;
  int bind_error_ = 0;  // of the binds since the last Reset, the first
};

// One connection, one thread at a time. Statements must not outlive it, nor may it be moved.
class SqliteDatabase {
 public:
  // The file must exist (it may be empty).
  static absl::StatusOr<std::unique_ptr<SqliteDatabase>> Open(const std::string& path, absl::Duration patience);
  SqliteDatabase(const SqliteDatabase&) = delete;
  ~SqliteDatabase();

  const std::string& path() const { return path_; }
  absl::Status Execute(const std::string& sql);             // any number of statements, rows ignored
  absl::StatusOr<uint64_t> Number(const std::string& sql);  // the first column of its only row
  absl::StatusOr<SqliteStatement> Prepare(std::string_view sql);
  // All of `body` or nothing: begins, and commits unless it fails.
  absl::Status Transaction(absl::FunctionRef<absl::Status()> body);

  // What `code`, which the last call gave, means to a caller, with what the connection and the system say of it.
  absl::Status Error(std::string_view action, int code) const;

 private:
  SqliteDatabase(std::string path, sqlite3* connection) : path_(std::move(path)), connection_(connection) {}
  std::string path_;
  sqlite3* connection_;
};

}  // namespace laconic
