// The rounds of a parameter server: one state machine behind synchronous workers, workers of bounded staleness, and
// federated rounds with partial participation.
//
// It guarantees, under any loss, repetition, delay and reordering of requests and replies and any crash of the server
// or of clients: each (round, client) counts 0 or 1 times; what was acknowledged counts; who counted, and nothing else,
// decides the model's bits. docs/design.md ("Parameter server") has states and transitions, docs/reliability.md the
// faults.
//
// A client's part of the bargain:
//   1. Register, with an incarnation above all it had before (say, microseconds since 1970 at the start of the
//      process). A client that keeps state over restarts compares Registration::last_accepted with the (round, digest)
//      of the update it was sending when it stopped: equal means commit what that update made of its state, else drop.
//   2. NextTask until there is work for round r; Pull; make the update once, keep its bytes.
//   3. Admit, Push; after no answer, or a retriable error (IsRetriable below), again from Admit with the same bytes.
//      kAccepted and kAlreadyAccepted: commit. kLate and InvalidArgument, which refuse the update for good: drop. Never
//      either before the answer. Any other error is about the client, not the update: stop, keep what was kept for the
//      update; step 1 settles it when the client starts again.
//   4. NextTask(r + 1).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "laconic/comm/server/counters.h"
#include "laconic/comm/server/journal.h"
#include "laconic/comm/server/round_work.h"

namespace laconic {

struct RoundRules {
  // A round closes when every participant is done with it (its update is accepted or was refused, it has moved on, or
  // has been silent for `silence`), once `enough` updates are accepted, and at the deadline; each time with at least
  // `quorum` updates, or all participants where those are fewer. A deadline without quorum extends the round by another
  // one; after max_extensions of them in a row the run fails and says whom it waited for.
  uint32_t quorum = 1;
  uint32_t enough = 0;  // 0: nothing is enough. quorum = enough = 1 with staleness is asynchronous SGD
  absl::Duration deadline = absl::Minutes(1);  // from the round's opening
  uint32_t max_extensions = 10;
  absl::Duration silence = absl::InfiniteDuration();
  // Round 0 opens when so many clients have registered; deadlines and extensions count for this wait too.
  uint32_t start_clients = 0;
  // An update made for round r counts in the open round t while t - r <= staleness, at most one of each client in a
  // round.
  uint64_t staleness = 0;

  uint64_t max_update_bytes = uint64_t{64} << 20;
  uint64_t max_bytes_in_flight = uint64_t{256} << 20;  // admitted and not yet pushed, all clients together
  uint32_t max_in_flight_per_client = 2;               // admissions
  absl::Duration upload_timeout = absl::Minutes(1);    // from Admit to Push
  absl::Duration retry_after =
      absl::Milliseconds(100);  // what the busy are told, and when a failed write is tried again
  uint64_t save_every = 1;  // closes from one saved state to the next; what lies between is made again after a crash
};

// Who sends a request. `client` must be what the caller's certificate says: the service checks that, nobody else.
struct Caller {
  uint64_t run = 0;
  uint32_t client = 0;
  uint64_t incarnation = 0;
};

struct Registration {
  RunInfo run;
  uint64_t open_round = 0;  // = run.rounds: finished
  std::optional<ClientRecord::Accepted> last_accepted;
};

struct Task {
  enum class Kind {
    kWork,      // pull `round` and push an update for it
    kWait,      // nothing now: ask again when the round changes (open_round()), at the latest `until`
    kFinished,  // all rounds are closed
  };
  Kind kind = Kind::kWait;
  uint64_t round = 0;  // the open one
  absl::Time until;    // kWork: the round's deadline, which may be extended
};

struct Pulled {
  bool late = false;                 // the round is closed: ask for the next task
  std::span<const std::byte> bytes;  // valid until the next call of the machine
};

struct Admission {
  enum class Kind { kSend, kAlreadyAccepted, kLate, kBusy };
  Kind kind = Kind::kBusy;
  uint64_t reservation = 0;    // kSend; never 0, never given twice by one machine
  absl::Duration retry_after;  // kBusy
};

enum class PushOutcome { kAccepted, kAlreadyAccepted, kLate };

struct PushRequest {
  Caller caller;
  uint64_t reservation = 0;
  std::vector<std::byte> bytes;  // taken (moved from) if accepted
};

// For a log: what happened, in words.
struct RoundEvent {
  enum class Kind { kRecovered, kOpened, kClosed, kExtended, kReplaced, kRefused, kJournalError, kFinished, kFailed };
  Kind kind;
  uint64_t round;
  std::string text;  // "round 7 extended: 3 of 10 updates, quorum 5; waiting for clients 1, 4, 9"
};

struct MachineOptions {
  RunInfo run;
  RoundRules rules;
  std::function<void(const RoundEvent&)> on_event;  // may be empty; must not call the machine
};

// Whether a client should send the same bytes again, from Admit: Aborted (the upload expired, was cancelled, or the
// server restarted meanwhile), DataLoss (bytes changed on their way), ResourceExhausted, Unavailable, DeadlineExceeded
// and Cancelled (the call did not get through).
bool IsRetriable(const absl::Status& status);

// One thread at a time: the service serialises. Time comes in as an argument, and may be any clock that does not go
// back; randomness nowhere. O(clients) memory, and the updates accepted in the open round.
//
// Every request is refused, without effect, with
//   FailedPrecondition  it is of another run; its client has not registered, or a newer incarnation has replaced it
//   NotFound            client >= clients
// Errors name client and round, what was expected and what was found. Once the run has failed every request but Cancel
// gives failure().
class RoundMachine {
 public:
  // Opens the run in the journal and goes on where it stood: Load, the closes since the saved state, the accepted
  // updates of the open round, whose deadline counts anew from `now`. work and journal must outlive the machine.
  // Errors: InvalidArgument for rules that cannot work; the journal's, and those of Load and Close.
  static absl::StatusOr<std::unique_ptr<RoundMachine>> Create(MachineOptions options, RoundWork* work,
                                                              RoundJournal* journal, absl::Time now);
  ~RoundMachine();

  // Higher incarnations replace lower ones, whose reservations are cancelled and whose requests are refused from then
  // on, also after a restart; the same one again has no effect. caller.run may be 0: whatever run this is.
  // Errors: FailedPrecondition for a lower incarnation; the journal's. Waits for the journal.
  absl::StatusOr<Registration> Register(const Caller& caller, absl::Time now);

  // What to do next. from_round: the client is done with all rounds before this one, which are not waited for any more.
  // Errors: FailedPrecondition if it is past the round after the open one, which is another history than this server's.
  absl::StatusOr<Task> NextTask(const Caller& caller, uint64_t from_round, absl::Time now);

  // The broadcast of the open round, for a client that last received that of round known - 1 (0: none).
  // Errors: FailedPrecondition if the round is not open yet, the client is no participant of it, or known > round;
  // Unavailable while a close waits for the journal; Internal where RoundWork fails.
  absl::StatusOr<Pulled> Pull(const Caller& caller, uint64_t round, uint64_t known, absl::Time now);

  // Before the upload of an update of `update_bytes` bytes with this digest (Hash64) for `round`: reserves room.
  // Errors: FailedPrecondition for a round that is not open yet, one the client is no participant of, an update for
  // `round` that differs from the accepted one, and a second update in one open round (staleness); InvalidArgument for
  // more bytes than the rules allow, and for a round in which the client's update was refused or that it is done with.
  absl::StatusOr<Admission> Admit(const Caller& caller, uint64_t round, uint64_t update_bytes, uint64_t digest,
                                  absl::Time now);

  // The update itself; spends the reservation whatever comes of it. kAccepted only once the journal has it.
  // Errors, besides those of Admit: Aborted for a reservation that is not, or no more, this caller's (a repeated Push
  // gets that, and hears kAlreadyAccepted when it admits again); DataLoss for bytes that are not the ones admitted;
  // InvalidArgument for what RoundWork::Check refuses; ResourceExhausted and Unavailable when the journal cannot write.
  absl::StatusOr<PushOutcome> Push(const Caller& caller, uint64_t reservation, std::vector<std::byte> bytes,
                                   absl::Time now);
  // Many at once, in one write of the journal; outcomes in their order. Its error is that of all that it would have
  // taken.
  std::vector<absl::StatusOr<PushOutcome>> PushMany(std::span<PushRequest> requests, absl::Time now);

  // The upload broke off. No effect for a reservation that is not this caller's.
  void Cancel(const Caller& caller, uint64_t reservation);

  absl::Status Heartbeat(const Caller& caller, absl::Time now);

  // Closes and opens rounds, ends uploads that take too long, repeats writes that failed: only here does time pass.
  // Call it after requests and at the time it gave back, which is when something may be due at the latest
  // (InfiniteFuture: nothing will). Cheap when nothing is due.
  absl::Time Tick(absl::Time now);

  uint64_t open_round() const { return open_round_; }  // = rounds: finished
  bool started() const { return started_; }            // round 0 is open, or was: start_clients have registered
  bool finished() const { return open_round_ == options_.run.rounds; }
  // OK unless the run cannot go on; then FailedPrecondition, with the round and the cause in words.
  const absl::Status& failure() const { return failure_; }
  const MachineOptions& options() const { return options_; }
  const Counters& counters() const { return counters_; }
  // How the open round stands.
  uint32_t participants() const { return static_cast<uint32_t>(participants_.size()); }
  uint32_t accepted() const { return static_cast<uint32_t>(accepted_.size()); }
  absl::Time deadline() const { return deadline_; }
  uint64_t bytes_in_flight() const { return bytes_in_flight_; }
  size_t reservations() const { return reservations_.size(); }
  absl::Duration last_round_duration() const { return last_round_duration_; }

  struct Liveness {
    uint32_t client = 0;
    bool registered = false;
    absl::Duration silent;   // since its last request, or since this machine was made
    uint32_t in_flight = 0;  // admissions not yet pushed
  };
  std::vector<Liveness> Clients(absl::Time now) const;  // all, ascending

 private:
  struct Client {
    uint64_t incarnation = 0;  // 0: never registered
    std::optional<ClientRecord::Accepted> last_accepted;
    uint64_t from_round = 0;  // done with all before it
    absl::Time seen;
    uint32_t in_flight = 0;
  };
  struct Reservation {
    uint32_t client = 0;
    uint64_t round = 0;
    uint64_t update_bytes = 0;
    uint64_t digest = 0;
    absl::Time expires;
  };
  // A round that RoundWork has closed and the journal has not: nothing else happens until it has.
  struct UnwrittenClose {
    ClosedRound closed;
    std::optional<StateArchive> state;
    absl::Time retry_at, give_up_at;
  };

  enum class Standing { kWanted, kAlreadyAccepted, kLate };  // of one client's update for one round

  RoundMachine(MachineOptions options, RoundWork* work, RoundJournal* journal);
  absl::Status Recover(absl::Time now);

  // round_requests.cc
  absl::StatusOr<Client*> Admitted(const Caller& caller, absl::Time now);  // who asks, if they may ask at all
  absl::Status Refuse(Counter counter, absl::Status status);               // counts it, says it in the log
  bool IsParticipant(uint32_t client, uint64_t round) const;

  // round_uploads.cc
  absl::StatusOr<Standing> StandingOf(uint32_t client, uint64_t round, uint64_t digest);
  absl::StatusOr<PushOutcome> Examine(PushRequest& request, std::vector<AcceptedUpdate>& taken, absl::Time now);
  absl::Status WriteTaken(std::vector<AcceptedUpdate> taken);
  void Release(std::map<uint64_t, Reservation>::iterator reservation);
  absl::Time ExpireUploads(absl::Time now);

  // round_clock.cc
  bool IsDone(uint32_t participant, absl::Time now) const;
  bool MayClose(absl::Time now) const;
  void OpenRound(absl::Time now);
  void CloseRound(absl::Time now);
  bool WriteClose(absl::Time now);
  void Extend(absl::Time now);
  void Fail(const absl::Status& cause);
  std::string Progress(absl::Time now) const;  // "3 of 10 updates, quorum 5; waiting for clients 1, 4, 9"
  absl::Time NextDue(absl::Time now) const;
  absl::Status JournalError(const absl::Status& status);
  void Report(RoundEvent::Kind kind, std::string text) const;

  MachineOptions options_;
  RoundWork* work_;
  RoundJournal* journal_;
  Counters counters_;
  absl::Status failure_;
  std::vector<Client> clients_;

  uint64_t open_round_ = 0;
  bool started_ = false;                         // round 0 is open: start_clients have registered
  std::vector<uint32_t> participants_;           // of the open round, ascending
  std::map<uint32_t, AcceptedUpdate> accepted_;  // in the open round, by client
  absl::Time opened_, deadline_;
  uint32_t extensions_ = 0;
  absl::Duration last_round_duration_;
  std::optional<UnwrittenClose> unwritten_;

  std::map<uint64_t, Reservation> reservations_;
  uint64_t next_reservation_ = 1;
  uint64_t bytes_in_flight_ = 0;
};

}  // namespace laconic
