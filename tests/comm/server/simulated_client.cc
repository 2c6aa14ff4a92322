#include "tests/comm/server/simulated_client.h"

#include <fmt/format.h>

#include "laconic/base/hash.h"

namespace laconic {
namespace {

constexpr int64_t kTimeout = 400;
constexpr int64_t kPause = 60;

}  // namespace

void SimulatedClient::Start() {
  ++mine_.incarnations;
  SaveToDisk();
  Register();
}

Request SimulatedClient::Make(Request::Kind kind) const {
  return {.kind = kind, .caller = {.run = 1, .client = client_, .incarnation = mine_.incarnations}};
}

void SimulatedClient::Ask(const Request& request, std::function<void(const Reply&)> then) {
  const uint64_t number = ++request_;
  call_(request, [this, number, then](const Reply& reply) {
    if (!alive_ || number != request_) return;
    ++request_;
    then(reply);
  });
  // No answer in time: a push starts over with its admission, anything else is asked again.
  world_->In(kTimeout, [this, number, request, then] {
    if (!alive_ || number != request_) return;
    request.kind == Request::Kind::kPush ? Admit() : Ask(request, then);
  });
}

void SimulatedClient::Later(int64_t ms, void (SimulatedClient::*step)()) {
  const uint64_t number = ++request_;
  world_->In(ms, [this, number, step] {
    if (alive_ && number == request_) (this->*step)();
  });
}

void SimulatedClient::Stop(const absl::Status& why) {
  if (world_->tracing()) world_->Trace(fmt::format("client {} stops: {}", client_, why.ToString()));
  stopped_ = true;
  alive_ = false;
}

void SimulatedClient::Register() {
  Ask(Make(Request::Kind::kRegister), [this](const Reply& reply) {
    if (!reply.status.ok())
      return IsRetriable(reply.status) ? Later(kPause, &SimulatedClient::Register) : Stop(reply.status);
    if (!mine_.pending.has_value()) return NextTask();
    const ClientRecord::Accepted pending = {mine_.pending->round, mine_.pending->digest};
    Settle(world_->mutation != Mutation::kForgetAtRestart && reply.registration.last_accepted == pending);
  });
}

void SimulatedClient::NextTask() {
  Request request = Make(Request::Kind::kNextTask);
  request.round = from_round_;
  Ask(request, [this](const Reply& reply) {
    if (!reply.status.ok())
      return IsRetriable(reply.status) ? Later(kPause, &SimulatedClient::NextTask) : Stop(reply.status);
    switch (reply.task.kind) {
      case Task::Kind::kWork:
        return Pull(reply.task.round);
      case Task::Kind::kWait:
        return Later(200, &SimulatedClient::NextTask);
      case Task::Kind::kFinished:
        finished_ = true;
        alive_ = false;
    }
  });
}

void SimulatedClient::Pull(uint64_t round) {
  Request request = Make(Request::Kind::kPull);
  request.round = round;
  Ask(request, [this, round](const Reply& reply) {
    if (!reply.status.ok())
      return IsRetriable(reply.status) ? Later(kPause, &SimulatedClient::NextTask) : Stop(reply.status);
    if (reply.late) return NextTask();
    // What cannot be written down before it is sent must not be sent.
    if (disk_ == nullptr) return Stop(absl::UnavailableError("the state is another process's now"));
    const IntegerUpdate update = IntegerUpdate::Make(client_, round, reply.model, mine_.c);
    mine_.pending = {round, update, Hash64(update.Bytes())};
    attempt_ = 0;
    SaveToDisk();  // a crash from here on is settled by Register
    call_(Make(Request::Kind::kHeartbeat), [](const Reply&) {});
    // Local steps take a while.
    Later(static_cast<int64_t>(world_->chance.Between(1, 80)), &SimulatedClient::Admit);
  });
}

void SimulatedClient::Admit() {
  if (world_->mutation == Mutation::kOtherUpdateOnRetry && attempt_++ > 0) {
    mine_.pending->update.d[1] += 1;
    mine_.pending->digest = Hash64(mine_.pending->update.Bytes());
  }
  Request request = Make(Request::Kind::kAdmit);
  request.round = mine_.pending->round;
  request.update_bytes = mine_.pending->update.Bytes().size();
  request.digest = mine_.pending->digest;
  Ask(request, [this](const Reply& reply) {
    if (reply.status.code() == absl::StatusCode::kInvalidArgument) return Settle(false);
    if (!reply.status.ok())
      return IsRetriable(reply.status) ? Later(kPause, &SimulatedClient::Admit) : Stop(reply.status);
    switch (reply.admission.kind) {
      case Admission::Kind::kSend:
        return Push(reply.admission.reservation);
      case Admission::Kind::kAlreadyAccepted:
        return Settle(true);
      case Admission::Kind::kLate:
        return Settle(world_->mutation == Mutation::kCommitWhenLate);
      case Admission::Kind::kBusy:
        return Later(absl::ToInt64Milliseconds(reply.admission.retry_after), &SimulatedClient::Admit);
    }
  });
}

void SimulatedClient::Push(uint64_t reservation) {
  Request request = Make(Request::Kind::kPush);
  request.reservation = reservation;
  request.bytes = mine_.pending->update.Bytes();
  if (world_->chaos() && world_->chance.PerMille(20)) request.bytes[5] ^= std::byte{1};  // on its way
  if (world_->mutation == Mutation::kCommitBeforeAnswer && attempt_++ == 0) {
    Add(mine_.c, mine_.pending->update.d);
    SaveToDisk();
  }
  Ask(request, [this](const Reply& reply) {
    if (reply.status.code() == absl::StatusCode::kInvalidArgument) return Settle(false);
    if (!reply.status.ok())
      return IsRetriable(reply.status) ? Later(kPause, &SimulatedClient::Admit) : Stop(reply.status);
    Settle(reply.outcome != PushOutcome::kLate || world_->mutation == Mutation::kCommitWhenLate);
  });
}

// What became of the pending update is known: the state moves, or it does not.
void SimulatedClient::Settle(bool commit) {
  if (commit && world_->mutation != Mutation::kCommitBeforeAnswer) Add(mine_.c, mine_.pending->update.d);
  if (world_->tracing()) {
    world_->Trace(fmt::format("client {} {} its update for round {}", client_, commit ? "commits" : "drops",
                              mine_.pending->round));
  }
  from_round_ = mine_.pending->round + 1;
  mine_.pending.reset();
  SaveToDisk();
  NextTask();
}

}  // namespace laconic
