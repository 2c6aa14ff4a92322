// The round machine's beginning: rules that can work, and a run taken up from its journal.
#include "laconic/comm/server/round_machine.h"

#include <fmt/format.h>

#include <utility>

#include "laconic/base/status.h"

namespace laconic {
namespace {

absl::Status Validate(const MachineOptions& options) {
  const auto& [run, rules, on_event] = options;
  if (run.id == 0) return absl::InvalidArgumentError("run 0: a run's id must not be 0, which stands for any run");
  if (run.clients == 0) return absl::InvalidArgumentError("a run needs at least 1 client, not 0");
  if (rules.quorum < 1 || rules.quorum > run.clients) {
    return absl::InvalidArgumentError(
        fmt::format("quorum {}: must be between 1 and the run's {} clients", rules.quorum, run.clients));
  }
  if (rules.enough != 0 && rules.enough < rules.quorum) {
    return absl::InvalidArgumentError(
        fmt::format("enough = {} updates is less than the quorum of {}", rules.enough, rules.quorum));
  }
  if (rules.start_clients > run.clients) {
    return absl::InvalidArgumentError(
        fmt::format("start_clients {}: the run has {} clients", rules.start_clients, run.clients));
  }
  if (rules.deadline <= absl::ZeroDuration() || rules.upload_timeout <= absl::ZeroDuration() ||
      rules.silence <= absl::ZeroDuration() || rules.retry_after <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("deadline, upload_timeout, silence and retry_after must be above 0");
  }
  if (rules.max_bytes_in_flight < rules.max_update_bytes) {
    return absl::InvalidArgumentError(fmt::format("max_bytes_in_flight {} has no room for one update of {} bytes",
                                                  rules.max_bytes_in_flight, rules.max_update_bytes));
  }
  if (rules.max_in_flight_per_client == 0)
    return absl::InvalidArgumentError("max_in_flight_per_client must be above 0");
  if (rules.save_every == 0) return absl::InvalidArgumentError("save_every must be above 0");
  return absl::OkStatus();
}

std::vector<RoundUpdate> ViewsOf(std::span<const AcceptedUpdate> updates) {
  std::vector<RoundUpdate> views;
  views.reserve(updates.size());
  for (const AcceptedUpdate& update : updates) views.push_back({update.client, update.round, update.bytes});
  return views;
}

}  // namespace

bool IsRetriable(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnavailable:
      return true;
    default:
      return false;
  }
}

RoundMachine::RoundMachine(MachineOptions options, RoundWork* work, RoundJournal* journal)
    : options_(std::move(options)), work_(work), journal_(journal), clients_(options_.run.clients) {}

RoundMachine::~RoundMachine() = default;

absl::StatusOr<std::unique_ptr<RoundMachine>> RoundMachine::Create(MachineOptions options, RoundWork* work,
                                                                   RoundJournal* journal, absl::Time now) {
  LACONIC_RETURN_IF_ERROR(Validate(options));
  std::unique_ptr<RoundMachine> machine(new RoundMachine(std::move(options), work, journal));
  LACONIC_RETURN_IF_ERROR(machine->Recover(now));
  return machine;
}

absl::Status RoundMachine::Recover(absl::Time now) {
  LACONIC_ASSIGN_OR_RETURN(RecoveredRun run, journal_->Open(options_.run, now));
  for (Client& client : clients_) client.seen = now;
  for (const ClientRecord& record : run.clients) {
    if (record.client >= clients_.size()) {
      return absl::DataLossError(fmt::format("the journal of run {:016x} has client {}, the run has {}",
                                             options_.run.id, record.client, clients_.size()));
    }
    clients_[record.client].incarnation = record.incarnation;
    clients_[record.client].last_accepted = record.last_accepted;
  }
  for (const std::string& warning : run.warnings) Report(RoundEvent::Kind::kRecovered, warning);

  if (run.state.has_value()) {
    LACONIC_RETURN_IF_ERROR(Annotate(work_->Load(StateReader(&*run.state)),
                                     fmt::format("loading the state after {} rounds", run.saved_rounds)));
    run.state.reset();
  }
  // What was closed since that state was saved is closed again, with the same updates.
  std::span<AcceptedUpdate> rest = run.updates;
  for (uint64_t round = run.saved_rounds; round < run.closed_rounds; ++round) {
    size_t counted = 0;
    while (counted < rest.size() && rest[counted].counted_in == round) ++counted;
    LACONIC_RETURN_IF_ERROR(
        Annotate(work_->Close(round, ViewsOf(rest.first(counted))), fmt::format("closing round {} again", round)));
    rest = rest.subspan(counted);
  }

  counters_ = run.counters;
  open_round_ = run.closed_rounds;
  for (AcceptedUpdate& update : rest) {
    ++counters_[Counter::kAccepted];
    counters_[Counter::kAcceptedBytes] += update.bytes.size();
    accepted_.emplace(update.client, std::move(update));
  }
  if (run.closed_rounds > 0 || !run.clients.empty()) {
    Report(RoundEvent::Kind::kRecovered,
           fmt::format("run {:016x} taken up at round {}: {} rounds closed again, {} updates accepted in the open one",
                       options_.run.id, open_round_, run.closed_rounds - run.saved_rounds, accepted_.size()));
  }
  deadline_ = now + options_.rules.deadline;  // to start, where clients are still waited for
  started_ = open_round_ > 0;
  if (started_ && !finished()) OpenRound(now);
  Tick(now);
  return absl::OkStatus();
}

std::vector<RoundMachine::Liveness> RoundMachine::Clients(absl::Time now) const {
  std::vector<Liveness> all;
  all.reserve(clients_.size());
  for (uint32_t client = 0; client < clients_.size(); ++client) {
    const Client& c = clients_[client];
    all.push_back({client, c.incarnation != 0, now - c.seen, c.in_flight});
  }
  return all;
}

absl::Status RoundMachine::JournalError(const absl::Status& status) {
  ++counters_[Counter::kJournalErrors];
  Report(RoundEvent::Kind::kJournalError, status.ToString());
  // A write that failed may turn up after a crash all the same. So nobody may take it for refused: they ask again.
  return IsRetriable(status) ? status : absl::UnavailableError(status.ToString());
}

void RoundMachine::Report(RoundEvent::Kind kind, std::string text) const {
  if (options_.on_event) options_.on_event({kind, open_round_, std::move(text)});
}

}  // namespace laconic
