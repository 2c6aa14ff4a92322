#include "laconic/base/parallel.h"

#include <algorithm>
#include <utility>

namespace laconic {
namespace {

thread_local WorkerPool* scope_pool = nullptr;

}  // namespace

WorkerPool::WorkerPool(int threads) {
  for (int i = 1; i < threads; ++i) helpers_.emplace_back([this] { Help(); });
}

WorkerPool::~WorkerPool() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void WorkerPool::RunIterations(absl::FunctionRef<void(size_t)> body, size_t count) {
  for (size_t i = next_.fetch_add(1); i < count; i = next_.fetch_add(1)) body(i);
}

void WorkerPool::Help() {
  uint64_t last_loop = 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || (body_ != nullptr && loop_ != last_loop); });
    if (stopping_) return;
    last_loop = loop_;
    const absl::FunctionRef<void(size_t)> body = *body_;
    const size_t count = count_;
    ++helping_;
    lock.unlock();
    RunIterations(body, count);
    lock.lock();
    if (--helping_ == 0) changed_.notify_all();
  }
}

void WorkerPool::ForEach(size_t count, absl::FunctionRef<void(size_t)> body) {
  if (helpers_.empty() || count <= 1) {
    for (size_t i = 0; i < count; ++i) body(i);
    return;
  }
  {
    std::lock_guard lock(mutex_);
    next_.store(0);
    body_ = &body;
    count_ = count;
    ++loop_;
  }
  changed_.notify_all();
  RunIterations(body, count);
  std::unique_lock lock(mutex_);
  body_ = nullptr;  // who has not joined by now stays asleep
  changed_.wait(lock, [&] { return helping_ == 0; });
}

void ForEach(WorkerPool* pool, size_t count, absl::FunctionRef<void(size_t)> body) {
  if (pool != nullptr) return pool->ForEach(count, body);
  for (size_t i = 0; i < count; ++i) body(i);
}

ParallelScope::ParallelScope(WorkerPool* pool) : outer_(std::exchange(scope_pool, pool)) {}

ParallelScope::~ParallelScope() { scope_pool = outer_; }

void ParallelFor(size_t count, size_t grain, absl::FunctionRef<void(size_t, size_t)> body) {
  if (count == 0) return;
  WorkerPool* const pool = scope_pool;
  if (pool == nullptr || count <= grain) return body(0, count);
  const ParallelScope bodies_run_outside(nullptr);
  pool->ForEach((count - 1) / grain + 1,
                [&](size_t piece) { body(piece * grain, std::min(count, (piece + 1) * grain)); });
}

void FirstFailure::Set(size_t begin, absl::Status status) {
  std::lock_guard lock(mutex_);
  if (!status_.ok() && begin_ <= begin) return;
  begin_ = begin;
  status_ = std::move(status);
}

absl::Status FirstFailure::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}

}  // namespace laconic
