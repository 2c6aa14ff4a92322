// Loops whose iterations are independent, on a few threads. What they compute never depends on how many: that is up to
// their bodies, each of which writes what no other touches.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

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

  std::mutex mutex_;  // guards what follows, up to next_
  std::condition_variable changed_;
  const absl::FunctionRef<void(size_t)>* body_ = nullptr;  // null: no loop that may be joined
  size_t count_ = 0;
  uint64_t loop_ = 0;
  int helping_ = 0;
  bool stopping_ = false;
  std::atomic<size_t> next_{0};
  std::vector<std::thread> helpers_;
};

// pool->ForEach, or a plain loop where there is no pool.
void ForEach(WorkerPool* pool, size_t count, absl::FunctionRef<void(size_t)> body);

// While it lives, ParallelFor on this thread may use the pool; nullptr: it may not. For code that cannot be handed a
// pool because its interface knows of none: codecs, which work on one tensor for whoever calls. Lives on the stack of
// the thread that owns the pool; scopes nest, the innermost counts.
class ParallelScope {
 public:
  explicit ParallelScope(WorkerPool* pool);
  ~ParallelScope();
  ParallelScope(const ParallelScope&) = delete;
  ParallelScope& operator=(const ParallelScope&) = delete;

 private:
  WorkerPool* outer_;
};

// Calls body(begin, end) for ranges that make up [0, count): pieces of `grain` (the last may be shorter), shared among
// the pool of the scope this thread is in; outside of one, or where there is but one piece, [0, count) at once. So
// every `begin` is a multiple of `grain`. Bodies run outside of any scope.   grain > 0.
void ParallelFor(size_t count, size_t grain, absl::FunctionRef<void(size_t begin, size_t end)> body);

// The error of a loop: of those that bodies report, the one of the smallest `begin`, so that it does not depend on who
// was faster. Thread-safe.
class FirstFailure {
 public:
  void Set(size_t begin, absl::Status status);
  absl::Status status() const;

 private:
  mutable std::mutex mutex_;  // guards what follows
  size_t begin_ = 0;
  absl::Status status_;
};

}  // namespace laconic
