#include "compressors/topk_select.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "compressors/kernels/sparse.h"
#include "tests/base/matchers.h"

namespace laconic::internal {
namespace {

using ::testing::ElementsAre;
using Indices = std::vector<uint32_t>;

// The positions of a selection, whose values must be those of x.
Indices PositionsOf(const absl::StatusOr<Entries>& entries, std::span<const float> x) {
  EXPECT_THAT(entries, IsOk());
  if (!entries.ok()) return {};
  for (size_t j = 0; j < entries->values.size(); ++j) EXPECT_EQ(entries->values[j], x[entries->positions[j]]);
  return Indices(entries->positions.begin(), entries->positions.end());
}

Indices Select(std::span<const float> x, size_t k) { return PositionsOf(SelectTopK(x, k), x); }

// The definition: sort everything by |x| descending, then index ascending.
Indices SelectBySorting(std::span<const float> x, size_t k) {
  Indices order(x.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return std::fabs(x[a]) > std::fabs(x[b]); });
  order.resize(k);
  std::sort(order.begin(), order.end());
  return order;
}

TEST(SelectTopK, TwoOfFour_AreTheLargestMagnitudes) {
  EXPECT_THAT(Select(std::vector<float>{0.5f, -3.0f, 1.0f, 2.0f}, 2), ElementsAre(1, 3));
}

TEST(SelectTopK, Ties_GoToTheLowerIndex) {
  EXPECT_THAT(Select(std::vector<float>{1, -2, 2, -1, 1, 2}, 4), ElementsAre(0, 1, 2, 5));
  EXPECT_THAT(Select(std::vector<float>(5, -0.0f), 3), ElementsAre(0, 1, 2));
}

TEST(SelectTopK, NoneAndAll_AreLegal) {
  EXPECT_THAT(Select(std::vector<float>{1, 2}, 0), ElementsAre());
  EXPECT_THAT(Select(std::vector<float>{1, 2}, 2), ElementsAre(0, 1));
  EXPECT_THAT(Select({}, 0), ElementsAre());
}

TEST(SelectTopK, NeighbouringFloatsAndDenormals_AreToldApart) {
  const float one = 1.0f;
  const float tiny = std::numeric_limits<float>::denorm_min();
  EXPECT_THAT(Select(std::vector<float>{one, std::nextafter(one, 2.0f), std::nextafter(one, 0.0f)}, 1), ElementsAre(1));
  EXPECT_THAT(Select(std::vector<float>{0, tiny, -2 * tiny, -0.0f}, 2), ElementsAre(1, 2));
}

TEST(SelectTopK, NanOrInfinity_IsInvalidArgumentThatNamesTheFirst) {
  std::vector<float> x(100, 1.0f);
  x[40] = x[70] = -std::numeric_limits<float>::infinity();
  x[50] = std::numeric_limits<float>::quiet_NaN();
  for (const size_t k : {0, 1, 3, 50, 100}) {
    EXPECT_THAT(SelectTopK(x, k), HasStatus(absl::StatusCode::kInvalidArgument, "topk: element 40 of 100 is -inf"))
        << k;
  }
}

RC_GTEST_PROP(SelectTopK, FewDistinctValues_SelectsWhatSortingSelects, ()) {
  const auto small = *rc::gen::container<std::vector<int>>(rc::gen::inRange(-3, 4));
  const std::vector<float> x(small.begin(), small.end());
  const size_t k = *rc::gen::inRange<size_t>(0, x.size() + 1);
  RC_ASSERT(Select(x, k) == SelectBySorting(x, k));
}

RC_GTEST_PROP(SelectTopK, AnyFiniteFloats_SelectsWhatSortingSelects, ()) {
  const auto bits = *rc::gen::container<std::vector<uint32_t>>(rc::gen::arbitrary<uint32_t>());
  std::vector<float> x(bits.size());
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = std::bit_cast<float>(bits[i] * 2654435761u & 0xff7fffffu);  // finite, all scales
  const size_t k = *rc::gen::inRange<size_t>(0, x.size() + 1);
  RC_ASSERT(Select(x, k) == SelectBySorting(x, k));
}

RC_GTEST_PROP(SelectTopK, AnyGuess_SelectsTheSameAndLeavesTheRest, ()) {
  const auto small = *rc::gen::container<std::vector<int>>(rc::gen::inRange(-3, 4));
  const std::vector<float> x(small.begin(), small.end());
  const size_t k = *rc::gen::inRange<size_t>(0, x.size() + 1);
  const float guess = static_cast<float>(*rc::gen::inRange(0, 5));
  std::vector<float> residual(x.size(), 9);
  const Indices selected = PositionsOf(SelectTopKFrom(kernels::KeyOf(guess), x, k, residual), x);
  RC_ASSERT(selected == SelectBySorting(x, k));
  std::vector<float> expected = x;
  for (const uint32_t i : selected) expected[i] = 0;
  RC_ASSERT(residual == expected);
}

// Long enough for the sampled threshold, with data that suits it and data that defeats it.
class LongTensor : public testing::TestWithParam<const char*> {
 protected:
  static constexpr size_t kElements = 200'003;

  std::vector<float> Data() const {
    const std::string kind = GetParam();
    std::mt19937 random(7);
    std::vector<float> x(kElements);
    for (size_t i = 0; i < x.size(); ++i) {
      const float uniform = static_cast<float>(random() >> 8) * 0x1p-24f - 0.5f;
      if (kind == "uniform") x[i] = uniform;
      if (kind == "heavy") x[i] = uniform / (1e-6f + std::fabs(uniform * uniform * uniform));
      if (kind == "constant") x[i] = i % 2 == 0 ? 3.0f : -3.0f;
      if (kind == "sparse") x[i] = i % 1000 == 0 ? uniform : 0.0f;
      if (kind == "one-hot") x[i] = i == 77'777 ? 1.0f : 0.0f;
      if (kind == "ascending") x[i] = static_cast<float>(i);
      if (kind == "descending") x[i] = static_cast<float>(x.size() - i);
      if (kind == "spike") x[i] = i < 500 ? 100 + uniform : uniform;  // large entries side by side
      if (kind == "few") x[i] = static_cast<float>(static_cast<int>(16 * uniform));
    }
    return x;
  }
};

TEST_P(LongTensor, AnyK_SelectsWhatSortingSelects) {
  const std::vector<float> x = Data();
  for (const size_t k : {1u, 2u, 100u, 499u, 501u, 1'000u, 10'000u, 25'000u, 30'000u, 100'002u}) {
    EXPECT_EQ(Select(x, k), SelectBySorting(x, k)) << k;
  }
}

// As a message of two parts. With room for 2 k + 65,536 candidates, those of a guess of 0 are narrowed down many
// times; a guess above all keys takes a second pass.
TEST_P(LongTensor, AnyGuess_LeavesTheMessageWithoutTheSelected) {
  const std::vector<float> data = Data();
  Message message(data);
  message.shift = data;
  message.error = data;
  message.error_weight = 2;
  std::vector<float> x(data.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = 2 * data[i];  // g - h + 2 e
  for (const size_t k : {1u, 1'000u, 30'000u}) {
    Indices expected = SelectBySorting(x, k);
    std::vector<float> rest = x;
    for (const uint32_t i : expected) rest[i] = 0;
    for (const float guess : {0.0f, 0.4f, 1e30f}) {
      std::vector<float> residual(x.size(), 9);
      EXPECT_EQ(PositionsOf(SelectTopKFrom(kernels::KeyOf(guess), message, k, residual), x), expected) << guess;
      EXPECT_EQ(residual, rest) << guess;
    }
    std::vector<float> residual(x.size(), 9);
    EXPECT_EQ(PositionsOf(SelectTopK(message, k, residual), x), expected);
    EXPECT_EQ(residual, rest);
  }
}

TEST_P(LongTensor, OneNan_IsFoundWhateverK) {
  std::vector<float> x = Data();
  x[99'999] = std::numeric_limits<float>::quiet_NaN();
  for (const size_t k : {0u, 1u, 1'000u, 50'000u}) {
    EXPECT_THAT(SelectTopK(x, k), HasStatus(absl::StatusCode::kInvalidArgument,
                                            testing::StartsWith("topk: element 99999 of 200003 is ")));
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, LongTensor,
                         testing::Values("uniform", "heavy", "constant", "sparse", "one-hot", "ascending", "descending",
                                         "spike", "few"),
                         [](const auto& info) {
                           std::string name = info.param;
                           name.erase(std::remove(name.begin(), name.end(), '-'), name.end());
                           return name;
                         });

}  // namespace
}  // namespace laconic::internal
