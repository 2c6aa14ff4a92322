// The durable log of a parameter server's run: written before anything is acknowledged, read once, after a restart.
//
// What it holds is enough to be the same server again: the state after some closed round, every update accepted since,
// which round each of them counts in, and who the clients are. sqlite_journal.h is the real one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "laconic/base/state.h"
#include "laconic/comm/server/counters.h"

namespace laconic {

// Which run it is. A value.
struct RunInfo {
  uint64_t id = 0;          // tells runs apart: every request names it. Not 0
  std::string description;  // everything that must be the same after a restart, as text: model, method, seed, rules
  uint32_t clients = 0;     // N: clients are 0 .. N - 1
  uint64_t rounds = 0;      // the run ends after so many
};

// An update that the server has taken. `round` is the one it was made for, `counted_in` the one in whose close it takes
// part: the same without staleness.
struct AcceptedUpdate {
  uint64_t round = 0;
  uint32_t client = 0;
  uint64_t counted_in = 0;
  uint64_t incarnation = 0;  // of the client that sent it
  uint64_t digest = 0;       // Hash64 of the bytes
  absl::Time accepted;
  std::vector<std::byte> bytes;
};

// What a closed round came to.
struct ClosedRound {
  uint64_t round = 0;
  absl::Time opened, closed;
  uint32_t participants = 0;  // asked
  uint32_t counted = 0;       // updates that took part
  uint32_t extensions = 0;    // deadlines that passed without a quorum
};

// What the journal knows of one client.
struct ClientRecord {
  uint32_t client = 0;
  uint64_t incarnation = 0;
  struct Accepted {
    uint64_t round = 0;
    uint64_t digest = 0;
    bool operator==(const Accepted&) const = default;
  };
  std::optional<Accepted> last_accepted;  // the highest round of its updates, counted or about to be
};

// Everything needed to go on.
struct RecoveredRun {
  uint64_t closed_rounds = 0;           // rounds 0 .. closed_rounds - 1 are closed
  uint64_t saved_rounds = 0;            // `state` is that after so many of them; the closes since are made again
  std::optional<StateArchive> state;    // absent: the state to start from, saved_rounds = 0
  std::vector<AcceptedUpdate> updates;  // all with counted_in >= saved_rounds, ascending by (counted_in, client)
  std::vector<ClientRecord> clients;    // ascending; those that ever registered
  Counters counters;                    // as of the last close
  std::vector<std::string> warnings;    // what was found damaged and done without, for the log
};

// One thread at a time.
//
// A write is all or nothing, and has happened when it returned OK: it survives kill -9 of the process. On an error it
// has not happened for as long as this process lives: the caller acknowledges nothing and may write the same again. A
// process that dies after a failed write may find it done or not; both are right, since nobody was told.
// ResourceExhausted: no room left (disk full). Unavailable: another fault that may pass. Errors name what the journal
// lies in and what the system said.
class RoundJournal {
 public:
  virtual ~RoundJournal() = default;

  // Opens `run` in this journal, before any write: begins it where the journal has none of that id, else gives back
  // what it holds. FailedPrecondition where description, clients or rounds differ, naming both values; DataLoss where
  // what is there cannot be the log of a run.
  virtual absl::StatusOr<RecoveredRun> Open(const RunInfo& run, absl::Time now) = 0;

  // From now on `client` is this incarnation.
  virtual absl::Status RegisterClient(uint32_t client, uint64_t incarnation, absl::Time now) = 0;

  // Takes all of `updates`, or none. Each (round, client) is new.
  virtual absl::Status Accept(std::span<const AcceptedUpdate> updates) = 0;

  // Round `closed.round` is closed, with all updates accepted to count in it. state: what RoundWork saved after it, or
  // null where the rules save more seldom. Writing it again after an error is allowed.
  virtual absl::Status CloseRound(const ClosedRound& closed, const Counters& counters, const StateArchive* state) = 0;
};

}  // namespace laconic
