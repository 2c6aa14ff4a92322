// Asynchrony lives here and nowhere else: one thread that runs submitted calls in order.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace laconic {

// A submitted call. One thread at a time.
class Work {
 public:
  // Blocks until the call has run; gives its status. Valid once.
  absl::Status Wait();
  bool done() const;

 private:
  friend class CommQueue;
  struct State;
  State* state_ = nullptr;
};

// FIFO. Every rank must submit the same calls in the same order (the bucket plan fixes it). The first call that fails poisons the queue:
// calls after it are not run and give the same error. Submit allocates nothing after the first `capacity` calls in flight.
// Submit from one thread at a time; the destructor waits for what was submitted.
class CommQueue {
 public:
  // threaded = false runs each call inside Submit, on the caller's thread (SimGrid, debugging).
  explicit CommQueue(bool threaded = true, size_t capacity = 256);
  ~CommQueue();
  CommQueue(const CommQueue&) = delete;
  CommQueue& operator=(const CommQueue&) = delete;

  // `call` should capture no more than two pointers, so that std::function keeps it in place. Blocks while `capacity` are in flight.
  Work Submit(std::function<absl::Status()> call);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace laconic
