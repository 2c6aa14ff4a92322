// Waiting for something that only polling shows.
#pragma once

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace laconic::internal {

// What to do when nothing has happened: the first polls follow at once, since a peer that runs answers within
// microseconds and a core once given away may be gone for milliseconds; the next give the core to other ranks, which
// may outnumber the cores; later ones sleep, up to 100 us.
class Backoff {
 public:
  void Reset() { idle_polls_ = 0; }
  void Wait() {
    ++idle_polls_;
    if (idle_polls_ <= kSpins) return;
    if (idle_polls_ <= kYields) {
      sched_yield();
    } else {
      const int sleeps = idle_polls_ - kYields;
      std::this_thread::sleep_for(std::chrono::microseconds(std::min(100, 10 * sleeps)));
    }
  }

 private:
  static constexpr int kSpins = 50;
  static constexpr int kYields = 2000;
  int idle_polls_ = 0;
};

}  // namespace laconic::internal
