// A client's side of the parameter server.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "laconic/comm/server/certificates.h"
#include "laconic/comm/server/round_machine.h"

namespace laconic {

struct ServerClientOptions {
  std::string server;  // "host:port"
  uint32_t client = 0;
  std::optional<TlsIdentity> tls;  // absent: plain text, loopback only
  std::string server_name;         // what the server's certificate must be for; empty: the host in `server`
  // Of this process: above all that this client had before. 0: microseconds since 1970, now.
  uint64_t incarnation = 0;

  absl::Duration call_timeout = absl::Seconds(30);        // of one attempt of a short call
  absl::Duration transfer_timeout = absl::Minutes(5);     // of one attempt of Pull or Push
  absl::Duration connect_for = absl::Seconds(30);         // how long Register goes on trying
  absl::Duration retry_for = absl::Minutes(5);            // how long every other call does: a server may restart
  absl::Duration first_backoff = absl::Milliseconds(50);  // doubled after each attempt, up to max_backoff
  absl::Duration max_backoff = absl::Seconds(2);
  std::function<void(std::string_view)> on_retry;  // why the last attempt failed; may be empty
};

// Speaks for one client of one run. Calls block; each ends within its limit, also when the server is gone, and survives
// that the server restarts, connections break or replies get lost: a retry sends the same bytes. Errors read
// "client 3, round 12, push to 10.0.0.1:5000: ... (4 attempts, 61.2 s of 300 s)" and have the server's code, or
// DeadlineExceeded or Unavailable when the limit is over. One thread at a time.
class ServerClient {
 public:
  // Does not dial yet. InvalidArgument for options; PermissionDenied for plain text to an address that is not loopback.
  static absl::StatusOr<std::unique_ptr<ServerClient>> Create(ServerClientOptions options);
  ~ServerClient();

  // Must come first. Unauthenticated, at once, if the server's certificate is not to be believed. That the server refuses
  // this client's shows as a connection that breaks: Unavailable, when connect_for is over.
  absl::StatusOr<Registration> Register();

  // Waits until there is work, or the run is finished. from_round: this client is done with all rounds before it.
  // DeadlineExceeded if nothing has come after `limit`.
  absl::StatusOr<Task> NextTask(uint64_t from_round, absl::Duration limit = absl::InfiniteDuration());

  // The broadcast of `round`, for a client that last received that of round known - 1 (0: none), into `broadcast`,
  // whose memory is used again. False: the round is closed, ask for the next task.
  absl::StatusOr<bool> Pull(uint64_t round, uint64_t known, std::vector<std::byte>& broadcast);

  // The update made for `round`. kAccepted and kAlreadyAccepted: it counts, once. kLate: it never will. After an error
  // that is not IsRetriable it never will either; after one that is (the limit is over), only Register can tell.
  absl::StatusOr<PushOutcome> Push(uint64_t round, std::span<const std::byte> update);

  // "I am at work." The open round.
  absl::StatusOr<uint64_t> Heartbeat();

  struct Traffic {
    uint64_t bytes_sent = 0, bytes_received = 0;  // of updates and broadcasts, retries included
    uint64_t attempts = 0, retries = 0;
  };
  const Traffic& traffic() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
  explicit ServerClient(std::unique_ptr<Impl> impl);
};

}  // namespace laconic
