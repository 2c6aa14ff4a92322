// What a parameter server grants its clients at most.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace laconic {

// Updates and broadcasts travel in pieces of at most so many bytes; no message is longer than a piece and 4 KiB.
inline constexpr size_t kMaxPieceBytes = size_t{1} << 20;

// Bytes of updates on their way, and admissions of a client, are limited by RoundRules.
struct ServerLimits {
  // Connections. One that says nothing, or does not finish its handshake, is closed after handshake_timeout; a peer
  // that does not answer is gone after keepalive_time + keepalive_timeout; one that asks nothing is let go after
  // idle_timeout and may come again.
  size_t max_connections = 0;         // 0: ConnectionBudget
  size_t reserved_descriptors = 128;  // for everything else in the process: journal, logs, libraries
  absl::Duration handshake_timeout = absl::Seconds(5);
  absl::Duration keepalive_time = absl::Seconds(30);
  absl::Duration keepalive_timeout = absl::Seconds(10);
  absl::Duration idle_timeout = absl::Minutes(10);

  // Calls.
  uint32_t max_calls_per_client = 8;                    // at once
  absl::Duration long_poll = absl::Seconds(20);         // NextTask is answered with "wait" after so long
  absl::Duration busy_retry = absl::Milliseconds(100);  // what a client above max_calls_per_client is told
  // An upload or download of B bytes has progress_grace + B / min_bytes_per_second, and may at no time lag more than
  // progress_grace behind that rate, one piece aside.
  absl::Duration progress_grace = absl::Seconds(10);
  uint64_t min_bytes_per_second = uint64_t{16} << 10;

  // The server dials itself, through TLS, every probe_interval; a probe that fails twice in a row makes it open its
  // listening socket and everything behind it anew. InfiniteDuration: never.
  absl::Duration probe_interval = absl::Seconds(10);
  absl::Duration probe_timeout = absl::Seconds(5);

  // InvalidArgument names the limit that cannot be.
  absl::Status Validate() const;
};

// The connections a process may hold: its soft limit of descriptors less the reserved ones, or max_connections if that
// is less and not 0. ResourceExhausted if nothing is left.
absl::StatusOr<size_t> ConnectionBudget(const ServerLimits& limits);

}  // namespace laconic
