// The one thread from which a round machine is called.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "laconic/comm/server/round_machine.h"

namespace laconic::internal {

// A clock that does not go back: today's time at construction, and from then on what has passed. Thread-safe.
class SteadyClock {
 public:
  SteadyClock();
  absl::Time Now() const;

 private:
  absl::Time wall_;
  int64_t steady_ns_;
};

// Runs what is posted, in order, then all pushes posted meanwhile in one write of the journal, then what time makes
// due. Thread-safe.
class MachineThread {
 public:
  using Job = std::function<void(RoundMachine&, absl::Time now)>;
  using PushDone = std::function<void(absl::StatusOr<PushOutcome>)>;

  // after: called after every batch, from the thread; gives the time at which to call it next at the latest.
  MachineThread(RoundMachine* machine, const SteadyClock* clock,
                std::function<absl::Time(RoundMachine&, absl::Time now)> after);
  ~MachineThread() { Stop(); }

  void Post(Job job);
  void PostPush(PushRequest request, PushDone done);
  // Runs what has been posted, then ends. What is posted later is dropped.
  void Stop();

  uint64_t push_batches() const { return push_batches_; }  // writes of pushes

 private:
  struct PendingPush {
    PushRequest request;
    PushDone done;
  };

  RoundMachine* machine_;
  const SteadyClock* clock_;
  std::function<absl::Time(RoundMachine&, absl::Time)> after_;
  std::mutex mutex_;
  std::condition_variable posted_;
  std::vector<Job> jobs_;            // guarded by mutex_
  std::vector<PendingPush> pushes_;  // guarded by mutex_
  bool stopping_ = false;            // guarded by mutex_
  std::atomic<uint64_t> push_batches_ = 0;
  std::thread thread_;

  void Loop();
  void PushAll(std::vector<PendingPush>& pushes);
};

}  // namespace laconic::internal
