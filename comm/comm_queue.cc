#include "laconic/comm/comm_queue.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace laconic {

// Calls have tickets 0, 1, 2, ... in the order of Submit. As they run in that order, three numbers tell the state of
// every one of them.
struct Work::Queue {
  explicit Queue(size_t capacity) : calls(std::max<size_t>(1, capacity)) {}

  std::function<absl::Status()>& slot(uint64_t ticket) { return calls[ticket % calls.size()]; }
  void RunNext(std::unique_lock<std::mutex>& lock);
  void RunUntilClosed();

  std::mutex mutex;  // guards all below
  std::condition_variable changed;
  std::vector<std::function<absl::Status()>> calls;  // a ring; the waiting ones are [finished, submitted)
  uint64_t submitted = 0;
  uint64_t finished = 0;
  uint64_t first_failed = UINT64_MAX;
  absl::Status error;  // of first_failed
  bool closed = false;
  std::thread thread;
};

// Lets go of the mutex while the call runs.
void Work::Queue::RunNext(std::unique_lock<std::mutex>& lock) {
  std::function<absl::Status()> call = std::exchange(slot(finished), nullptr);
  if (error.ok()) {
    lock.unlock();
    const absl::Status status = call();
    call = nullptr;  // what it captured ends before anybody hears that it is done
    lock.lock();
    if (!status.ok()) {
      first_failed = finished;
      error = status;
    }
  }
  ++finished;
  changed.notify_all();
}

void Work::Queue::RunUntilClosed() {
  std::unique_lock lock(mutex);
  while (true) {
    changed.wait(lock, [this] { return finished < submitted || closed; });
    if (finished == submitted) return;
    RunNext(lock);
  }
}

absl::Status Work::Wait() {
  if (queue_ == nullptr) return absl::OkStatus();
  std::unique_lock lock(queue_->mutex);
  queue_->changed.wait(lock, [this] { return queue_->finished > ticket_; });
  return ticket_ < queue_->first_failed ? absl::OkStatus() : queue_->error;
}

bool Work::done() const {
  if (queue_ == nullptr) return true;
  std::lock_guard lock(queue_->mutex);
  return queue_->finished > ticket_;
}

CommQueue::CommQueue(bool threaded, size_t capacity) : queue_(std::make_unique<Work::Queue>(capacity)) {
  if (threaded) queue_->thread = std::thread([queue = queue_.get()] { queue->RunUntilClosed(); });
}

CommQueue::~CommQueue() {
  if (!queue_->thread.joinable()) return;
  {
    std::lock_guard lock(queue_->mutex);
    queue_->closed = true;
    queue_->changed.notify_all();
  }
  queue_->thread.join();
}

Work CommQueue::Submit(std::function<absl::Status()> call) {
  std::unique_lock lock(queue_->mutex);
  queue_->changed.wait(lock, [this] { return queue_->submitted - queue_->finished < queue_->calls.size(); });
  const uint64_t ticket = queue_->submitted++;
  queue_->slot(ticket) = std::move(call);
  if (queue_->thread.joinable()) {
    queue_->changed.notify_all();
  } else {
    queue_->RunNext(lock);
  }
  return Work(queue_.get(), ticket);
}

}  // namespace laconic
