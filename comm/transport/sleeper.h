// Sleep that another thread can end.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace laconic::internal {

// Thread-safe.
class Sleeper {
 public:
  // False when woken before `due`.
  bool SleepUntil(std::chrono::steady_clock::time_point due) {
    std::unique_lock lock(mutex_);
    return !changed_.wait_until(lock, due, [this] { return woken_; });
  }
  // Ends this sleep and all later ones.
  void Wake() {
    std::lock_guard lock(mutex_);
    woken_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;  // guarded by mutex_
};

}  // namespace laconic::internal
