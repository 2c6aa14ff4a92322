// Each kernel of sparse.h on each instruction set against its obvious version, over lengths around every vector width
// and all offsets within a cache line; and the obvious versions against small examples.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "compressors/kernels/sparse.h"
#include "compressors/kernels/targets.h"
#include "tests/compressors/dense_codec.h"

namespace laconic {
namespace {

using kernels::KeyOf;
using ::testing::ElementsAre;
using Positions = std::vector<uint32_t>;

const size_t kLengths[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 100, 511, 513};
constexpr size_t kOffsets = 16;  // floats of a cache line
const float kThresholds[] = {0.0f, kSmallestDenormal, 0.3f, 1.0f, 2.0f, kInfinity};
constexpr uint32_t kAboveAll = 0x80000000u;

// Ordinary values, ties, zeros of both signs, denormals, extremes, infinity and NaN.
Floats Varied(size_t count) {
  Floats x = Gaussian(count, 5);
  const float special[] = {0.0f, -0.0f, 1.0f, -1.0f, kSmallestDenormal, -kLargestFloat, kInfinity, -kNaN};
  for (size_t i = 0; i < count; i += 5) x[i] = special[i / 5 % 8];
  return x;
}

struct Entries {
  Floats values;
  Positions positions;
  explicit Entries(size_t room) : values(room, 7.0f), positions(room, 7) {}
  kernels::EntriesOut out() { return {values.data(), positions.data()}; }
};

// The first `count` of both are the same bits.
void ExpectSameEntries(const Entries& actual, const Entries& expected, size_t count) {
  for (size_t j = 0; j < count; ++j) {
    ASSERT_EQ(std::bit_cast<uint32_t>(actual.values[j]), std::bit_cast<uint32_t>(expected.values[j])) << j;
    ASSERT_EQ(actual.positions[j], expected.positions[j]) << j;
  }
}

class SparseKernels : public testing::TestWithParam<int64_t> {
 protected:
  // Calls check(x, threshold) for every length, offset and threshold.
  template <typename Check>
  static void ForEachCase(Check check) {
    for (const size_t length : kLengths) {
      const Floats varied = Varied(length);
      for (size_t offset = 0; offset < kOffsets; ++offset) {
        Floats memory(length + kOffsets, kNaN);  // whoever reads past the span collects a NaN
        std::copy(varied.begin(), varied.end(), memory.begin() + static_cast<ptrdiff_t>(offset));
        const auto x = std::span<const float>(memory).subspan(offset, length);
        for (const float threshold : kThresholds) check(x, KeyOf(threshold));
        check(x, kAboveAll);
      }
    }
  }

 private:
  kernels::ForcedTarget forced_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Targets, SparseKernels, testing::ValuesIn(kernels::RunnableTargets()),
                         [](const auto& target) { return std::string(kernels::TargetName(target.param)); });

TEST_P(SparseKernels, CollectLarge_IsTheOracles) {
  ForEachCase([](std::span<const float> x, uint32_t threshold) {
    Entries actual(x.size()), expected(x.size());
    const size_t count = kernels::CollectLarge(x, threshold, 1000, actual.out());
    ASSERT_EQ(count, kernels::scalar::CollectLarge(x, threshold, 1000, expected.out()));
    ExpectSameEntries(actual, expected, count);
  });
}

TEST_P(SparseKernels, SplitLarge_IsTheOraclesInTheCacheAndPastIt) {
  alignas(64) float memory[600];
  ForEachCase([&](std::span<const float> x, uint32_t threshold) {
    Entries expected(x.size());
    Floats rest(x.size());
    const size_t expected_count = kernels::scalar::SplitLarge(x, threshold, 1000, expected.out(), {.out = rest});
    const kernels::Ahead ahead = {.streams = {x.data(), x.data()}, .count = 2, .elements = x.size()};
    for (const size_t offset : {0, 0, 1}) {  // whole cache lines or not
      const auto out = std::span(memory + offset, x.size());
      std::fill_n(memory, std::size(memory), 7.0f);
      Entries actual(x.size());
      const size_t count =
          kernels::SplitLarge(x, threshold, 1000, actual.out(), {.out = out, .past_cache = true, .ahead = ahead});
      kernels::FinishStores();
      ASSERT_EQ(count, expected_count);
      ExpectSameEntries(actual, expected, count);
      for (size_t i = 0; i < x.size(); ++i) {
        ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(rest[i])) << i;
      }
      ASSERT_EQ(memory[offset + x.size()], 7.0f);
    }
  });
}

TEST_P(SparseKernels, PartitionLarge_IsTheOraclesInPlaceToo) {
  ForEachCase([](std::span<const float> x, uint32_t threshold) {
    Entries entries(x.size()), kept(x.size()), dropped(x.size()), expected_kept(x.size()), expected_dropped(x.size());
    std::copy(x.begin(), x.end(), entries.values.begin());
    std::iota(entries.positions.begin(), entries.positions.end(), 5u);
    const size_t count = kernels::scalar::PartitionLarge(entries.values, entries.positions, threshold,
                                                         expected_kept.out(), expected_dropped.out());
    ASSERT_EQ(kernels::PartitionLarge(x, entries.positions, threshold, kept.out(), dropped.out()), count);
    ExpectSameEntries(kept, expected_kept, count);
    ExpectSameEntries(dropped, expected_dropped, x.size() - count);
    ASSERT_EQ(kernels::PartitionLarge(entries.values, entries.positions, threshold, entries.out(), dropped.out()),
              count);
    ExpectSameEntries(entries, expected_kept, count);
    ExpectSameEntries(dropped, expected_dropped, x.size() - count);
  });
}

TEST_P(SparseKernels, CollectBand_IsTheOracles) {
  ForEachCase([](std::span<const float> x, uint32_t to) {
    for (const uint32_t from : {0u, KeyOf(0.5f), KeyOf(kInfinity)}) {
      Positions actual(x.size()), expected(x.size());
      const kernels::Band band = kernels::CollectBand(x, from, to, actual.data());
      const kernels::Band oracle = kernels::scalar::CollectBand(x, from, to, expected.data());
      ASSERT_EQ(band.inside, oracle.inside);
      ASSERT_EQ(band.above, oracle.above);
      ASSERT_TRUE(std::equal(actual.begin(), actual.begin() + static_cast<ptrdiff_t>(band.inside), expected.begin()));
    }
  });
}

TEST_P(SparseKernels, FeistelImages_AreTheOracles) {
  for (const auto& [rows, columns] :
       {std::pair(1u, 1u), {3u, 2u}, {16u, 15u}, {17u, 16u}, {40u, 33u}, {65536u, 65535u}}) {
    kernels::FeistelNetwork network = {.rows = rows, .columns = columns};
    CounterRng(RngKey{.seed = 3}).Words(0, network.round_keys);
    const uint64_t elements = uint64_t{rows} * columns;
    for (const size_t length : kLengths) {
      if (length > elements) continue;
      for (const uint64_t first : {uint64_t{0}, (elements - length) / 2, elements - length}) {
        Positions actual(length), expected(length);
        kernels::FeistelImages(network, static_cast<uint32_t>(first), actual);
        kernels::scalar::FeistelImages(network, static_cast<uint32_t>(first), expected);
        ASSERT_EQ(actual, expected) << rows << " x " << columns << " from " << first;
      }
    }
  }
}

TEST(SparseOracle, CollectAndSplit_TakeWhatReachesTheThreshold) {
  const Floats x = {0.5f, -3.0f, 1.0f, -0.0f, 2.0f};
  Entries entries(5);
  Floats rest(5);
  ASSERT_EQ(kernels::scalar::SplitLarge(x, KeyOf(1.0f), 10, entries.out(), {.out = rest}), 3u);
  EXPECT_THAT(rest, ElementsAre(0.5f, 0, 0, -0.0f, 0));
  entries.values.resize(3);
  entries.positions.resize(3);
  EXPECT_THAT(entries.values, ElementsAre(-3, 1, 2));
  EXPECT_THAT(entries.positions, ElementsAre(11, 12, 14));
}

TEST(SparseOracle, CollectBand_CountsWhatLiesAbove) {
  Positions keys(5);
  const kernels::Band band =
      kernels::scalar::CollectBand(Floats{0.5f, -3.0f, 1.0f, 1.5f, 2.0f}, KeyOf(1.0f), KeyOf(2.0f), keys.data());
  EXPECT_EQ(band.inside, 2u);
  EXPECT_EQ(band.above, 2u);
  EXPECT_EQ(keys[0], KeyOf(1.0f));
  EXPECT_EQ(keys[1], KeyOf(1.5f));
}

TEST(SparseOracle, FeistelNetwork_IsABijection) {
  kernels::FeistelNetwork network = {.rows = 31, .columns = 33};
  CounterRng(RngKey{.seed = 4}).Words(0, network.round_keys);
  Positions images(31 * 33), all(31 * 33);
  kernels::scalar::FeistelImages(network, 0, images);
  std::sort(images.begin(), images.end());
  std::iota(all.begin(), all.end(), 0u);
  EXPECT_EQ(images, all);
}

}  // namespace
}  // namespace laconic
