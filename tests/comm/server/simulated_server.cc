#include "tests/comm/server/simulated_server.h"

#include <fmt/format.h>

#include <algorithm>

#include "laconic/base/status.h"

namespace laconic {

// A journal with the faults of Mutation, and none otherwise.
class SimulatedServer::MutatedJournal : public RoundJournal {
 public:
  MutatedJournal(Mutation mutation, std::unique_ptr<RoundJournal> inner)
      : mutation_(mutation), inner_(std::move(inner)) {}

  absl::StatusOr<RecoveredRun> Open(const RunInfo& run, absl::Time now) override {
    auto recovered = inner_->Open(run, now);
    if (recovered.ok()) {
      for (const ClientRecord& client : recovered->clients) registered_.insert(client.client);
    }
    return recovered;
  }
  absl::Status RegisterClient(uint32_t client, uint64_t incarnation, absl::Time now) override {
    if (!registered_.insert(client).second && mutation_ == Mutation::kForgetIncarnations) return absl::OkStatus();
    return inner_->RegisterClient(client, incarnation, now);
  }
  absl::Status Accept(std::span<const AcceptedUpdate> updates) override {
    if (mutation_ == Mutation::kAcknowledgeUnwritten) {
      unwritten_.insert(unwritten_.end(), updates.begin(), updates.end());
      return absl::OkStatus();
    }
    return inner_->Accept(updates);
  }
  absl::Status CloseRound(const ClosedRound& closed, const Counters& counters, const StateArchive* state) override {
    if (!unwritten_.empty()) {
      LACONIC_RETURN_IF_ERROR(inner_->Accept(unwritten_));
      unwritten_.clear();
    }
    if (state == nullptr || mutation_ != Mutation::kStateWithoutModel)
      return inner_->CloseRound(closed, counters, state);
    StateArchive other = *state;
    StateArchive fresh;
    StateWriter(&fresh).U64("model", 1);
    other.tensors["model"] = fresh.tensors["model"];
    return inner_->CloseRound(closed, counters, &other);
  }

 private:
  const Mutation mutation_;
  std::unique_ptr<RoundJournal> inner_;
  std::set<uint32_t> registered_;
  std::vector<AcceptedUpdate> unwritten_;
};

SimulatedServer::SimulatedServer(World* world, const std::vector<ClientDisk>* clients,
                                 std::function<void()> when_failed)
    : world_(world), clients_(clients), when_failed_(std::move(when_failed)), replay_(world->schedule.sampling) {}
SimulatedServer::~SimulatedServer() = default;

WriteFault SimulatedServer::FaultOfNextWrite() {
  if (!world_->chaos()) return WriteFault::kNone;
  const Schedule& schedule = world_->schedule;
  if (world_->chance.PerMille(schedule.crash_at_write)) crash_in_call_ = true;
  if (world_->chance.PerMille(schedule.write_torn)) {
    ++world_->result.torn_writes;
    return WriteFault::kFailsButMayHaveArrived;
  }
  return world_->chance.PerMille(schedule.write_fails) ? WriteFault::kFails : WriteFault::kNone;
}

void SimulatedServer::Start() {
  ++life_;
  work_ = std::make_unique<IntegerWork>(world_->schedule.sampling);
  journal_ = std::make_unique<MutatedJournal>(world_->mutation,
                                              MakeMemoryJournal(&disk_, [this] { return FaultOfNextWrite(); }));
  MachineOptions options = {.run = {.id = 1,
                                    .description = "integers",
                                    .clients = world_->schedule.sampling.clients,
                                    .rounds = world_->schedule.rounds},
                            .rules = world_->schedule.rules};
  if (world_->tracing()) {
    options.on_event = [this](const RoundEvent& event) { world_->Trace("server: " + event.text); };
  }
  auto machine = RoundMachine::Create(options, work_.get(), journal_.get(), world_->Time());
  if (!machine.ok()) return world_->Violated("the server does not come up again: " + machine.status().ToString());
  machine_ = *std::move(machine);
  AfterCall();
}

void SimulatedServer::Crash() {
  if (!up()) return;
  world_->Trace("server killed");
  world_->result.counters = machine_->counters();
  machine_.reset();
  journal_.reset();
  work_.reset();
  batch_.clear();
  crash_in_call_ = false;
  ++alarm_;
  ++world_->result.server_crashes;
  world_->In(static_cast<int64_t>(world_->chance.Between(10, 1500)), [this] { Start(); });
}

bool SimulatedServer::StillUp() {
  if (crash_in_call_) Crash();
  return up();
}

// What the service around the machine does after each request: lets time pass, and comes back when something is due.
void SimulatedServer::AfterCall() {
  if (!StillUp()) return;
  const int64_t due = world_->Milliseconds(machine_->Tick(world_->Time()));
  if (!StillUp()) return;
  CheckClosedRounds();
  if (machine_->finished()) over_ = true;
  if (!machine_->failure().ok()) {
    world_->result.failure = std::string(machine_->failure().message());
    const bool expected = world_->result.failure.find(" deadlines of ") != std::string::npos ||
                          world_->result.failure.find("as the test wants it") != std::string::npos;
    if (!expected) world_->Violated(world_->result.failure);
    if (++failures_ > 1) {
      over_ = true;
    } else {
      Crash();
      when_failed_();
    }
    return;
  }
  if (over_) return;
  world_->At(due, [this, alarm = ++alarm_] {
    if (alarm == alarm_ && up() && !over_) AfterCall();
  });
}

Reply SimulatedServer::Handle(const Request& request) {
  Reply reply;
  // The answer's value to where it belongs, or its error.
  const auto take = [&reply](auto answer, auto* value) {
    reply.status = answer.status();
    if (answer.ok()) *value = *std::move(answer);
  };
  const absl::Time now = world_->Time();
  switch (request.kind) {
    case Request::Kind::kRegister:
      take(machine_->Register(request.caller, now), &reply.registration);
      break;
    case Request::Kind::kNextTask:
      take(machine_->NextTask(request.caller, request.round, now), &reply.task);
      break;
    case Request::Kind::kPull: {
      Pulled pulled;
      take(machine_->Pull(request.caller, request.round, 0, now), &pulled);
      reply.late = pulled.late;
      if (pulled.bytes.size() == sizeof(reply.model))
        std::memcpy(&reply.model, pulled.bytes.data(), sizeof(reply.model));
      break;
    }
    case Request::Kind::kAdmit:
      take(machine_->Admit(request.caller, request.round, request.update_bytes, request.digest, now), &reply.admission);
      break;
    case Request::Kind::kPush:
      take(machine_->Push(request.caller, request.reservation, request.bytes, now), &reply.outcome);
      break;
    case Request::Kind::kHeartbeat:
      reply.status = machine_->Heartbeat(request.caller, now);
      break;
  }
  return reply;
}

void SimulatedServer::Receive(const Request& request, const Answer& answer) {
  if (!up()) return;
  if (request.kind == Request::Kind::kPush && world_->chance.PerMille(world_->schedule.batched)) {
    batch_.emplace_back(request, answer);
    if (batch_.size() > 1) return;
    return world_->In(static_cast<int64_t>(world_->chance.Between(1, 100)), [this, life = life_] {
      if (life == life_ && up()) Flush();
    });
  }
  const Reply reply = Handle(request);
  if (!StillUp()) return;
  Note(request, reply);
  answer(reply);
  AfterCall();
}

void SimulatedServer::Flush() {
  std::vector<PushRequest> pushes;
  for (const auto& [request, answer] : batch_) pushes.push_back({request.caller, request.reservation, request.bytes});
  const auto outcomes = machine_->PushMany(pushes, world_->Time());
  if (!StillUp()) return;
  for (size_t i = 0; i < batch_.size(); ++i) {
    Reply reply = {.status = outcomes[i].status()};
    if (outcomes[i].ok()) reply.outcome = *outcomes[i];
    Note(batch_[i].first, reply);
    batch_[i].second(reply);
  }
  batch_.clear();
  AfterCall();
}

// An acknowledged update is on the disk at that moment; one that is told to be late never gets there.
void SimulatedServer::Note(const Request& request, const Reply& reply) {
  if (!reply.status.ok()) return;
  bool accepted = false, late = false;
  uint64_t round = request.round;
  if (request.kind == Request::Kind::kAdmit) {
    accepted = reply.admission.kind == Admission::Kind::kAlreadyAccepted;
    late = reply.admission.kind == Admission::Kind::kLate;
  } else if (request.kind == Request::Kind::kPush) {
    accepted = reply.outcome != PushOutcome::kLate;
    late = !accepted;
    round = IntegerUpdate::Parse(request.bytes)->round;
  }
  if (accepted && !disk_.inbox.contains({round, request.caller.client})) {
    world_->Violated(fmt::format("client {} is told that round {} has its update, and the disk has not",
                                 request.caller.client, round));
  }
  if (late) told_late_.insert({round, request.caller.client});
  const RoundRules& rules = world_->schedule.rules;
  if ((machine_->reservations() == 0) != (machine_->bytes_in_flight() == 0) ||
      machine_->bytes_in_flight() > rules.max_bytes_in_flight ||
      machine_->reservations() > rules.max_in_flight_per_client * world_->schedule.sampling.clients) {
    world_->Violated(
        fmt::format("{} reservations hold {} bytes", machine_->reservations(), machine_->bytes_in_flight()));
  }
}

void SimulatedServer::CheckClosedRounds() {
  const bool more = replay_.closed_rounds() < disk_.rounds.size();
  while (replay_.closed_rounds() < disk_.rounds.size()) {
    for (const auto& [key, update] : disk_.inbox) {
      if (update.counted_in > update.round + world_->schedule.rules.staleness) {
        world_->Violated(fmt::format("client {}'s update for round {} counts in round {}", update.client, update.round,
                                     update.counted_in));
      }
    }
    const std::string wrong = replay_.Close(disk_);
    if (!wrong.empty()) world_->Violated(wrong);
    if (!world_->result.violation.empty()) {
      over_ = true;  // what follows would be about the replay's own confusion
      return;
    }
  }
  world_->result.closed_rounds = replay_.closed_rounds();
  // Between a close and its write the server is one ahead of its disk.
  if (work_->closed_rounds() == replay_.closed_rounds()) {
    if (work_->model() != replay_.model()) {
      world_->Violated(fmt::format("after {} rounds the model is not that of who counted", replay_.closed_rounds()));
    }
    if (work_->c() != replay_.c()) {
      world_->Violated(
          fmt::format("after {} rounds the server's c is not that of who counted", replay_.closed_rounds()));
    }
  }
  if (more) CheckClients();
}

// c = the sum of the c_i: a client has committed exactly what was counted of it, or will when it hears of it.
void SimulatedServer::CheckClients() {
  for (const auto& [key, update] : disk_.inbox) {
    if (update.counted_in >= replay_.closed_rounds()) return;  // some of it is not counted yet
  }
  for (uint32_t client = 0; client < clients_->size(); ++client) {
    const ClientDisk& disk = (*clients_)[client];
    Integers committed = disk.c;
    if (disk.pending.has_value()) {
      const auto found = disk_.inbox.find({disk.pending->round, client});
      if (found != disk_.inbox.end() && found->second.digest == disk.pending->digest)
        Add(committed, disk.pending->update.d);
    }
    if (committed == replay_.c()[client]) continue;
    world_->Violated(fmt::format("after {} rounds client {} has c = ({}), counted of it were ({})",
                                 replay_.closed_rounds(), client, fmt::join(committed, ", "),
                                 fmt::join(replay_.c()[client], ", ")));
  }
}

void SimulatedServer::CheckEnd() {
  if (!world_->result.violation.empty()) return;
  CheckClients();
  for (const auto& [round, client] : told_late_) {
    if (disk_.inbox.contains({round, client})) {
      world_->Violated(
          fmt::format("client {} was told that it is too late for round {}, where it counts", client, round));
    }
  }
  machine_->Tick(world_->Time() + world_->schedule.rules.upload_timeout);
  for (const RoundMachine::Liveness& client : machine_->Clients(world_->Time())) {
    if (client.in_flight != 0) world_->Violated(fmt::format("client {} still holds reservations", client.client));
  }
  if (machine_->reservations() != 0 || machine_->bytes_in_flight() != 0) {
    world_->Violated(fmt::format("{} reservations are left", machine_->reservations()));
  }
  world_->result.counters = machine_->counters();
  world_->result.finished = machine_->finished();
}

}  // namespace laconic
