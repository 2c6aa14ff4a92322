// What a parameter server counts, and its text form for Prometheus.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "comm/server/grpc/listener.h"
#include "laconic/comm/server/round_machine.h"

namespace laconic::internal {

enum class Method { kRegister, kNextTask, kPull, kPush, kHeartbeat, kStatus, kCount };
std::string_view MethodName(Method method);

// How the machine stood after its last batch of calls.
struct MachineSnapshot {
  Counters counters;
  uint64_t open_round = 0;
  uint64_t rounds = 0;
  uint32_t participants = 0;
  uint32_t accepted = 0;
  uint64_t bytes_in_flight = 0;
  uint64_t reservations = 0;
  absl::Duration last_round_duration;
  absl::Status failure;

  static MachineSnapshot Of(const RoundMachine& machine);
};

// Thread-safe.
class Metrics {
 public:
  static constexpr size_t kCodes = 17;  // of gRPC and of absl::Status alike
  std::array<std::array<std::atomic<uint64_t>, kCodes>, static_cast<size_t>(Method::kCount)> calls{};
  std::atomic<uint64_t> received_bytes = 0, sent_bytes = 0;  // of updates and broadcasts
  std::atomic<uint64_t> refused_identities = 0, refused_calls = 0, ended_transfers = 0;
  std::atomic<uint64_t> probes = 0, failed_probes = 0, rebuilds = 0;
  std::atomic<uint64_t> waiting = 0;  // NextTask calls, now

  void Count(Method method, absl::StatusCode code) {
    ++calls[static_cast<size_t>(method)][static_cast<size_t>(code) % kCodes];
  }
  void Set(MachineSnapshot snapshot);
  MachineSnapshot machine() const;

  // https://prometheus.io/docs/instrumenting/exposition_formats/
  std::string Text(const Listener::Counts& connections, uint64_t push_batches) const;

 private:
  mutable std::mutex mutex_;
  MachineSnapshot machine_;  // guarded by mutex_
};

}  // namespace laconic::internal
