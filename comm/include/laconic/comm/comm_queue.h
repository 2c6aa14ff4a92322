// Asynchrony lives here and nowhere else: one thread that runs submitted calls in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"

namespace laconic {

// A submitted call. A value type, a ticket of its queue, which must outlive it. Thread-safe.
class Work {
 public:
  // Of no call: done, and its status is OK.
  Work() = default;
  // Blocks until the call has run (or was passed over after a failure); gives its status. May be called again.
  absl::Status Wait();
  bool done() const;

 private:
  friend class CommQueue;
  struct Queue;
  Work(Queue* queue, uint64_t ticket) : queue_(queue), ticket_(ticket) {}
  Queue* queue_ = nullptr;
  uint64_t ticket_ = 0;
};

// FIFO. Every rank must submit the same calls in the same order (the bucket plan fixes it). The first call that fails
// poisons the queue: calls after it are not run and give the same error. Submit allocates nothing.
// Submit from one thread at a time; the destructor waits for what was submitted.
class CommQueue {
 public:
  // threaded = false runs each call inside Submit, on the caller's thread (SimGrid, debugging).
  explicit CommQueue(bool threaded = true, size_t capacity = 256);
  ~CommQueue();
  CommQueue(const CommQueue&) = delete;
  CommQueue& operator=(const CommQueue&) = delete;

  // `call` should capture no more than two pointers, so that std::function keeps it in place. Blocks while `capacity`
  // calls are waiting or running.
  Work Submit(std::function<absl::Status()> call);

 private:
  std::unique_ptr<Work::Queue> queue_;
};

}  // namespace laconic
