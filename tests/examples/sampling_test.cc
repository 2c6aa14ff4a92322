#include "examples/nn/sampling.h"

#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "laconic/base/rng.h"
#include "tests/base/matchers.h"

namespace laconic::nn {
namespace {

using testing::Each;
using testing::HasSubstr;
using testing::SizeIs;

using Parts = std::vector<std::vector<uint32_t>>;

// `per_class` samples of each of `classes` classes, interleaved.
std::vector<uint16_t> Labels(size_t classes, size_t per_class) {
  std::vector<uint16_t> labels(classes * per_class);
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<uint16_t>(i % classes);
  return labels;
}

size_t ClassesOf(const std::vector<uint32_t>& part, std::span<const uint16_t> labels) {
  std::set<uint16_t> classes;
  for (const uint32_t sample : part) classes.insert(labels[sample]);
  return classes.size();
}

TEST(Split, Texts_ParseAndPrintBack) {
  for (const char* text : {"iid", "labels", "shards=2", "dirichlet=0.1", "dirichlet=100", "lognormal=1", "power=0.5"})
    EXPECT_EQ(Split::Parse(text)->ToString(), text);
  for (const char* text : {"", "iid ", "iid=1", "dirichlet", "dirichlet=", "dirichlet=0", "dirichlet=-1",
                           "dirichlet=nan", "dirichlet=1x"}) {
    EXPECT_THAT(Split::Parse(text), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("dirichlet"))) << text;
  }
}

RC_GTEST_PROP(Partition, AnySplit_GivesEverySampleToExactlyOneRank, ()) {
  const auto labels = *rc::gen::container<std::vector<uint16_t>>(rc::gen::inRange<uint16_t>(0, 5));
  const int ranks = *rc::gen::inRange(1, 9);
  const Split split = *Split::Parse(*rc::gen::element<std::string>("iid", "labels", "shards=3", "dirichlet=0.01",
                                                                   "dirichlet=1", "lognormal=3", "power=1"));
  const auto seed = *rc::gen::arbitrary<uint64_t>();
  const auto parts = Partition(labels, split, ranks, seed);
  if (labels.size() < static_cast<size_t>(ranks)) {
    RC_ASSERT(absl::IsInvalidArgument(parts.status()));
    return;
  }
  std::vector<uint32_t> all;
  for (const auto& part : *parts) {
    RC_ASSERT(!part.empty());
    RC_ASSERT(std::is_sorted(part.begin(), part.end()));
    all.insert(all.end(), part.begin(), part.end());
  }
  std::sort(all.begin(), all.end());
  std::vector<uint32_t> expected(labels.size());
  std::iota(expected.begin(), expected.end(), 0u);
  RC_ASSERT(all == expected);
  RC_ASSERT(*Partition(labels, split, ranks, seed) == *parts);
}

TEST(Partition, Iid_GivesEqualPartsThatDependOnTheSeed) {
  const std::vector<uint16_t> labels = Labels(10, 40);
  const Parts parts = *Partition(labels, *Split::Parse("iid"), 4, 1);
  EXPECT_THAT(parts, Each(SizeIs(100)));
  for (const auto& part : parts) EXPECT_EQ(ClassesOf(part, labels), 10u);
  EXPECT_NE(*Partition(labels, *Split::Parse("iid"), 4, 2), parts);
}

TEST(Partition, Labels_GivesEachRankAFewClasses) {
  const std::vector<uint16_t> labels = Labels(10, 40);
  const Parts parts = *Partition(labels, *Split::Parse("labels"), 5, 1);
  EXPECT_THAT(parts, Each(SizeIs(80)));
  for (const auto& part : parts) EXPECT_EQ(ClassesOf(part, labels), 2u);
}

TEST(Partition, Shards_EachClientGetsItsNumberOfLabelRuns) {
  const std::vector<uint16_t> labels = Labels(10, 40);
  const Parts parts = *Partition(labels, *Split::Parse("shards=2"), 20, 1);  // 40 shards of 10, four of each class
  EXPECT_THAT(parts, Each(SizeIs(20)));
  for (const auto& part : parts) EXPECT_LE(ClassesOf(part, labels), 2u);
  EXPECT_NE(*Partition(labels, *Split::Parse("shards=2"), 20, 2), parts);
  EXPECT_THAT(Split::Parse("shards=0"), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("[1, 1000]")));
  EXPECT_THAT(Split::Parse("shards=1.5"), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("shards=1.5")));
}

TEST(Partition, Power_PartsFallWithTheRank) {
  // Shares 1, 1/2, 1/3, 1/4 of 25/12: 480, 240, 160, 120 of 1,000 samples.
  const Parts parts = *Partition(Labels(10, 100), *Split::Parse("power=1"), 4, 1);
  EXPECT_EQ(parts[0].size(), 480u);
  EXPECT_EQ(parts[1].size(), 240u);
  EXPECT_EQ(parts[2].size(), 160u);
  EXPECT_EQ(parts[3].size(), 120u);
}

TEST(Partition, Lognormal_SizesSpreadAndEveryoneHasSomething) {
  const Parts equal = *Partition(Labels(10, 100), *Split::Parse("lognormal=0"), 8, 1);
  EXPECT_THAT(equal, Each(SizeIs(125)));
  const Parts parts = *Partition(Labels(10, 100), *Split::Parse("lognormal=3"), 8, 1);
  size_t least = 1000, most = 0;
  for (const auto& part : parts) least = std::min(least, part.size()), most = std::max(most, part.size());
  EXPECT_GE(least, 1u);
  EXPECT_GT(most, 10 * least);  // eight standard normals lie more than ln(10) / 3 apart but for one seed in 10^3
}

TEST(Partition, Dirichlet_SharesHaveTheMeanAndVarianceOfTheDistribution) {
  // A share of Dirichlet(a, ..., a) over n ranks has mean 1/n and variance (1/n)(1 - 1/n) / (n a + 1). With 2,000
  // classes the mean square deviation of one rank's shares estimates the variance; its own relative standard error is
  // at most sqrt((k - 1) / 2000) with k the kurtosis of a Beta(a, 3a) variable, below 5 for a = 1 and below 3 for a =
  // 50: 0.045. Five of those: 0.23.
  constexpr size_t kClasses = 2000, kPerClass = 1000, kRanks = 4;
  const std::vector<uint16_t> labels = Labels(kClasses, kPerClass);
  for (const double a : {1.0, 50.0}) {
    const Parts parts = *Partition(labels, {Split::Kind::kDirichlet, a}, kRanks, 7);
    std::vector<double> shares(kClasses);
    for (const uint32_t sample : parts[2]) shares[labels[sample]] += 1.0 / kPerClass;
    double mean = 0, square = 0;
    for (const double share : shares) mean += share / kClasses, square += (share - 0.25) * (share - 0.25) / kClasses;
    const double variance = 0.25 * 0.75 / (kRanks * a + 1);
    EXPECT_NEAR(mean, 0.25, 5 * std::sqrt(variance / kClasses));
    EXPECT_NEAR(square, variance, 0.23 * variance) << "a = " << a;
  }
}

RC_GTEST_PROP(Permutation, AnySize_VisitsEachIndexOnce, ()) {
  const auto size = *rc::gen::inRange<uint32_t>(1, 600);
  const Permutation permutation(size, *rc::gen::arbitrary<uint64_t>());
  std::vector<bool> seen(size);
  for (uint32_t i = 0; i < size; ++i) {
    RC_ASSERT(permutation(i) < size);
    RC_ASSERT(!seen[permutation(i)]);
    seen[permutation(i)] = true;
  }
}

// A data set of one-pixel images whose value is their number.
Dataset Numbers(size_t count) {
  Dataset data;
  data.shape = {1, 1, 1};
  data.classes = count;
  for (size_t i = 0; i < count; ++i) {
    data.labels.push_back(static_cast<uint16_t>(i));
    data.values.push_back(static_cast<float>(i));
  }
  return data;
}

TEST(Minibatches, OnePassOverTheSamples_DrawsEachOnce) {
  const Dataset data = Numbers(20);
  const std::vector<uint32_t> samples = {1, 3, 5, 7, 9, 11};
  Minibatches batches(&data, samples, 4, /*seed=*/3, /*rank=*/1);
  std::vector<uint16_t> drawn;
  for (uint64_t i = 0; i < 3; ++i) {  // 12 draws: two passes, the border within batch 1
    const Batch batch = batches.At(i);
    for (size_t row = 0; row < 4; ++row) EXPECT_EQ(batch.inputs[row], batch.labels[row]);
    drawn.insert(drawn.end(), batch.labels.begin(), batch.labels.end());
  }
  const std::vector<uint16_t> first(drawn.begin(), drawn.begin() + 6), second(drawn.begin() + 6, drawn.end());
  EXPECT_THAT(first, testing::UnorderedElementsAre(1, 3, 5, 7, 9, 11));
  EXPECT_THAT(second, testing::UnorderedElementsAre(1, 3, 5, 7, 9, 11));
  EXPECT_NE(first, second);
}

TEST(Minibatches, AnyOrderOfCalls_GivesTheSameBatches) {
  const Dataset data = Numbers(100);
  std::vector<uint32_t> samples(100);
  std::iota(samples.begin(), samples.end(), 0u);
  const auto labels = [&](uint64_t seed, int rank, uint64_t index) {
    Minibatches batches(&data, samples, 8, seed, rank);
    const Batch batch = batches.At(index);
    return std::vector<uint16_t>(batch.labels.begin(), batch.labels.end());
  };
  Minibatches batches(&data, samples, 8, 3, 1);
  for (const uint64_t index : {5, 0, 40, 5}) {
    const Batch batch = batches.At(index);
    EXPECT_THAT(batch.labels, testing::ElementsAreArray(labels(3, 1, index)));
  }
  EXPECT_NE(labels(3, 1, 0), labels(4, 1, 0));
  EXPECT_NE(labels(3, 1, 0), labels(3, 2, 0));
}

}  // namespace
}  // namespace laconic::nn
