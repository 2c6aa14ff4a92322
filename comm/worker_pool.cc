#include "comm/worker_pool.h"

namespace laconic {

WorkerPool::WorkerPool(int threads) {
  for (int i = 1; i < threads; ++i) helpers_.emplace_back([this] { Help(); });
}

WorkerPool::~WorkerPool() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& helper : helpers_) helper.join();
}

void WorkerPool::RunIterations(absl::FunctionRef<void(size_t)> body, size_t count) {
  for (size_t i = next_.fetch_add(1); i < count; i = next_.fetch_add(1)) body(i);
}

void WorkerPool::Help() {
  uint64_t last_loop = 0;
  absl::MutexLock lock(&mutex_);
  for (;;) {
    auto wanted = [this, &last_loop]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return stopping_ || (body_ != nullptr && loop_ != last_loop);
    };
    mutex_.Await(absl::Condition(&wanted));
    if (stopping_) return;
    last_loop = loop_;
    const absl::FunctionRef<void(size_t)> body = *body_;
    const size_t count = count_;
    ++helping_;
    mutex_.Unlock();
    RunIterations(body, count);
    mutex_.Lock();
    --helping_;
  }
}

void WorkerPool::ForEach(size_t count, absl::FunctionRef<void(size_t)> body) {
  if (helpers_.empty() || count <= 1) {
    for (size_t i = 0; i < count; ++i) body(i);
    return;
  }
  {
    absl::MutexLock lock(&mutex_);
    next_.store(0);
    body_ = &body;
    count_ = count;
    ++loop_;
  }
  RunIterations(body, count);
  absl::MutexLock lock(&mutex_);
  body_ = nullptr;  // who has not joined by now stays asleep
  auto none_helping = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return helping_ == 0; };
  mutex_.Await(absl::Condition(&none_helping));
}

void ForEach(WorkerPool* pool, size_t count, absl::FunctionRef<void(size_t)> body) {
  if (pool != nullptr) return pool->ForEach(count, body);
  for (size_t i = 0; i < count; ++i) body(i);
}

}  // namespace laconic
