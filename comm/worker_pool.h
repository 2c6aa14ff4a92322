// A few helper threads for loops whose iterations are independent.
#pragma once

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"

namespace laconic {

// One thread at a time calls ForEach. The caller works too and finishes whatever no helper has begun, so a loop never
// waits for a helper that the scheduler has not woken (on a busy machine that costs 8 ms a loop). Helpers sleep between
// loops.
class WorkerPool {
 public:
  explicit WorkerPool(int threads);  // in all, the caller included; <= 1: no helpers
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Runs body(0) ... body(count - 1), each once, in any order and on any thread; returns when all are done.
  void ForEach(size_t count, absl::FunctionRef<void(size_t)> body);

 private:
  void Help();
  void RunIterations(absl::FunctionRef<void(size_t)> body, size_t count);

  absl::Mutex mutex_;
  const absl::FunctionRef<void(size_t)>* body_ ABSL_GUARDED_BY(mutex_) = nullptr;  // null: no loop that may be joined
  size_t count_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t loop_ ABSL_GUARDED_BY(mutex_) = 0;
  int helping_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::atomic<size_t> next_{0};
  std::vector<std::thread> helpers_;
};

// pool->ForEach, or a plain loop where there is no pool.
void ForEach(WorkerPool* pool, size_t count, absl::FunctionRef<void(size_t)> body);

}  // namespace laconic
