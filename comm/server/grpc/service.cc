// The reactors of gRPC's callback interface. They run on gRPC's few threads and never block: whatever needs the machine
// is posted to its thread, which answers by starting the next operation of the reactor. A reactor lives until OnDone,
// which cannot come before Finish; who calls Finish touches the reactor no more.
#include "comm/server/grpc/service.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "comm/server/grpc/call.h"
#include "comm/server/grpc/parameter_server.grpc.pb.h"
#include "comm/server/grpc/pull_call.h"
#include "comm/server/grpc/push_call.h"
#include "laconic/base/status.h"

namespace laconic::internal {

namespace {

// A call that is answered by one question to the machine: answer(RoundMachine&, now) -> absl::Status.
template <typename Answer>
grpc::ServerUnaryReactor* AnswerOnce(ServiceCore* core, Method method, grpc::CallbackServerContext* context,
                                     const v1::Caller& caller, Answer answer) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  auto ticket = std::make_shared<Ticket>();  // shared: a std::function is copied
  if (const absl::Status entered = ticket->Enter(core, context, caller.client()); !entered.ok()) {
    core->metrics().Count(method, entered.code());
    reactor->Finish(ToGrpc(entered));
    return reactor;
  }
  core->thread().Post([core, method, reactor, ticket = std::move(ticket), client = caller.client(),
                       answer = std::move(answer)](RoundMachine& machine, absl::Time now) mutable {
    absl::Status status = answer(machine, now);
    if (status.ok() && core->LosesReply(method, client)) status = LostReply();
    core->metrics().Count(method, status.code());
    ticket.reset();
    reactor->Finish(ToGrpc(status));
  });
  return reactor;
}

// Asks for work until there is some. The reply is put together from bytes, so that a broadcast in it is not copied.
class NextTaskCall : public grpc::ServerUnaryReactor, public WaitingCall {
 public:
  NextTaskCall(ServiceCore* core, grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
               grpc::ByteBuffer* reply)
      : core_(core), context_(context), reply_(reply) {
    if (!Parse(*request, &request_)) {
      End(absl::InvalidArgumentError("not a NextTaskRequest"));
      return;
    }
    if (const absl::Status entered = ticket_.Enter(core, context, request_.caller().client()); !entered.ok()) {
      End(entered);
      return;
    }
    give_up_ = core->clock().Now() + core->options().limits.long_poll;
    core->thread().Post([this](RoundMachine& machine, absl::Time now) {
      if (const auto until = Ask(machine, now, false); until.has_value()) core_->Wait(this, *until);
    });
  }

  std::optional<absl::Time> Ask(RoundMachine& machine, absl::Time now, bool last) override {
    const auto end = [&](const absl::Status& status) {
      End(status);
      return std::nullopt;
    };
    if (context_->IsCancelled()) return end(absl::CancelledError("the client has gone"));
    if (last) return end(absl::UnavailableError("the server is about to go"));
    const absl::StatusOr<Task> task = machine.NextTask(CallerOf(request_.caller()), request_.from_round(), now);
    if (!task.ok()) return end(task.status());
    v1::NextTaskReply reply;
    reply.set_round(task->round);
    std::shared_ptr<const PreparedBroadcast> broadcast;
    switch (task->kind) {
      case Task::Kind::kWork:
        reply.set_kind(v1::NextTaskReply::WORK);
        reply.set_time_left_ms(std::max<int64_t>(0, absl::ToInt64Milliseconds(task->until - now)));
        broadcast = Broadcast(machine, task->round, now);
        break;
      case Task::Kind::kFinished:
        reply.set_kind(v1::NextTaskReply::FINISHED);
        break;
      case Task::Kind::kWait:
        if (now < give_up_) return std::min(give_up_, std::max(task->until, now + kShortestWait));
        reply.set_kind(v1::NextTaskReply::WAIT);
    }
    reply.set_has_broadcast(broadcast != nullptr);
    *reply_ = WithBytesField(reply, v1::NextTaskReply::kBroadcastFieldNumber,
                             broadcast == nullptr ? grpc::Slice() : broadcast->bytes);
    return end(core_->LosesReply(Method::kNextTask, request_.caller().client()) ? LostReply() : absl::OkStatus());
  }

  void OnDone() override { delete this; }

 private:
  // Asked anew whenever the round changes; so seldom otherwise.
  static constexpr absl::Duration kShortestWait = absl::Milliseconds(10);

  ServiceCore* core_;
  grpc::CallbackServerContext* context_;
  grpc::ByteBuffer* reply_;
  v1::NextTaskRequest request_;
  Ticket ticket_;
  absl::Time give_up_;

  // What may come with the task; nothing if Pull has to tell.
  std::shared_ptr<const PreparedBroadcast> Broadcast(RoundMachine& machine, uint64_t round, absl::Time now) {
    if (!request_.wants_broadcast() || request_.known() > round) return nullptr;
    const absl::StatusOr<Pulled> pulled = machine.Pull(CallerOf(request_.caller()), round, request_.known(), now);
    if (!pulled.ok() || pulled->late || pulled->bytes.size() > kMaxPieceBytes) return nullptr;
    core_->metrics().sent_bytes += pulled->bytes.size();
    return core_->Prepare(round, request_.known(), pulled->bytes);
  }

  void End(const absl::Status& status) {
    core_->metrics().Count(Method::kNextTask, status.code());
    Finish(ToGrpc(status));
  }
};

using Callbacks = v1::ParameterServer::WithCallbackMethod_Register<
    v1::ParameterServer::WithRawCallbackMethod_NextTask<v1::ParameterServer::WithRawCallbackMethod_Pull<
        v1::ParameterServer::WithCallbackMethod_Push<v1::ParameterServer::WithCallbackMethod_Heartbeat<
            v1::ParameterServer::WithCallbackMethod_Status<v1::ParameterServer::Service>>>>>>;

class Service : public Callbacks {
 public:
  explicit Service(ServiceCore* core) : core_(core) {}

  grpc::ServerUnaryReactor* Register(grpc::CallbackServerContext* context, const v1::RegisterRequest* request,
                                     v1::RegisterReply* reply) override {
    return AnswerOnce(core_, Method::kRegister, context, request->caller(),
                      [request, reply](RoundMachine& machine, absl::Time now) -> absl::Status {
                        LACONIC_ASSIGN_OR_RETURN(const Registration registration,
                                                 machine.Register(CallerOf(request->caller()), now));
                        reply->set_run(registration.run.id);
                        reply->set_description(registration.run.description);
                        reply->set_clients(registration.run.clients);
                        reply->set_rounds(registration.run.rounds);
                        reply->set_open_round(registration.open_round);
                        reply->set_max_update_bytes(machine.options().rules.max_update_bytes);
                        if (const auto& accepted = registration.last_accepted; accepted.has_value()) {
                          reply->set_has_accepted(true);
                          reply->set_accepted_round(accepted->round);
                          reply->set_accepted_digest(accepted->digest);
                        }
                        return absl::OkStatus();
                      });
  }

  grpc::ServerUnaryReactor* NextTask(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* reply) override {
    return new NextTaskCall(core_, context, request, reply);
  }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Pull(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* request) override {
    return new PullCall(core_, context, request);
  }

  grpc::ServerBidiReactor<v1::PushMessage, v1::PushReply>* Push(grpc::CallbackServerContext* context) override {
    return new PushCall(core_, context);
  }

  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* context, const v1::HeartbeatRequest* request,
                                      v1::HeartbeatReply* reply) override {
    return AnswerOnce(core_, Method::kHeartbeat, context, request->caller(),
                      [request, reply](RoundMachine& machine, absl::Time now) -> absl::Status {
                        LACONIC_RETURN_IF_ERROR(machine.Heartbeat(CallerOf(request->caller()), now));
                        reply->set_open_round(machine.open_round());
                        return absl::OkStatus();
                      });
  }

  grpc::ServerUnaryReactor* Status(grpc::CallbackServerContext* context, const v1::StatusRequest* request,
                                   v1::StatusReply* reply) override {
    const MachineSnapshot machine =
        core_->metrics().machine();  // without asking the machine, which may be busy closing
    const RunInfo& run = core_->run();
    reply->set_run(run.id);
    reply->set_description(run.description);
    reply->set_clients(run.clients);
    reply->set_rounds(run.rounds);
    reply->set_open_round(machine.open_round);
    reply->set_participants(machine.participants);
    reply->set_accepted(machine.accepted);
    if (!machine.failure.ok()) reply->set_failure(machine.failure.ToString());
    core_->metrics().Count(Method::kStatus, absl::StatusCode::kOk);
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  ServiceCore* core_;
};

// What generated code would make of the service of health.proto, whose messages are in parameter_server.proto.
class HealthService : public grpc::Service {
 public:
  explicit HealthService(ServiceCore* core) : core_(core) {
    using Handler = grpc::internal::CallbackUnaryHandler<v1::HealthCheckRequest, v1::HealthCheckResponse>;
    AddMethod(new grpc::internal::RpcServiceMethod("/grpc.health.v1.Health/Check",
                                                   grpc::internal::RpcMethod::NORMAL_RPC, nullptr));
    MarkMethodCallback(
        0, new Handler([this](grpc::CallbackServerContext* context, const v1::HealthCheckRequest* request,
                              v1::HealthCheckResponse* response) { return Check(context, *request, response); }));
  }

 private:
  ServiceCore* core_;

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context, const v1::HealthCheckRequest& request,
                                  v1::HealthCheckResponse* response) const {
    const bool is_known = request.service().empty() || request.service() == v1::ParameterServer::service_full_name();
    response->set_status(core_->metrics().machine().failure.ok() ? v1::HealthCheckResponse::SERVING
                                                                 : v1::HealthCheckResponse::NOT_SERVING);
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(is_known ? grpc::Status::OK : grpc::Status(grpc::StatusCode::NOT_FOUND, "no such service here"));
    return reactor;
  }
};

}  // namespace

std::shared_ptr<const PreparedBroadcast> ServiceCore::Prepare(uint64_t round, uint64_t known,
                                                              std::span<const std::byte> bytes) {
  constexpr size_t kKept = 4;  // clients that were present in the last rounds know one of few broadcasts
  std::erase_if(broadcasts_, [round](const Cached& cached) { return cached.round != round; });
  for (const Cached& cached : broadcasts_) {
    if (cached.known == known) return cached.broadcast;
  }
  if (broadcasts_.size() == kKept) broadcasts_.pop_front();
  broadcasts_.push_back({round, known, std::make_shared<const PreparedBroadcast>(Prepared(bytes))});
  return broadcasts_.back().broadcast;
}

std::unique_ptr<grpc::Service> MakeHealthService(ServiceCore* core) { return std::make_unique<HealthService>(core); }

std::unique_ptr<grpc::Service> MakeService(ServiceCore* core) { return std::make_unique<Service>(core); }

}  // namespace laconic::internal
