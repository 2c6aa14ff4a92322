#include "comm/server/sqlite_schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <utility>

#include "laconic/base/hash.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

constexpr uint64_t kApplicationId = 0x4c414352;  // "LACR"
constexpr uint64_t kSchemaVersion = 1;

constexpr const char* kTables = R"sql(
CREATE TABLE runs(run TEXT NOT NULL PRIMARY KEY, description TEXT NOT NULL, clients INTEGER NOT NULL,
  rounds INTEGER NOT NULL, begun_us INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE clients(run TEXT NOT NULL, client INTEGER NOT NULL, incarnation INTEGER NOT NULL,
  registered_us INTEGER NOT NULL, PRIMARY KEY(run, client)) STRICT, WITHOUT ROWID;
CREATE TABLE rounds(run TEXT NOT NULL, round INTEGER NOT NULL, opened_us INTEGER NOT NULL, closed_us INTEGER NOT NULL,
  participants INTEGER NOT NULL, counted INTEGER NOT NULL, extensions INTEGER NOT NULL, state_file TEXT,
  state_hash TEXT, PRIMARY KEY(run, round)) STRICT, WITHOUT ROWID;
CREATE TABLE inbox(run TEXT NOT NULL, round INTEGER NOT NULL, client INTEGER NOT NULL, counted_in INTEGER NOT NULL,
  incarnation INTEGER NOT NULL, digest TEXT NOT NULL, bytes INTEGER NOT NULL, accepted_us INTEGER NOT NULL,
  payload BLOB, PRIMARY KEY(run, round, client)) STRICT;
CREATE INDEX inbox_payloads ON inbox(run, counted_in) WHERE payload IS NOT NULL;
CREATE TABLE metrics(run TEXT NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY(run, name))
  STRICT, WITHOUT ROWID;
)sql";

std::string Hex(uint64_t value) { return fmt::format("{:016x}", value); }

uint64_t Unhex(std::string_view text) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return value;
}

absl::Status Differs(const SqliteDatabase& database, const std::string& run, std::string_view what,
                     std::string_view there, std::string_view asked) {
  return absl::FailedPreconditionError(fmt::format("{}: run {} was begun with {} {}, not {}; give the run another id",
                                                   database.path(), run, what, there, asked));
}

// The first line in which two texts differ, so that an error about long descriptions stays short.
std::pair<std::string_view, std::string_view> FirstDifference(std::string_view a, std::string_view b) {
  for (;;) {
    const size_t end_a = std::min(a.find('\n'), a.size()), end_b = std::min(b.find('\n'), b.size());
    const std::string_view line_a = a.substr(0, end_a), line_b = b.substr(0, end_b);
    if (line_a != line_b || end_a == a.size() || end_b == b.size()) return {line_a, line_b};
    a.remove_prefix(end_a + 1);
    b.remove_prefix(end_b + 1);
  }
}

// Reads one run; `lost` says what about it cannot be.
class RunReader {
 public:
  RunReader(SqliteDatabase& database, const std::string& run) : database_(database), run_(run) {}

  absl::StatusOr<RecoveredRun> Read() {
    LACONIC_RETURN_IF_ERROR(ReadRounds());
    LACONIC_RETURN_IF_ERROR(ReadState());
    LACONIC_RETURN_IF_ERROR(ReadUpdates());
    LACONIC_RETURN_IF_ERROR(ReadClients());
    LACONIC_RETURN_IF_ERROR(ReadCounters());
    return std::move(recovered_);
  }

 private:
  absl::Status Lost(std::string_view what) const {
    return absl::DataLossError(fmt::format("{}: run {}: {}{}{}", database_.path(), run_, what,
                                           recovered_.warnings.empty() ? "" : "; ",
                                           fmt::join(recovered_.warnings, "; ")));
  }

  absl::Status ReadRounds() {
    LACONIC_ASSIGN_OR_RETURN(
        SqliteStatement rounds,
        database_.Prepare("SELECT count(*), coalesce(max(round) + 1, 0) FROM rounds WHERE run = ?"));
    return rounds.ForEach(
        [&](const SqliteStatement& row) {
          recovered_.closed_rounds = row.U64(1);
          if (row.U64(0) == row.U64(1)) return absl::OkStatus();
          return Lost(fmt::format("{} rows of closed rounds up to round {}", row.U64(0), row.U64(1) - 1));
        },
        run_);
  }

  // The newest state that is as it was written; where there is none, the start of the run, as long as the payloads go
  // back that far.
  absl::Status ReadState() {
    LACONIC_ASSIGN_OR_RETURN(const std::vector<SavedState> saved, SavedStates(database_, run_));
    for (const SavedState& candidate : saved) {
      const std::string path = (std::filesystem::path(database_.path()).parent_path() / candidate.file).string();
      absl::StatusOr<StateArchive> state = ReadVerified(path, candidate.hash);
      if (state.ok()) {
        recovered_.saved_rounds = candidate.saved_rounds;
        recovered_.state = *std::move(state);
        return absl::OkStatus();
      }
      recovered_.warnings.push_back(fmt::format("the state after {} rounds is lost, going on from an older one: {}",
                                                candidate.saved_rounds, state.status().ToString()));
    }
    return absl::OkStatus();
  }

  static absl::StatusOr<StateArchive> ReadVerified(const std::string& path, const std::string& hash) {
    LACONIC_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, ReadFile(path));
    const std::string found = Hex(Hash64(bytes));
    if (found != hash) return absl::DataLossError(fmt::format("{}: hash {}, expected {}", path, found, hash));
    absl::StatusOr<StateArchive> state = ParseStateArchive(bytes);
    return state.ok() ? std::move(state) : Annotate(state.status(), path);
  }

  // Those since the saved state, which must all have their payloads and be as many as their rounds counted.
  absl::Status ReadUpdates() {
    std::map<uint64_t, uint64_t> counted;  // updates there, by round
    LACONIC_ASSIGN_OR_RETURN(
        SqliteStatement updates,
        database_.Prepare("SELECT round, client, counted_in, incarnation, digest, accepted_us, payload FROM inbox "
                          "WHERE run = ? AND counted_in >= ? ORDER BY counted_in, client"));
    LACONIC_RETURN_IF_ERROR(updates.ForEach(
        [&](const SqliteStatement& row) {
          AcceptedUpdate update;
          update.round = row.U64(0);
          update.client = static_cast<uint32_t>(row.U64(1));
          update.counted_in = row.U64(2);
          update.incarnation = row.U64(3);
          update.accepted = absl::FromUnixMicros(static_cast<int64_t>(row.U64(5)));
          const std::span<const std::byte> payload = row.Blob(6);
          update.bytes.assign(payload.begin(), payload.end());
          update.digest = Hash64(payload);
          const std::string digest = Hex(update.digest);
          if (row.IsNull(6) || digest != row.Text(4)) {
            return Lost(fmt::format("the update of client {} for round {} {}", update.client, update.round,
                                    row.IsNull(6) ? "has no payload" : "does not have its digest"));
          }
          if (update.counted_in > recovered_.closed_rounds) {
            return Lost(fmt::format("the update of client {} for round {} counts in round {}, open is {}",
                                    update.client, update.round, update.counted_in, recovered_.closed_rounds));
          }
          ++counted[update.counted_in];
          recovered_.updates.push_back(std::move(update));
          return absl::OkStatus();
        },
        run_, recovered_.saved_rounds));

    LACONIC_ASSIGN_OR_RETURN(SqliteStatement rounds,
                             database_.Prepare("SELECT round, counted FROM rounds WHERE run = ? AND round >= ?"));
    return rounds.ForEach(
        [&](const SqliteStatement& row) {
          const auto found =
              std::count_if(recovered_.updates.begin(), recovered_.updates.end(),
                            [&](const AcceptedUpdate& update) { return update.counted_in == row.U64(0); });
          if (static_cast<uint64_t>(found) == row.U64(1)) return absl::OkStatus();
          return Lost(fmt::format("round {} counted {} updates, {} are there", row.U64(0), row.U64(1), found));
        },
        run_, recovered_.saved_rounds);
  }

  absl::Status ReadClients() {
    LACONIC_ASSIGN_OR_RETURN(
        SqliteStatement clients,
        database_.Prepare("SELECT c.client, c.incarnation, i.round, i.digest FROM clients c LEFT JOIN "
                          "(SELECT client, max(round) AS round, digest FROM inbox WHERE run = ?1 GROUP BY client) i "
                          "ON i.client = c.client WHERE c.run = ?1 ORDER BY c.client"));
    return clients.ForEach(
        [&](const SqliteStatement& row) {
          ClientRecord record;
          record.client = static_cast<uint32_t>(row.U64(0));
          record.incarnation = row.U64(1);
          if (!row.IsNull(2)) record.last_accepted = {row.U64(2), Unhex(row.Text(3))};
          recovered_.clients.push_back(record);
          return absl::OkStatus();
        },
        run_);
  }

  absl::Status ReadCounters() {
    LACONIC_ASSIGN_OR_RETURN(SqliteStatement metrics,
                             database_.Prepare("SELECT name, value FROM metrics WHERE run = ?"));
    return metrics.ForEach(
        [&](const SqliteStatement& row) {
          if (const auto counter = CounterNamed(row.Text(0))) recovered_.counters[*counter] = row.U64(1);
          return absl::OkStatus();
        },
        run_);
  }

  SqliteDatabase& database_;
  const std::string& run_;
  RecoveredRun recovered_;
};

}  // namespace

absl::Status PrepareSchema(SqliteDatabase& database, bool survive_power_loss) {
  LACONIC_ASSIGN_OR_RETURN(const uint64_t tables, database.Number("SELECT count(*) FROM sqlite_schema"));
  LACONIC_ASSIGN_OR_RETURN(const uint64_t application, database.Number("PRAGMA application_id"));
  LACONIC_ASSIGN_OR_RETURN(const uint64_t version, database.Number("PRAGMA user_version"));
  const bool empty = tables == 0 && application == 0;
  if (!empty && application != kApplicationId) {
    return absl::FailedPreconditionError(fmt::format("{}: a database, but no journal of laconic", database.path()));
  }
  if (!empty && version != kSchemaVersion) {
    return absl::FailedPreconditionError(fmt::format("{}: schema version {}, this library reads and writes {}",
                                                     database.path(), version, kSchemaVersion));
  }
  // Updates are large and short-lived: large pages, no overwriting of what is deleted (Debian's default), and a log
  // long enough that most of them are gone before it is copied into the database.
  LACONIC_RETURN_IF_ERROR(
      database.Execute("PRAGMA page_size = 16384; PRAGMA journal_mode = WAL; PRAGMA secure_delete = OFF; "
                       "PRAGMA wal_autocheckpoint = 4096; PRAGMA journal_size_limit = 67108864"));
  LACONIC_RETURN_IF_ERROR(
      database.Execute(survive_power_loss ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL"));
  if (!empty) return absl::OkStatus();
  return database.Transaction([&] {
    return database.Execute(fmt::format("{} PRAGMA application_id = {}; PRAGMA user_version = {}", kTables,
                                        kApplicationId, kSchemaVersion));
  });
}

absl::Status BeginRun(SqliteDatabase& database, const std::string& run, const RunInfo& info, uint64_t begun_us) {
  LACONIC_ASSIGN_OR_RETURN(SqliteStatement insert,
                           database.Prepare("INSERT INTO runs(run, description, clients, rounds, begun_us) "
                                            "VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"));
  LACONIC_RETURN_IF_ERROR(insert.Run(run, info.description, uint64_t{info.clients}, info.rounds, begun_us));
  LACONIC_ASSIGN_OR_RETURN(SqliteStatement select,
                           database.Prepare("SELECT description, clients, rounds FROM runs WHERE run = ?"));
  return select.ForEach(
      [&](const SqliteStatement& row) {
        if (row.U64(1) != info.clients) {
          return Differs(database, run, "clients", fmt::to_string(row.U64(1)), fmt::to_string(info.clients));
        }
        if (row.U64(2) != info.rounds) {
          return Differs(database, run, "rounds", fmt::to_string(row.U64(2)), fmt::to_string(info.rounds));
        }
        if (const std::string description = row.Text(0); description != info.description) {
          const auto [there, asked] = FirstDifference(description, info.description);
          return Differs(database, run, "description", fmt::format("\"{}\"", there), fmt::format("\"{}\"", asked));
        }
        return absl::OkStatus();
      },
      run);
}

absl::StatusOr<RecoveredRun> ReadRun(SqliteDatabase& database, const std::string& run) {
  return RunReader(database, run).Read();
}

absl::StatusOr<std::vector<SavedState>> SavedStates(SqliteDatabase& database, const std::string& run) {
  LACONIC_ASSIGN_OR_RETURN(SqliteStatement rounds,
                           database.Prepare("SELECT round + 1, state_file, state_hash FROM rounds WHERE run = ? "
                                            "AND state_file IS NOT NULL ORDER BY round DESC LIMIT 2"));
  std::vector<SavedState> saved;
  LACONIC_RETURN_IF_ERROR(rounds.ForEach(
      [&](const SqliteStatement& row) {
        saved.push_back({row.U64(0), row.Text(1), row.Text(2)});
        return absl::OkStatus();
      },
      run));
  return saved;
}

}  // namespace laconic
