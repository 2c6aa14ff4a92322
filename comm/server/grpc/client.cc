#include "laconic/comm/server/client.h"

#include <fmt/core.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "comm/server/grpc/credentials.h"
#include "comm/server/grpc/grpc_status.h"
#include "comm/server/grpc/listener.h"
#include "comm/server/grpc/parameter_server.grpc.pb.h"
#include "laconic/base/hash.h"
#include "laconic/base/status.h"
#include "laconic/comm/server/limits.h"

namespace laconic {
namespace {

constexpr uint64_t kMaxBroadcastBytes = uint64_t{4} << 30;

bool IsLoopback(const std::string& server) {
  const auto address = internal::SocketAddress::Parse(server);
  return address.ok() && address->is_loopback;
}

// Codes that gRPC itself gives when a connection breaks under a call, besides those of IsRetriable. The machine gives
// none of them.
bool IsBrokenCall(const absl::Status& status) { return absl::IsInternal(status) || absl::IsUnknown(status); }

// The server's certificate is not for its name, or of no authority that is trusted. (That the server refuses this
// client's shows as a connection that breaks, like any other.)
bool IsRefusedCertificate(const absl::Status& status) {
  const std::string text(status.message());
  return absl::IsUnavailable(status) && (text.find("certificate verify failed") != std::string::npos ||
                                         text.find("not in peer certificate") != std::string::npos);
}

std::optional<absl::Duration> RetryAfter(const grpc::ClientContext& context) {
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto found = trailers.find(internal::kRetryAfterKey);
  int64_t milliseconds = 0;
  if (found == trailers.end()) return std::nullopt;
  for (const char digit : found->second) {
    if (digit < '0' || digit > '9' || milliseconds > 1'000'000) return std::nullopt;
    milliseconds = 10 * milliseconds + (digit - '0');
  }
  return absl::Milliseconds(milliseconds);
}

}  // namespace

class ServerClient::Impl {
 public:
  explicit Impl(ServerClientOptions options) : options_(std::move(options)) {
    grpc::ChannelArguments arguments;
    const auto milliseconds = [](absl::Duration value) { return static_cast<int>(absl::ToInt64Milliseconds(value)); };
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // several clients of one process: a connection each
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, milliseconds(options_.first_backoff));
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, milliseconds(options_.max_backoff));
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, milliseconds(options_.call_timeout));
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20000);  // notices a server that has vanished without a word
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
    arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1 << 20);  // a piece in one go
    arguments.SetMaxReceiveMessageSize(kMaxPieceBytes + 4096);
    if (!options_.server_name.empty()) arguments.SetSslTargetNameOverride(options_.server_name);
    channel_ = grpc::CreateCustomChannel(options_.server, internal::ChannelCredentials(options_.tls), arguments);
    stub_ = v1::ParameterServer::NewStub(channel_);
    caller_.set_client(options_.client);
    caller_.set_incarnation(options_.incarnation);
  }

  absl::StatusOr<Registration> Register() {
    v1::RegisterRequest request;
    v1::RegisterReply reply;
    *request.mutable_caller() = caller_;
    LACONIC_RETURN_IF_ERROR(Retry(
        {"register", std::nullopt, options_.connect_for, options_.call_timeout},
        [&](grpc::ClientContext& context) { return internal::FromGrpc(stub_->Register(&context, request, &reply)); }));
    caller_.set_run(reply.run());
    Registration registration = {.run = {.id = reply.run(),
                                         .description = reply.description(),
                                         .clients = reply.clients(),
                                         .rounds = reply.rounds()},
                                 .open_round = reply.open_round(),
                                 .last_accepted = std::nullopt};
    if (reply.has_accepted()) {
      registration.last_accepted = {.round = reply.accepted_round(), .digest = reply.accepted_digest()};
    }
    return registration;
  }

  absl::StatusOr<Task> NextTask(uint64_t from_round, absl::Duration limit) {
    const absl::Time begin = absl::Now();
    v1::NextTaskRequest request;
    *request.mutable_caller() = caller_;
    request.set_from_round(from_round);
    request.set_wants_broadcast(true);
    request.set_known(known_);
    came_along_.reset();
    while (true) {
      const absl::Duration left = limit - (absl::Now() - begin);
      if (left <= absl::ZeroDuration()) {
        return absl::DeadlineExceededError(fmt::format("{}: no work after {:.1f} s", Where("wait for work", from_round),
                                                       absl::ToDoubleSeconds(limit)));
      }
      v1::NextTaskReply reply;
      LACONIC_RETURN_IF_ERROR(
          Retry({"wait for work", from_round, std::min(left, options_.retry_for), options_.call_timeout},
                [&](grpc::ClientContext& context) {
                  return internal::FromGrpc(stub_->NextTask(&context, request, &reply));
                }));
      if (reply.kind() == v1::NextTaskReply::WORK) {
        if (reply.has_broadcast()) {
          came_along_ = {.round = reply.round(), .known = known_, .bytes = std::move(*reply.mutable_broadcast())};
          traffic_.bytes_received += came_along_->bytes.size();
        }
        return Task{.kind = Task::Kind::kWork,
                    .round = reply.round(),
                    .until = absl::Now() + absl::Milliseconds(reply.time_left_ms())};
      }
      if (reply.kind() == v1::NextTaskReply::FINISHED) {
        return Task{.kind = Task::Kind::kFinished, .round = reply.round(), .until = absl::InfiniteFuture()};
      }
    }
  }

  absl::StatusOr<bool> Pull(uint64_t round, uint64_t known, std::vector<std::byte>& broadcast) {
    bool is_late = false;
    if (came_along_.has_value() && came_along_->round == round && came_along_->known == known) {
      const auto bytes = std::as_bytes(std::span<const char>(came_along_->bytes));
      broadcast.assign(bytes.begin(), bytes.end());
    } else {
      v1::PullRequest request;
      *request.mutable_caller() = caller_;
      request.set_round(round);
      request.set_known(known);
      LACONIC_RETURN_IF_ERROR(
          Retry({"pull", round, options_.retry_for, options_.transfer_timeout},
                [&](grpc::ClientContext& context) { return PullOnce(context, request, broadcast, is_late); }));
    }
    if (!is_late) known_ = round + 1;
    return !is_late;
  }

  absl::StatusOr<PushOutcome> Push(uint64_t round, std::span<const std::byte> update) {
    v1::PushMessage declaration;
    *declaration.mutable_declaration()->mutable_caller() = caller_;
    declaration.mutable_declaration()->set_round(round);
    declaration.mutable_declaration()->set_update_bytes(update.size());
    declaration.mutable_declaration()->set_digest(Hash64(update));
    v1::PushReply::Verdict verdict = v1::PushReply::UNKNOWN;
    LACONIC_RETURN_IF_ERROR(
        Retry({"push", round, options_.retry_for, options_.transfer_timeout},
              [&](grpc::ClientContext& context) { return PushOnce(context, declaration, update, verdict); }));
    switch (verdict) {
      case v1::PushReply::ACCEPTED:
        return PushOutcome::kAccepted;
      case v1::PushReply::ALREADY_ACCEPTED:
        return PushOutcome::kAlreadyAccepted;
      case v1::PushReply::LATE:
        return PushOutcome::kLate;
      default:
        return absl::DataLossError(fmt::format("{}: verdict {}", Where("push", round), static_cast<int>(verdict)));
    }
  }

  absl::StatusOr<uint64_t> Heartbeat() {
    v1::HeartbeatRequest request;
    v1::HeartbeatReply reply;
    *request.mutable_caller() = caller_;
    LACONIC_RETURN_IF_ERROR(Retry(
        {"heartbeat", std::nullopt, options_.retry_for, options_.call_timeout},
        [&](grpc::ClientContext& context) { return internal::FromGrpc(stub_->Heartbeat(&context, request, &reply)); }));
    return reply.open_round();
  }

  const Traffic& traffic() const { return traffic_; }

 private:
  struct Operation {
    std::string_view phase;
    std::optional<uint64_t> round;
    absl::Duration limit;          // of all attempts
    absl::Duration attempt_limit;  // of each
  };

  const ServerClientOptions options_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::ParameterServer::Stub> stub_;
  v1::Caller caller_;
  uint64_t known_ = 0;  // what the next Pull will say it knows, in all likelihood
  struct CameAlong {
    uint64_t round, known;
    std::string bytes;
  };
  std::optional<CameAlong> came_along_;  // a broadcast that came with the task
  v1::PullPiece pulled_piece_;           // these two: memory that is used again
  v1::PushMessage pushed_piece_;
  Traffic traffic_;

  std::string Where(std::string_view phase, std::optional<uint64_t> round) const {
    return fmt::format("client {}{}, {} to {}", options_.client,
                       round.has_value() ? fmt::format(", round {}", *round) : std::string(), phase, options_.server);
  }

  // Attempts until one succeeds, fails for good, or the limit is over.
  template <typename Attempt>  // absl::Status(grpc::ClientContext&)
  absl::Status Retry(const Operation& operation, Attempt attempt) {
    const absl::Time begin = absl::Now();
    absl::Duration backoff = options_.first_backoff;
    for (int attempts = 1;; ++attempts) {
      const absl::Duration left = operation.limit - (absl::Now() - begin);
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() +
                           absl::ToChronoMilliseconds(std::min(left, operation.attempt_limit)));
      absl::Status status = attempt(context);
      ++traffic_.attempts;
      if (status.ok()) return status;
      if (IsRefusedCertificate(status)) status = absl::UnauthenticatedError(status.message());
      const absl::Duration elapsed = absl::Now() - begin;
      const std::optional<absl::Duration> retry_after = RetryAfter(context);
      const absl::Duration pause = retry_after.value_or(backoff);
      const absl::Status described(
          status.code(),
          fmt::format("{}: {} ({} attempt{}, {:.1f} s of {:.6g} s)", Where(operation.phase, operation.round),
                      std::string(status.message()), attempts, attempts == 1 ? "" : "s", absl::ToDoubleSeconds(elapsed),
                      absl::ToDoubleSeconds(operation.limit)));
      if ((!IsRetriable(status) && !IsBrokenCall(status)) || elapsed + pause >= operation.limit) return described;
      if (options_.on_retry) options_.on_retry(described.ToString());
      ++traffic_.retries;
      if (retry_after.has_value()) {
        absl::SleepFor(pause);
      } else {
        AwaitConnection(pause);
      }
      backoff = std::min(2 * backoff, options_.max_backoff);
    }
  }

  // Until a connection is there, at most for `pause`; then a moment more, if what is there is of no use yet. A channel
  // makes progress only while somebody waits for it: who just slept would never be connected again.
  void AwaitConnection(absl::Duration pause) {
    const absl::Time end = absl::Now() + pause;
    if (channel_->WaitForConnected(absl::ToChronoTime(end))) {
      absl::SleepFor(std::min(end - absl::Now(), options_.first_backoff));
    }
  }

  absl::Status PullOnce(grpc::ClientContext& context, const v1::PullRequest& request, std::vector<std::byte>& broadcast,
                        bool& is_late) {
    broadcast.clear();
    is_late = false;
    uint64_t total_bytes = 0;
    const auto reader = stub_->Pull(&context, request);
    while (reader->Read(&pulled_piece_)) {
      const std::string& data = pulled_piece_.data();
      is_late = pulled_piece_.late();
      total_bytes = pulled_piece_.total_bytes();
      if (total_bytes > kMaxBroadcastBytes || data.size() > total_bytes - broadcast.size()) {
        context.TryCancel();
        (void)reader->Finish();
        return absl::InvalidArgumentError(
            fmt::format("a broadcast of {} bytes; at most {} are taken", total_bytes, kMaxBroadcastBytes));
      }
      if (broadcast.empty()) broadcast.reserve(total_bytes);
      const auto* const begin = reinterpret_cast<const std::byte*>(data.data());
      broadcast.insert(broadcast.end(), begin, begin + data.size());
      traffic_.bytes_received += data.size();
    }
    LACONIC_RETURN_IF_ERROR(internal::FromGrpc(reader->Finish()));
    if (broadcast.size() == total_bytes) return absl::OkStatus();
    return absl::DataLossError(fmt::format("{} of {} bytes of the broadcast came", broadcast.size(), total_bytes));
  }

  absl::Status PushOnce(grpc::ClientContext& context, const v1::PushMessage& declaration,
                        std::span<const std::byte> update, v1::PushReply::Verdict& verdict) {
    const auto stream = stub_->Push(&context);
    v1::PushReply reply;
    stream->Write(declaration);  // what a write that fails means is in the status
    bool is_answered = stream->Read(&reply);
    if (is_answered && reply.verdict() == v1::PushReply::SEND) {
      while (!update.empty()) {
        const auto piece = update.first(std::min(update.size(), kMaxPieceBytes));
        update = update.subspan(piece.size());
        pushed_piece_.set_data(piece.data(), piece.size());
        traffic_.bytes_sent += piece.size();
        if (!stream->Write(pushed_piece_)) break;
      }
      is_answered = stream->Read(&reply);
    }
    if (is_answered && reply.verdict() != v1::PushReply::SEND) {
      verdict = reply.verdict();  // what counts is said, however the call ends
      stream->WritesDone();
      (void)stream->Finish();
      return absl::OkStatus();
    }
    const absl::Status status = internal::FromGrpc(stream->Finish());
    return status.ok() ? absl::UnavailableError("the server ended the call without a verdict") : status;
  }
};

absl::StatusOr<std::unique_ptr<ServerClient>> ServerClient::Create(ServerClientOptions options) {
  if (!options.tls.has_value() && !IsLoopback(options.server)) {
    return absl::PermissionDeniedError(
        fmt::format("plain text to {}: without TLS only loopback addresses are dialled", options.server));
  }
  if (options.first_backoff <= absl::ZeroDuration() || options.max_backoff < options.first_backoff) {
    return absl::InvalidArgumentError(fmt::format("backoff from {} to {}", absl::FormatDuration(options.first_backoff),
                                                  absl::FormatDuration(options.max_backoff)));
  }
  if (options.incarnation == 0) options.incarnation = static_cast<uint64_t>(absl::ToUnixMicros(absl::Now()));
  return std::unique_ptr<ServerClient>(new ServerClient(std::make_unique<Impl>(std::move(options))));
}

ServerClient::ServerClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ServerClient::~ServerClient() = default;

absl::StatusOr<Registration> ServerClient::Register() { return impl_->Register(); }
absl::StatusOr<Task> ServerClient::NextTask(uint64_t from_round, absl::Duration limit) {
  return impl_->NextTask(from_round, limit);
}
absl::StatusOr<bool> ServerClient::Pull(uint64_t round, uint64_t known, std::vector<std::byte>& broadcast) {
  return impl_->Pull(round, known, broadcast);
}
absl::StatusOr<PushOutcome> ServerClient::Push(uint64_t round, std::span<const std::byte> update) {
  return impl_->Push(round, update);
}
absl::StatusOr<uint64_t> ServerClient::Heartbeat() { return impl_->Heartbeat(); }
const ServerClient::Traffic& ServerClient::traffic() const { return impl_->traffic(); }

}  // namespace laconic
