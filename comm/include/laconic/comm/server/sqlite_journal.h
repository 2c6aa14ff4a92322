// The journal of a parameter server in an SQLite database in WAL mode, and the model's state in files beside it.
//
// Any program that speaks SQL may read along while the server runs (sqlite3 run.db). Ids and digests are 16 hexadecimal
// digits, times microseconds since 1970:
//
//   runs     run, description, clients, rounds, begun_us
//   clients  run, client, incarnation, registered_us
//   rounds   run, round, opened_us, closed_us, participants, counted, extensions, state_file, state_hash
//   inbox    run, round, client, counted_in, incarnation, digest, bytes, accepted_us, payload    one row an update
//   metrics  run, name, value                                                    counters.h, as of the last close
//
// A row of `inbox` was committed before its client heard "accepted"; its round counts it when `rounds` has a row for
// counted_in. Its payload becomes NULL once it cannot be needed any more. A row of `rounds` with a state_file says
// which file beside the database holds the state after that round, and Hash64 of its bytes; the last two are kept, so
// that one damaged file costs nothing. Schema version: PRAGMA user_version.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "laconic/comm/server/journal.h"

namespace laconic {

struct SqliteJournalOptions {
  // The database, made with mode 0600 if there is none. Beside it lie <path>-wal and <path>-shm while it is open,
  // <path>-lock, and the states <path>-<run>-<rounds>.safetensors. One database may hold many runs.
  std::string path;
  // What was acknowledged survives the death of the process in any case (synchronous=NORMAL); with this, also that of
  // the machine (synchronous=FULL: one fsync for each write of the journal, so batch pushes).
  bool survive_power_loss = false;
  // Payloads of saved rounds stay, so that the whole run can be computed again. The database then grows by every
  // update.
  bool keep_payloads = false;
  // How long a write waits for another program that has locked the database, before it is Unavailable.
  absl::Duration patience = absl::Seconds(1);
};

// Updates of up to 10^9 bytes (SQLite's limit for a value).
// Errors, of the call and of the journal's methods, name path, action and what SQLite or the system said:
//   FailedPrecondition  another server has it open; another schema version; no journal of this library
//   PermissionDenied    the file cannot be opened, or others may write it
//   DataLoss            damaged
//   ResourceExhausted   disk full
//   Unavailable         locked by another program, input/output error
absl::StatusOr<std::unique_ptr<RoundJournal>> MakeSqliteJournal(const SqliteJournalOptions& options);

// SQL that gives one row (run, round, client, fault) for everything that must not be, so no rows for a sound journal:
// an update that counts in a round it is too old or too new for, a closed round whose `counted` is not the number of
// its updates, a client twice in one round, a gap between closed rounds, an update of somebody who never registered.
// That each (run, round, client) is there 0 or 1 times is the primary key of `inbox`.
inline constexpr std::string_view kSqliteAudit = R"sql(
SELECT run, round, client, 'counts in an earlier round than it was made for' AS fault FROM inbox WHERE counted_in < round
UNION ALL
SELECT run, counted_in, client, 'counts ' || count(*) || ' times in one round' FROM inbox
  GROUP BY run, counted_in, client HAVING count(*) > 1
UNION ALL
SELECT r.run, r.round, NULL, 'counted ' || r.counted || ', accepted ' || count(i.client)
  FROM rounds r LEFT JOIN inbox i ON i.run = r.run AND i.counted_in = r.round
  GROUP BY r.run, r.round HAVING r.counted <> count(i.client)
UNION ALL
SELECT i.run, i.counted_in, i.client, 'accepted beyond the open round' FROM inbox i
  WHERE i.counted_in > (SELECT count(*) FROM rounds r WHERE r.run = i.run)
UNION ALL
SELECT run, max(round), NULL, 'rounds are missing before it' FROM rounds GROUP BY run HAVING count(*) <> max(round) + 1
UNION ALL
SELECT i.run, i.round, i.client, 'sent by nobody who registered' FROM inbox i
  LEFT JOIN clients c ON c.run = i.run AND c.client = i.client AND c.incarnation >= i.incarnation WHERE c.client IS NULL
)sql";

// What kSqliteAudit finds in the journal at `path`, a line for each row: "run 00..07, round 3, client 5: counts 2 times
// in one round". Also while a server writes it. Errors as above; NotFound where there is no file.
absl::StatusOr<std::vector<std::string>> AuditSqliteJournal(const std::string& path);

}  // namespace laconic
