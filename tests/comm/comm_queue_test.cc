#include "laconic/comm/comm_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

namespace laconic {
namespace {

class Queues : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Modes, Queues, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Threaded" : "Inline"; });

TEST_P(Queues, Calls_RunInTheOrderOfSubmit) {
  CommQueue queue(GetParam());
  std::vector<int> order;
  std::vector<Work> works;
  for (int i = 0; i < 100; ++i) {
    works.push_back(queue.Submit([&order, i] {
      order.push_back(i);
      return absl::OkStatus();
    }));
  }
  for (Work& work : works) EXPECT_TRUE(work.Wait().ok());
  std::vector<int> expected(100);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(order, expected);
}

TEST_P(Queues, FirstFailure_PoisonsWhatComesAfterIt) {
  CommQueue queue(GetParam());
  int ran = 0;
  Work before = queue.Submit([&] { return ++ran, absl::OkStatus(); });
  Work failing = queue.Submit([&] { return ++ran, absl::DataLossError("a short message"); });
  Work after = queue.Submit([&] { return ++ran, absl::OkStatus(); });
  EXPECT_TRUE(before.Wait().ok());
  EXPECT_EQ(failing.Wait(), absl::DataLossError("a short message"));
  EXPECT_EQ(after.Wait(), absl::DataLossError("a short message"));
  EXPECT_EQ(queue.Submit([&] { return ++ran, absl::OkStatus(); }).Wait(), absl::DataLossError("a short message"));
  EXPECT_TRUE(before.Wait().ok()) << "a later failure does not change what had succeeded";
  EXPECT_EQ(ran, 2);
}

TEST_P(Queues, Wait_MayBeCalledAgainAndInAnyOrder) {
  CommQueue queue(GetParam());
  Work first = queue.Submit([] { return absl::OkStatus(); });
  Work second = queue.Submit([] { return absl::InternalError("x"); });
  EXPECT_EQ(second.Wait(), absl::InternalError("x"));
  EXPECT_TRUE(first.done());
  EXPECT_TRUE(first.Wait().ok());
  EXPECT_EQ(second.Wait(), absl::InternalError("x"));
}

TEST_P(Queues, MoreCallsThanCapacity_AllRun) {
  CommQueue queue(GetParam(), 2);
  int ran = 0;
  for (int i = 0; i < 50; ++i) queue.Submit([&] { return ++ran, absl::OkStatus(); });
  EXPECT_TRUE(queue.Submit([] { return absl::OkStatus(); }).Wait().ok());
  EXPECT_EQ(ran, 50);
}

TEST_P(Queues, WhatACallCaptured_IsReleasedOnceItIsDone) {
  CommQueue queue(GetParam());
  auto token = std::make_shared<int>(1);
  queue.Submit([token] { return absl::OkStatus(); }).Wait().IgnoreError();
  EXPECT_EQ(token.use_count(), 1);
}

TEST_P(Queues, Destructor_WaitsForWhatWasSubmitted) {
  int ran = 0;
  {
    CommQueue queue(GetParam());
    for (int i = 0; i < 20; ++i) queue.Submit([&] { return ++ran, absl::OkStatus(); });
  }
  EXPECT_EQ(ran, 20);
}

TEST(CommQueue, Inline_RunsOnTheCallersThread) {
  CommQueue queue(false);
  std::thread::id runner;
  const Work work = queue.Submit([&] { return runner = std::this_thread::get_id(), absl::OkStatus(); });
  EXPECT_TRUE(work.done());
  EXPECT_EQ(runner, std::this_thread::get_id());
}

TEST(CommQueue, Threaded_IsNotDoneBeforeTheCallHasReturned) {
  CommQueue queue;
  std::promise<void> gate;
  std::future<void> open = gate.get_future();
  Work work = queue.Submit([&] { return open.wait(), absl::OkStatus(); });
  EXPECT_FALSE(work.done());
  gate.set_value();
  EXPECT_TRUE(work.Wait().ok());
  EXPECT_TRUE(work.done());
}

TEST(Work, OfNoCall_IsDone) {
  Work work;
  EXPECT_TRUE(work.done());
  EXPECT_TRUE(work.Wait().ok());
}

}  // namespace
}  // namespace laconic
