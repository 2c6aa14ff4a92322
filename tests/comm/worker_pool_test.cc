#include "comm/worker_pool.h"

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

}  // namespace
}  // namespace laconic
