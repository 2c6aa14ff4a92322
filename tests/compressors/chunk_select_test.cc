#include "compressors/chunk_select.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tests/base/matchers.h"

namespace laconic::internal {
namespace {

using ::testing::ElementsAre;
using Indices = std::vector<uint32_t>;

Indices Select(std::span<const float> x, const Sparsity& sparsity, uint64_t chunk) {
  const absl::StatusOr<Entries> entries = SelectFromChunks(x, sparsity, chunk);
  EXPECT_THAT(entries, IsOk());
  if (!entries.ok()) return {};
  for (size_t j = 0; j < entries->values.size(); ++j) EXPECT_EQ(entries->values[j], x[entries->positions[j]]);
  return Indices(entries->positions.begin(), entries->positions.end());
}

// The definition: the selection from each chunk alone.
Indices SelectOneByOne(std::span<const float> x, const Sparsity& sparsity, uint64_t chunk) {
  Indices positions;
  for (size_t first = 0; first < x.size(); first += chunk) {
    const size_t size = std::min<size_t>(chunk, x.size() - first);
    const absl::StatusOr<Entries> entries = SelectTopK(x.subspan(first, size), sparsity.Kept(size));
    EXPECT_THAT(entries, IsOk());
    for (const uint32_t position : entries->positions) positions.push_back(static_cast<uint32_t>(first) + position);
  }
  return positions;
}

TEST(SelectFromChunks, OneOfTwo_IsTheLargerOfEachPair) {
  EXPECT_THAT(Select(std::vector<float>{1, -2, 9, 8, 5}, Sparsity::Count(1), 2), ElementsAre(1, 2, 4));
}

TEST(SelectFromChunks, Ties_GoToTheLowerIndex) {
  EXPECT_THAT(Select(std::vector<float>{1, -1, 1, 0, -0.0f, 0}, Sparsity::Count(2), 3), ElementsAre(0, 1, 3, 4));
}

TEST(SelectFromChunks, FewerThanKAreNotZero_AddsTheFirstZeros) {
  EXPECT_THAT(Select(std::vector<float>{0, 0, 0, 5, 0, 0}, Sparsity::Count(3), 6), ElementsAre(0, 1, 3));
}

TEST(SelectFromChunks, KAboveTheLastChunk_KeepsAllOfThat) {
  EXPECT_EQ(KeptOfChunks(Sparsity::Count(3), 4, 10), 8u);
  EXPECT_THAT(Select(std::vector<float>{1, 2, 3, 4, 5, 6}, Sparsity::Count(3), 4), ElementsAre(1, 2, 3, 4, 5));
}

TEST(SelectFromChunks, None_IsLegal) {
  EXPECT_THAT(Select(std::vector<float>(7), Sparsity::Count(0), 4), ElementsAre());
}

TEST(SelectFromChunks, NanOrInfinity_IsInvalidArgumentThatNamesTheFirst) {
  std::vector<float> x(100, 1.0f);
  x[40] = x[70] = -std::numeric_limits<float>::infinity();
  x[50] = std::numeric_limits<float>::quiet_NaN();
  for (const uint64_t k : {0, 1, 3, 16}) {
    EXPECT_THAT(SelectFromChunks(x, Sparsity::Count(k), 16),
                HasStatus(absl::StatusCode::kInvalidArgument, "topk: element 40 of 100 is -inf"))
        << k;
  }
}

RC_GTEST_PROP(SelectFromChunks, FewDistinctValues_SelectsWhatEachChunkAloneSelects, ()) {
  const auto small = *rc::gen::container<std::vector<int>>(rc::gen::inRange(-3, 4));
  const std::vector<float> x(small.begin(), small.end());
  const Sparsity sparsity = Sparsity::Count(*rc::gen::inRange<uint64_t>(0, 9));
  const uint64_t chunk = *rc::gen::inRange<uint64_t>(1, 20);
  RC_ASSERT(Select(x, sparsity, chunk) == SelectOneByOne(x, sparsity, chunk));
}

// Chunks whose magnitudes differ by powers of two up to 2^60 from their neighbours': every guess is wrong, either way.
TEST(SelectFromChunks, MagnitudesThatJump_SelectWhatEachChunkAloneSelects) {
  std::mt19937 random(7);
  std::vector<float> x(40'000);
  for (const uint64_t chunk : {64, 300, 4096}) {
    for (size_t first = 0; first < x.size(); first += chunk) {
      const int exponent = static_cast<int>(random() % 121) - 60;
      const bool zeros = random() % 4 == 0;
      for (size_t i = first; i < std::min<size_t>(first + chunk, x.size()); ++i) {
        const float u = static_cast<float>(random() >> 8) * 0x1p-24f - 0.5f;
        x[i] = zeros && random() % 100 > 0 ? 0 : std::ldexp(u * u * u, exponent);
      }
    }
    for (const Sparsity& sparsity : {Sparsity::Ratio(1.0 / 64), Sparsity::Count(63), Sparsity::Ratio(0.5)}) {
      EXPECT_EQ(Select(x, sparsity, chunk), SelectOneByOne(x, sparsity, chunk)) << chunk << " " << sparsity.ToString();
    }
  }
}

}  // namespace
}  // namespace laconic::internal
