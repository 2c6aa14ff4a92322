#include "optim/bucket_plan.h"

#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rapidcheck.h"

namespace laconic {
namespace {

using ::testing::ElementsAre;

TEST(PlanBuckets, OneGroup_FillsFromTheLastTensor) {
  const std::vector<PlannedTensor> tensors = {{40, 0}, {60, 0}, {50, 0}, {10, 0}};
  EXPECT_THAT(PlanBuckets(tensors, 100), ElementsAre(ElementsAre(3, 2), ElementsAre(1, 0)));
}

TEST(PlanBuckets, TensorLargerThanABucket_HasOneOfItsOwn) {
  const std::vector<PlannedTensor> tensors = {{10, 0}, {500, 0}, {10, 0}};
  EXPECT_THAT(PlanBuckets(tensors, 100), ElementsAre(ElementsAre(2), ElementsAre(1), ElementsAre(0)));
}

TEST(PlanBuckets, GroupsDoNotMix_AndBucketsAreOrderedByReadiness) {
  // Weights (group 0) and biases (group 1) of three layers: the bucket of biases is ready only with the first layer's
  // bias, tensor 1.
  const std::vector<PlannedTensor> tensors = {{100, 0}, {4, 1}, {100, 0}, {4, 1}, {100, 0}, {4, 1}};
  EXPECT_THAT(PlanBuckets(tensors, 100),
              ElementsAre(ElementsAre(4), ElementsAre(2), ElementsAre(5, 3, 1), ElementsAre(0)));
}

TEST(PlanBuckets, NoTensors_NoBuckets) { EXPECT_TRUE(PlanBuckets({}, 100).empty()); }

TEST(PlanBuckets, AnyTensors_EachOnceNoMixNoOverflow) {
  rc::check("every plan is a partition that keeps groups apart and bucket sizes bounded", [] {
    std::vector<PlannedTensor> tensors;
    const int count = *rc::gen::inRange(0, 60);
    for (int i = 0; i < count; ++i) {
      tensors.push_back({.bytes = static_cast<size_t>(*rc::gen::inRange(0, 300)), .group = *rc::gen::inRange(-1, 3)});
    }
    const std::vector<BucketTensors> plan = PlanBuckets(tensors, 256);
    std::vector<int> seen(tensors.size());
    size_t last_ready = tensors.size();
    for (const BucketTensors& bucket : plan) {
      RC_ASSERT(!bucket.empty());
      size_t bytes = 0;
      for (size_t tensor : bucket) {
        ++seen[tensor];
        bytes += tensors[tensor].bytes;
        RC_ASSERT(tensors[tensor].group == tensors[bucket[0]].group);
      }
      RC_ASSERT(bytes <= 256 || bucket.size() == 1);
      RC_ASSERT(bucket.back() < last_ready);  // ready later than the bucket before
      last_ready = bucket.back();
    }
    RC_ASSERT(std::all_of(seen.begin(), seen.end(), [](int times) { return times == 1; }));
  });
}

}  // namespace
}  // namespace laconic
