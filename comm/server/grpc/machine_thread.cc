#include "comm/server/grpc/machine_thread.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/time/clock.h"

namespace laconic::internal {
namespace {

int64_t SteadyNanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Until then nothing is looked at, whatever is due: a far future that the condition variable can count to.
constexpr std::chrono::hours kLongest(1);

}  // namespace

SteadyClock::SteadyClock() : wall_(absl::Now()), steady_ns_(SteadyNanoseconds()) {}

absl::Time SteadyClock::Now() const { return wall_ + absl::Nanoseconds(SteadyNanoseconds() - steady_ns_); }

MachineThread::MachineThread(RoundMachine* machine, const SteadyClock* clock,
                             std::function<absl::Time(RoundMachine&, absl::Time)> after)
    : machine_(machine), clock_(clock), after_(std::move(after)), thread_([this] { Loop(); }) {}

void MachineThread::Post(Job job) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!stopping_) jobs_.push_back(std::move(job));
  }
  posted_.notify_one();
}

void MachineThread::PostPush(PushRequest request, PushDone done) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!stopping_) pushes_.push_back({std::move(request), std::move(done)});
  }
  posted_.notify_one();
}

void MachineThread::Stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  posted_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void MachineThread::Loop() {
  std::vector<Job> jobs;
  std::vector<PendingPush> pushes;
  absl::Time due = clock_->Now();
  bool stopping = false;
  while (!stopping) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      const auto wait = std::min<std::chrono::nanoseconds>(absl::ToChronoNanoseconds(due - clock_->Now()), kLongest);
      posted_.wait_for(lock, wait, [this] { return stopping_ || !jobs_.empty() || !pushes_.empty(); });
      jobs.swap(jobs_);
      pushes.swap(pushes_);
      stopping = stopping_;
    }
    for (const Job& job : jobs) job(*machine_, clock_->Now());
    jobs.clear();
    if (!pushes.empty()) PushAll(pushes);
    const absl::Time now = clock_->Now();
    const absl::Time machine_due = machine_->Tick(now);
    due = std::min(machine_due, after_(*machine_, now));
  }
}

void MachineThread::PushAll(std::vector<PendingPush>& pushes) {
  std::vector<PushRequest> requests;
  requests.reserve(pushes.size());
  for (PendingPush& push : pushes) requests.push_back(std::move(push.request));
  std::vector<absl::StatusOr<PushOutcome>> outcomes = machine_->PushMany(requests, clock_->Now());
  ++push_batches_;
  for (size_t i = 0; i < pushes.size(); ++i) pushes[i].done(std::move(outcomes[i]));
  pushes.clear();
}

}  // namespace laconic::internal
