#include "laconic/base/parallel.h"

#include <atomic>
#include <vector>

#include "gtest/gtest.h"

namespace laconic {
namespace {

class WorkerPoolSizes : public ::testing::TestWithParam<int> {};

TEST_P(WorkerPoolSizes, ForEach_RunsEachIterationOnce) {
  WorkerPool pool(GetParam());
  for (size_t count : {0, 1, 2, 7, 1000}) {
    std::vector<std::atomic<int>> runs(count);
    pool.ForEach(count, [&](size_t i) { ++runs[i]; });
    for (size_t i = 0; i < count; ++i) EXPECT_EQ(runs[i], 1) << i << " of " << count;
  }
}

TEST_P(WorkerPoolSizes, ForEach_ManyShortLoops_NeverMixesThem) {
  WorkerPool pool(GetParam());
  for (int loop = 0; loop < 2000; ++loop) {
    std::atomic<int> sum = 0;
    pool.ForEach(3, [&](size_t i) { sum += static_cast<int>(i) + loop; });
    ASSERT_EQ(sum, 3 + 3 * loop);
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, WorkerPoolSizes, ::testing::Values(0, 1, 2, 4));

TEST(ForEach, WithoutPool_RunsInOrder) {
  std::vector<size_t> order;
  ForEach(nullptr, 4, [&](size_t i) { order.push_back(i); });
  EXPECT_EQ(order, (std::vector<size_t>{0, 1, 2, 3}));
}

TEST_P(WorkerPoolSizes, ParallelFor_CoversTheCountInPieces) {
  WorkerPool pool(GetParam());
  const ParallelScope scope(&pool);
  for (size_t count : {0, 1, 7, 8, 9, 100}) {
    std::vector<std::atomic<int>> runs(count);
    ParallelFor(count, 8, [&](size_t begin, size_t end) {
      EXPECT_EQ(begin % 8, 0);
      EXPECT_LE(end, begin + 8);
      for (size_t i = begin; i < end; ++i) ++runs[i];
    });
    for (size_t i = 0; i < count; ++i) EXPECT_EQ(runs[i], 1) << i << " of " << count;
  }
}

TEST(ParallelFor, OutsideAScope_IsOneCall) {
  int calls = 0;
  ParallelFor(100, 8, [&](size_t begin, size_t end) {
    ++calls;
    EXPECT_EQ(begin, 0);
    EXPECT_EQ(end, 100);
  });
  EXPECT_EQ(calls, 1);
}

TEST(ParallelFor, WithinABody_IsOneCall) {
  WorkerPool pool(2);
  const ParallelScope scope(&pool);
  std::atomic<int> calls = 0;
  ParallelFor(4, 1, [&](size_t, size_t) { ParallelFor(100, 8, [&](size_t, size_t) { ++calls; }); });
  EXPECT_EQ(calls, 4);
}

TEST(ParallelScope, Inner_EndsWithItsBlock) {
  WorkerPool pool(2);
  const ParallelScope scope(&pool);
  auto calls = [] {
    std::atomic<int> count = 0;
    ParallelFor(4, 1, [&](size_t, size_t) { ++count; });
    return count.load();
  };
  {
    const ParallelScope none(nullptr);
    EXPECT_EQ(calls(), 1);
  }
  EXPECT_EQ(calls(), 4);
}

TEST(FirstFailure, IsThatOfTheSmallestBegin) {
  FirstFailure failure;
  EXPECT_TRUE(failure.status().ok());
  failure.Set(16, absl::DataLossError("second"));
  failure.Set(8, absl::DataLossError("first"));
  failure.Set(24, absl::DataLossError("third"));
  EXPECT_EQ(failure.status(), absl::DataLossError("first"));
}

}  // namespace
}  // namespace laconic
