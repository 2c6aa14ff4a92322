// The parameter server: a round machine (round_machine.h) behind gRPC. docs/parameter-server.md shows one whole.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "laconic/comm/server/certificates.h"
#include "laconic/comm/server/limits.h"
#include "laconic/comm/server/round_machine.h"

namespace laconic {

// One line of a log: a JSON object without line break, {"time": "...", "event": "...", ...}. Called from several
// threads, one at a time.
using LogSink = std::function<void(std::string_view line)>;

struct ServerOptions {
  std::string address = "127.0.0.1:0";  // numeric host and port; port 0: a free one
  // The server's certificate, and whose clients it believes. Absent: plain text, where anybody on this machine may
  // speak for any client; only a loopback address is taken then, and the log begins with a warning.
  std::optional<TlsIdentity> tls;
  std::vector<uint32_t> allowed_clients;  // empty: all clients of the run
  std::string metrics_address;            // Prometheus text over HTTP, loopback only; empty: none
  ServerLimits limits;
  LogSink log;  // may be empty
  // For tests of clients: a call whose reply is lost on its way, after it has had its effect. May be empty.
  std::function<bool(std::string_view method, uint32_t client)> lose_reply;
};

// Serves one run until it is destroyed. All calls of the machine come from one thread of its own, which sleeps when
// nothing is due; clients that wait cost no thread. Pushes that arrive while the journal writes share its next write.
// Thread-safe.
class ParameterServer {
 public:
  // `machine` must outlive the server and must not be called meanwhile. Returns when the server has answered its own
  // probe through TLS. Errors: InvalidArgument for options; PermissionDenied for plain text at an address that is not
  // loopback; Unavailable if the address cannot be bound; what the probe found.
  static absl::StatusOr<std::unique_ptr<ParameterServer>> Start(RoundMachine* machine, ServerOptions options);
  // Ends open calls as Unavailable, which clients retry.
  ~ParameterServer();

  uint16_t port() const;
  uint16_t metrics_port() const;  // 0: none

  // Waits until the run is finished or has failed: its failure, or OK; DeadlineExceeded at `deadline`. A finished run
  // is still served, so that clients hear that it is finished.
  absl::Status AwaitEnd(absl::Time deadline);

  // What /metrics shows.
  std::string MetricsText() const;
  // How often listening socket and server were opened anew after a failed probe.
  uint64_t rebuilds() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
  explicit ParameterServer(std::unique_ptr<Impl> impl);
};

// For MachineOptions::on_event: writes each event to `log`.
std::function<void(const RoundEvent&)> LogEvents(LogSink log);

}  // namespace laconic
