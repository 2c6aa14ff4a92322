// The codebooks that the build computed, against published ones and against what they are for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "compressors/gaussian_codebook.h"
#include "laconic/base/hash.h"

namespace laconic {
namespace {

using internal::GaussianCodebook;
using internal::GaussianCodebookOf;
using ::testing::FloatNear;
using ::testing::Pointwise;

constexpr double kDistortion[] = {.363380, .117482, .034548, .009501, .002505, .000644, .0001635, .0000412};
constexpr double kLargestCodeword[] = {.797885, 1.510418, 2.151946, 2.732589, 3.26073, 3.74410, 4.18969, 4.60354};

TEST(GaussianCodebook, Codewords_AreThePublishedOnes) {  // as EDEN's, to six places
  const auto expect = [](int bits, const std::vector<float>& codewords) {
    EXPECT_THAT(GaussianCodebookOf(bits).levels.codewords, Pointwise(FloatNear(1e-6f), codewords)) << bits;
  };
  expect(1, {.797885f});
  expect(2, {.452780f, 1.510418f});
  expect(3, {.245094f, .756005f, 1.343909f, 2.151946f});
  expect(4, {.128395f, .388048f, .656759f, .942340f, 1.256231f, 1.618046f, 2.069017f, 2.732589f});
}

TEST(GaussianCodebook, DistortionAndLargestCodeword_AreThePublishedOnes) {
  for (int bits = 1; bits <= 8; ++bits) {
    const GaussianCodebook& codebook = GaussianCodebookOf(bits);
    // To the digits given.
    EXPECT_NEAR(codebook.distortion, kDistortion[bits - 1], bits < 7 ? 5.1e-7 : 5.1e-8) << bits;
    EXPECT_NEAR(codebook.levels.codewords.back(), kLargestCodeword[bits - 1], 5.1e-6) << bits;
    // Between the lower bound of any code and Panter and Dite's high-rate limit.
    EXPECT_GT(codebook.distortion, std::pow(4, -bits));
    EXPECT_LT(codebook.distortion, std::sqrt(3) * M_PI / 2 * std::pow(4, -bits));
  }
}

TEST(GaussianCodebook, Boundaries_LieMidwayBetweenCodewords) {
  for (int bits = 1; bits <= 8; ++bits) {
    const kernels::Codebook& levels = GaussianCodebookOf(bits).levels;
    ASSERT_EQ(levels.codewords.size(), size_t{1} << (bits - 1));
    ASSERT_EQ(levels.boundaries.size(), levels.codewords.size() - 1);
    for (size_t j = 0; j < levels.boundaries.size(); ++j) {
      // Three roundings to float of numbers below 8.
      EXPECT_NEAR(levels.boundaries[j], (levels.codewords[j] + levels.codewords[j + 1]) / 2, 3 * 0x1p-22f);
    }
  }
}

// Sums of random signs, exactly: all 2^n of them.
double ErrorOnSigns(const kernels::Codebook& levels, const std::vector<double>& weights) {
  double norm2 = 0, error = 0;
  for (const double weight : weights) norm2 += weight * weight;
  for (uint32_t signs = 0; signs < (1u << weights.size()); ++signs) {
    double z = 0;
    for (size_t j = 0; j < weights.size(); ++j) z += (signs >> j & 1) != 0 ? -weights[j] : weights[j];
    z = std::fabs(z) / std::sqrt(norm2);
    size_t rank = 0;
    while (rank < levels.boundaries.size() && z > levels.boundaries[rank]) ++rank;
    error += std::pow(z - levels.codewords[rank], 2);
  }
  return error / (1u << weights.size());
}

TEST(GaussianCodebook, ErrorBound_HoldsForSumsOfRandomSigns) {
  std::vector<std::vector<double>> families;
  for (size_t n = 1; n <= 12; ++n) families.push_back(std::vector<double>(n, 1.0));  // equal ones: a lattice
  for (const double ratio : {0.3, 0.5, 0.8, 1 / std::sqrt(2.0)}) {
    for (size_t n = 2; n <= 12; n += 2) {
      families.emplace_back();
      for (size_t j = 0; j < n; ++j) families.back().push_back(std::pow(ratio, j));
    }
  }
  for (int large = 1; large < 40; ++large) {  // one element over many small ones
    families.push_back(std::vector<double>(10, 1.0));
    families.back()[0] = 0.25 * large;
  }
  for (int bits = 1; bits <= 8; ++bits) {
    const GaussianCodebook& codebook = GaussianCodebookOf(bits);
    double worst = 0;
    for (const auto& weights : families) worst = std::max(worst, ErrorOnSigns(codebook.levels, weights));
    EXPECT_LE(worst, codebook.error_bound) << bits;
    EXPECT_GT(codebook.error_bound, codebook.distortion);
  }
}

TEST(GaussianCodebook, OneBit_IsBoundedByItsWorstCaseOfTwoEqualElements) {
  const GaussianCodebook& codebook = GaussianCodebookOf(1);
  // 1 + c^2 - sqrt(2) c, rounded up to four digits.
  EXPECT_NEAR(ErrorOnSigns(codebook.levels, {1, 1}), codebook.error_bound, 1e-4);
}

TEST(GaussianCodebook, Tables_AreTheSameBitsOnEveryMachine) {
  std::vector<float> all;
  for (int bits = 1; bits <= 8; ++bits) {
    const kernels::Codebook& levels = GaussianCodebookOf(bits).levels;
    all.insert(all.end(), levels.codewords.begin(), levels.codewords.end());
    all.insert(all.end(), levels.boundaries.begin(), levels.boundaries.end());
  }
  // Ranks with other codebooks would not understand each other: a change of this number is a change of the format.
  EXPECT_EQ(Hash64(std::as_bytes(std::span<const float>(all))), 0xc9066ec62b31081bu);
}

}  // namespace
}  // namespace laconic
