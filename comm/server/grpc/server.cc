#include "laconic/comm/server/server.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "comm/server/grpc/credentials.h"
#include "comm/server/grpc/event_log.h"
#include "comm/server/grpc/grpc_status.h"
#include "comm/server/grpc/listener.h"
#include "comm/server/grpc/metrics_endpoint.h"
#include "comm/server/grpc/parameter_server.grpc.pb.h"
#include "comm/server/grpc/service.h"
#include "laconic/base/status.h"

namespace laconic {
namespace internal {
namespace {

using Acceptor = grpc::experimental::ExternalConnectionAcceptor;

constexpr int kSendAheadBytes = 256 << 10;
constexpr std::chrono::milliseconds kDrain(500);  // for calls to end by themselves when a server stops

int Milliseconds(absl::Duration duration) {
  return static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(duration), 1 << 30));
}

}  // namespace

// gRPC's part, which a rebuild replaces. Sockets come from the listener. Thread-safe.
class GrpcServer {
 public:
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Build(ServiceCore* core, const std::optional<TlsIdentity>& tls) {
    const ServerLimits& limits = core->options().limits;
    std::unique_ptr<GrpcServer> built(new GrpcServer(core));
    grpc::ServerBuilder builder;
    builder.RegisterService(built->service_.get());
    builder.RegisterService(built->health_.get());
    builder.SetMaxReceiveMessageSize(kMaxPieceBytes + 4096);
    const auto set = [&](const char* name, int value) { builder.AddChannelArgument(name, value); };
    set(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, Milliseconds(limits.handshake_timeout));
    set(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(limits.keepalive_time));
    set(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(limits.keepalive_timeout));
    set(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    set(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000);
    set(GRPC_ARG_MAX_CONNECTION_IDLE_MS, Milliseconds(limits.idle_timeout));
    set(GRPC_ARG_MAX_CONCURRENT_STREAMS, static_cast<int>(limits.max_calls_per_client) + 2);
    // What a client may send ahead of being read, on each of its streams. gRPC's estimate of the path would let it
    // grow.
    set(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kSendAheadBytes);
    set(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    built->acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
        grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, ServerCredentials(tls));
    built->server_ = builder.BuildAndStart();
    if (built->server_ == nullptr) {
      return absl::InvalidArgumentError("gRPC refuses to start: is the certificate the key's?");
    }
    return built;
  }

  ~GrpcServer() {
    if (server_ == nullptr) return;
    core_->StopWaiting();
    server_->Shutdown(std::chrono::system_clock::now() + kDrain);
    server_->Wait();
    core_->ResumeWaiting();
  }

  void TakeConnection(int fd) {
    Acceptor::NewConnectionParameters connection;
    connection.fd = fd;
    acceptor_->HandleNewConnection(&connection);
  }

 private:
  ServiceCore* core_;
  std::unique_ptr<grpc::Service> service_, health_;
  std::unique_ptr<Acceptor> acceptor_;
  std::unique_ptr<grpc::Server> server_;

  explicit GrpcServer(ServiceCore* core) : core_(core), service_(MakeService(core)), health_(MakeHealthService(core)) {}
};

}  // namespace internal

using internal::EventLog;
using internal::GrpcServer;
using internal::Listener;
using internal::ServiceCore;
using internal::SocketAddress;

constexpr int kProbesToRebuild = 2;  // failed, in a row

class ParameterServer::Impl {
 public:
  Impl(RoundMachine* machine, const ServerOptions& options, size_t budget)
      : tls_(options.tls),
        limits_(options.limits),
        budget_(budget),
        log_(options.log),
        core_(machine, {.plain_text = !options.tls.has_value(),
                        .allowed_clients = options.allowed_clients,
                        .limits = options.limits,
                        .lose_reply = options.lose_reply,
                        .log = &log_}) {}

  ~Impl() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    if (prober_.joinable()) prober_.join();
    metrics_listener_.reset();
    listener_.reset();
    const std::lock_guard<std::mutex> lock(server_mutex_);
    server_.reset();
    log_.Write("server_stopped", {});
  }

  absl::Status Start(const SocketAddress& address, const std::string& metrics_address) {
    if (!tls_.has_value()) {
      log_.Write("plain_text",
                 {{"warning", "no TLS: whoever reaches this address may read everything and speak for any client"}});
    } else {
      LACONIC_ASSIGN_OR_RETURN(probe_name_, FirstServerName(tls_->certificate));
    }
    LACONIC_ASSIGN_OR_RETURN(server_, GrpcServer::Build(&core_, tls_));
    LACONIC_ASSIGN_OR_RETURN(listener_,
                             Listener::Create({.address = address,
                                               .max_connections = budget_,
                                               .first_byte_timeout = limits_.handshake_timeout,
                                               .user_timeout = limits_.keepalive_time + limits_.keepalive_timeout,
                                               .hand_over = [this](int fd) { TakeConnection(fd); }}));
    if (!metrics_address.empty()) {
      LACONIC_ASSIGN_OR_RETURN(metrics_listener_,
                               internal::ServeMetrics(
                                   metrics_address, [this] { return MetricsText(); }, [this] { return Problem(); }));
    }
    const bool is_any = address.host == "0.0.0.0" || address.host == "::";
    const std::string host = is_any ? (address.host == "::" ? "::1" : "127.0.0.1") : address.host;
    probe_target_ = host.find(':') == std::string::npos ? fmt::format("ipv4:{}:{}", host, listener_->port())
                                                        : fmt::format("ipv6:[{}]:{}", host, listener_->port());
    if (limits_.probe_interval < absl::InfiniteDuration()) {
      const absl::Status probed = Probe();
      if (!probed.ok()) {
        return Annotate(
            probed,
            "the server does not reach itself through TLS (its certificate must be signed by one of its own "
            "authorities and be good for client authentication too)");
      }
      prober_ = std::thread([this] { ProbeLoop(); });
    }
    log_.Write("server_started", {{"address", probe_target_},
                                  {"tls", tls_.has_value() ? "mutual" : "none"},
                                  {"connections", fmt::format("{}", budget_)},
                                  {"run", fmt::format("{}", core_.run().id)}});
    return absl::OkStatus();
  }

  uint16_t port() const { return listener_->port(); }
  uint16_t metrics_port() const { return metrics_listener_ ? metrics_listener_->port() : 0; }
  absl::Status AwaitEnd(absl::Time deadline) { return core_.AwaitEnd(deadline); }
  uint64_t rebuilds() { return core_.metrics().rebuilds; }
  std::string MetricsText() { return core_.metrics().Text(listener_->counts(), core_.thread().push_batches()); }

 private:
  const std::optional<TlsIdentity> tls_;
  const ServerLimits limits_;
  const size_t budget_;
  EventLog log_;
  ServiceCore core_;
  std::string probe_target_, probe_name_;
  std::mutex server_mutex_;
  std::unique_ptr<GrpcServer> server_;  // guarded by server_mutex_; absent during a rebuild
  std::unique_ptr<Listener> listener_, metrics_listener_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;               // guarded by mutex_
  std::atomic<int> failed_probes_ = 0;  // in a row
  std::thread prober_;

  void TakeConnection(int fd) {
    const std::lock_guard<std::mutex> lock(server_mutex_);
    if (server_ != nullptr) {
      server_->TakeConnection(fd);
    } else {
      close(fd);  // the client dials again
    }
  }

  std::string Problem() {
    const absl::Status failure = core_.metrics().machine().failure;
    if (!failure.ok()) return failure.ToString();
    return failed_probes_ > 0 ? "the server does not reach itself" : "";
  }

  // Dials the own port over a new connection, in the manner of a client, and asks for the status.
  absl::Status Probe() {
    ++core_.metrics().probes;
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // not a connection of an earlier probe
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    if (tls_.has_value()) arguments.SetSslTargetNameOverride(probe_name_);
    const auto channel = grpc::CreateCustomChannel(probe_target_, internal::ChannelCredentials(tls_), arguments);
    const auto stub = v1::ParameterServer::NewStub(channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(limits_.probe_timeout));
    v1::StatusReply reply;
    return internal::FromGrpc(stub->Status(&context, v1::StatusRequest(), &reply));
  }

  void ProbeLoop() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!wake_.wait_for(lock, absl::ToChronoNanoseconds(limits_.probe_interval), [this] { return stopping_; })) {
      lock.unlock();
      const absl::Status probed = Probe();
      if (probed.ok()) {
        failed_probes_ = 0;
      } else {
        ++failed_probes_;
        ++core_.metrics().failed_probes;
        log_.Write("probe_failed", {{"error", probed.ToString()}});
        if (failed_probes_ >= kProbesToRebuild && WouldHelp()) Rebuild();
      }
      lock.lock();
    }
  }

  // Not when descriptors or the connection budget are used up: then it is not the listener that is at fault, and
  // a rebuild would only cut off who is connected.
  bool WouldHelp() const {
    const int descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return false;
    close(descriptor);
    return listener_->counts().open < budget_;
  }

  void Rebuild() {
    ++core_.metrics().rebuilds;
    log_.Write("server_rebuilt", {});
    std::unique_ptr<GrpcServer> old;
    {
      const std::lock_guard<std::mutex> lock(server_mutex_);
      old = std::move(server_);
    }
    old.reset();  // its calls end as Unavailable
    auto built = GrpcServer::Build(&core_, tls_);
    if (built.ok()) {
      const std::lock_guard<std::mutex> lock(server_mutex_);
      server_ = *std::move(built);
    } else {
      log_.Write("rebuild_failed", {{"error", built.status().ToString()}});
    }
    listener_->Reopen();
  }
};

absl::StatusOr<std::unique_ptr<ParameterServer>> ParameterServer::Start(RoundMachine* machine, ServerOptions options) {
  LACONIC_RETURN_IF_ERROR(options.limits.Validate());
  LACONIC_ASSIGN_OR_RETURN(const SocketAddress address, SocketAddress::Parse(options.address));
  if (!options.tls.has_value() && !address.is_loopback) {
    return absl::PermissionDeniedError(
        fmt::format("plain text at {}: without TLS only loopback addresses are served", options.address));
  }
  LACONIC_ASSIGN_OR_RETURN(const size_t budget, ConnectionBudget(options.limits));
  auto impl = std::make_unique<Impl>(machine, options, budget);
  LACONIC_RETURN_IF_ERROR(impl->Start(address, options.metrics_address));
  return std::unique_ptr<ParameterServer>(new ParameterServer(std::move(impl)));
}

ParameterServer::ParameterServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ParameterServer::~ParameterServer() = default;

uint16_t ParameterServer::port() const { return impl_->port(); }
uint16_t ParameterServer::metrics_port() const { return impl_->metrics_port(); }
absl::Status ParameterServer::AwaitEnd(absl::Time deadline) { return impl_->AwaitEnd(deadline); }
std::string ParameterServer::MetricsText() const { return impl_->MetricsText(); }
uint64_t ParameterServer::rebuilds() const { return impl_->rebuilds(); }

}  // namespace laconic
