// The calls of parameter_server.proto, in front of a round machine.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "comm/server/grpc/event_log.h"
#include "comm/server/grpc/machine_thread.h"
#include "comm/server/grpc/metrics.h"
#include "laconic/comm/server/limits.h"
#include "laconic/comm/server/round_machine.h"

namespace grpc {
class Service;
}

namespace laconic::internal {

// A call that waits for the round to change. Lives on the machine's thread.
class WaitingCall {
 public:
  // Asks the machine again; if it has an answer, or `last`, replies, after which the call may be gone, and gives
  // nothing. Else when to ask again at the latest.
  virtual std::optional<absl::Time> Ask(RoundMachine& machine, absl::Time now, bool last) = 0;

 protected:
  ~WaitingCall() = default;
};

// A call that moves bytes, and may be too slow.
class TransferCall {
 public:
  virtual void EndIfSlow(absl::Time now) = 0;

 protected:
  ~TransferCall() = default;
};

// A broadcast, as messages ready for the wire.
struct PreparedBroadcast;

struct ServiceOptions {
  bool plain_text = false;                // anybody may speak for any client
  std::vector<uint32_t> allowed_clients;  // empty: all
  ServerLimits limits;
  std::function<bool(std::string_view, uint32_t)> lose_reply;  // may be empty
  EventLog* log = nullptr;                                     // must outlive the core
};

// What the calls share, and what outlives a rebuilt gRPC server. Thread-safe.
class ServiceCore {
 public:
  ServiceCore(RoundMachine* machine, ServiceOptions options);

  const ServiceOptions& options() const { return options_; }
  const RunInfo& run() const { return run_; }
  const SteadyClock& clock() const { return clock_; }
  MachineThread& thread() { return *thread_; }
  Metrics& metrics() { return metrics_; }
  EventLog& log() const { return *options_.log; }

  // Whether a caller whose certificate says `certified` (nothing with plain text) may speak for `client`. From then on,
  // if OK, one of the client's calls; Leave ends it. ResourceExhausted if it has too many already.
  absl::Status Enter(std::optional<uint32_t> certified, uint32_t client);
  void Leave(uint32_t client);
  bool LosesReply(Method method, uint32_t client) const {
    return options_.lose_reply && options_.lose_reply(MethodName(method), client);
  }

  void Add(TransferCall* call);
  void Remove(TransferCall* call);
  // When a transfer of `total_bytes` that began at `begin` and has got to `done_bytes` counts as too slow.
  absl::Time SlowAfter(absl::Time begin, uint64_t total_bytes, uint64_t done_bytes) const;

  // From the machine's thread.
  void Wait(WaitingCall* call, absl::Time until);
  std::shared_ptr<const PreparedBroadcast> Prepare(uint64_t round, uint64_t known, std::span<const std::byte> bytes);

  // Answers calls that wait, and from then on each at once: the server is about to go.
  void StopWaiting();
  // After a rebuild: calls wait again.
  void ResumeWaiting();

  absl::Status AwaitEnd(absl::Time deadline);

 private:
  struct Waiting {
    WaitingCall* call;
    absl::Time until;
  };
  struct Cached {
    uint64_t round, known;
    std::shared_ptr<const PreparedBroadcast> broadcast;
  };

  const ServiceOptions options_;
  const RunInfo run_;
  const SteadyClock clock_;
  Metrics metrics_;
  std::vector<std::atomic<uint32_t>> calls_;  // open ones, by client
  std::vector<bool> is_allowed_;              // by client
  std::mutex transfers_mutex_;
  std::set<TransferCall*> transfers_;  // guarded by transfers_mutex_
  std::mutex end_mutex_;
  std::condition_variable ended_;
  bool has_ended_ = false;  // guarded by end_mutex_

  // The machine's thread's own.
  std::list<Waiting> waiting_;
  std::deque<Cached> broadcasts_;
  uint64_t asked_round_ = 0;  // open when all that wait were last asked
  bool waiting_stopped_ = false;
  absl::Time next_sweep_;

  std::unique_ptr<MachineThread> thread_;  // last: ends before what it uses

  absl::Time After(RoundMachine& machine, absl::Time now);
  void AskAgain(RoundMachine& machine, absl::Time now, bool all);
};

// A service to register with one gRPC server. `core` must outlive it.
std::unique_ptr<grpc::Service> MakeService(ServiceCore* core);
// grpc.health.v1.Health/Check: SERVING unless the run has failed. (gRPC's own is switched on by a global, for the whole
// process.)
std::unique_ptr<grpc::Service> MakeHealthService(ServiceCore* core);

}  // namespace laconic::internal
