// Accepting connections, within a budget.
#pragma once

#include <poll.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace laconic::internal {

// "host:port" with a numeric host: "127.0.0.1:0", "[::1]:5000", "0.0.0.0:5000"; "localhost" is 127.0.0.1.
struct SocketAddress {
  std::string host;
  uint16_t port = 0;
  bool is_loopback = false;

  static absl::StatusOr<SocketAddress> Parse(const std::string& text);
};

struct ListenerOptions {
  SocketAddress address;
  size_t max_connections = 0;          // of those that speak and those that have not begun to, together
  absl::Duration first_byte_timeout;   // within which a connection must say something
  absl::Duration user_timeout;         // for which sent bytes may stay unacknowledged (TCP_USER_TIMEOUT)
  std::function<void(int)> hand_over;  // takes a connected socket, and its ownership; called from the listener's thread
};

// A listening socket and the thread that accepts from it. A connection is handed over when its first byte is there: one
// that never speaks costs a descriptor and nothing else, is closed after `first_byte_timeout`, and is the first to go
// when the budget is used up. Above the budget connections are reset. Running out of descriptors is survived: a spare
// one is kept, with which connections are accepted and reset until others are free again. (gRPC's own listener stops
// for good in that case, and has neither budget nor order of eviction.) Thread-safe.
class Listener {
 public:
  struct Counts {
    uint64_t open = 0;      // now
    uint64_t accepted = 0;  // the rest: ever
    uint64_t refused = 0;   // above the budget, or no descriptor free
    uint64_t silent = 0;    // closed because they said nothing in time, or were evicted before
  };

  // Unavailable if the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<Listener>> Create(ListenerOptions options);
  ~Listener();

  uint16_t port() const { return port_; }
  Counts counts() const;
  // Opens the listening socket anew, on the same port: soon, and again every second until it succeeds.
  void Reopen();

 private:
  // A connection, known by its descriptor and the socket behind it: a descriptor that others have closed may name
  // another file by now.
  struct Connection {
    int fd = -1;
    uint64_t inode = 0;
    absl::Time accepted;
  };

  ListenerOptions options_;
  uint16_t port_ = 0;
  int wake_ = -1;  // eventfd
  std::atomic<bool> stopping_ = false, reopen_ = false;
  // The thread's own, once it runs.
  int listening_ = -1;             // -1: broken, to be opened anew
  int spare_ = -1;                 // what to give up when no other descriptor is left
  std::deque<Connection> silent_;  // in order of acceptance
  std::vector<Connection> handed_over_;
  std::atomic<uint64_t> open_ = 0, accepted_count_ = 0, refused_count_ = 0, silent_count_ = 0;
  std::thread thread_;

  explicit Listener(ListenerOptions options);
  absl::StatusOr<int> Open(uint16_t port) const;
  void Loop();
  void SeeToSilent(const std::vector<pollfd>& polled);
  void AcceptAll();
  void Admit(int fd);
  void CloseOldestSilent();
};

}  // namespace laconic::internal
