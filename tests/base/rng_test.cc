#include "laconic/base/rng.h"

#include <Random123/philox.h>
#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <vector>

namespace laconic {
namespace {

using testing::ElementsAre;

// Random123's own known answers (kat_vectors, "philox 4x32 10"), so that the installed header is the generator we mean.
TEST(Philox, KnownAnswerVectors_Match) {
  const auto run = [](std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
    const r123::Philox4x32::ctr_type out = r123::Philox4x32()({{c[0], c[1], c[2], c[3]}}, {{k[0], k[1]}});
    return std::vector<uint32_t>(out.begin(), out.end());
  };
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_THAT(run({0, 0, 0, 0}, {0, 0}), ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  EXPECT_THAT(run({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(run({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(CounterRng, Block_IsPhiloxOfTheIndexUnderTheDerivedKey) {
  EXPECT_THAT(CounterRng::FromDerivedKey(0).Block(0), ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  // All words of index and key in use; from an independent implementation of the paper's round function.
  EXPECT_THAT(CounterRng::FromDerivedKey(0x299f31d0a4093822).Block(0x85a308d3243f6a88),
              ElementsAre(0xe69c9c31, 0xb5a3d762, 0xe733bfc1, 0x341a787c));
}

// Payloads carry the derived key and checkpoints rely on repeated draws, so the derivation is frozen. Values from an
// independent implementation.
TEST(CounterRng, DerivedKey_IsFrozen) {
  EXPECT_EQ(CounterRng(RngKey{}).derived_key(), 0xdd98007142630d24u);
  EXPECT_EQ(CounterRng({.seed = 0x123456789abcdef0, .step = 5, .tensor = 7, .rank = 3, .stream = 11}).derived_key(),
            0xac76980e3109da3cu);
  EXPECT_EQ(CounterRng(RngKey{.seed = 42, .step = uint64_t{1} << 40}.Shared()).derived_key(), 0x60c9c8cf8ae220beu);
}

TEST(CounterRng, FromDerivedKey_DrawsTheSameNumbers) {
  const CounterRng rng({.seed = 1, .step = 2, .tensor = 3, .rank = 4, .stream = 5});
  const CounterRng again = CounterRng::FromDerivedKey(rng.derived_key());
  for (uint64_t i = 0; i < 9; ++i) EXPECT_EQ(again.Word(i), rng.Word(i));
}

// Every bit of every field reaches the derived key: 64 + 64 + 3 * 32 single-bit neighbours of each of 8 keys are all
// different. Chance of a false alarm: 1,800^2 / 2 pairs / 2^64 < 1e-12.
TEST(CounterRng, EveryBitOfTheKey_ChangesTheStream) {
  std::set<uint64_t> seen;
  size_t keys = 0;
  const auto add = [&](const RngKey& key) {
    seen.insert(CounterRng(key).derived_key());
    ++keys;
  };
  for (uint32_t i = 0; i < 8; ++i) {
    const RngKey base = {.seed = 1000 + i, .step = i, .tensor = i, .rank = i, .stream = i};
    for (int bit = 3; bit < 64; ++bit) {  // below bit 3 the eight keys are neighbours of one another
      RngKey key = base;
      key.seed ^= uint64_t{1} << bit;
      add(key);
      key = base;
      key.step ^= uint64_t{1} << bit;
      add(key);
    }
    for (int bit = 3; bit < 32; ++bit) {
      for (uint32_t RngKey::*field : {&RngKey::tensor, &RngKey::rank, &RngKey::stream}) {
        RngKey key = base;
        key.*field ^= uint32_t{1} << bit;
        add(key);
      }
    }
  }
  EXPECT_EQ(seen.size(), keys);
}

// Values swapped between fields, where a derivation that added or xor-ed the fields would meet.
TEST(CounterRng, SameValuesInOtherFields_GiveOtherStreams) {
  std::set<uint64_t> seen;
  std::array<uint32_t, 4> values = {0, 1, 2, 3};
  size_t keys = 0;
  do {
    seen.insert(CounterRng({.seed = 9, .step = values[0], .tensor = values[1], .rank = values[2], .stream = values[3]})
                    .derived_key());
    ++keys;
  } while (std::next_permutation(values.begin(), values.end()));
  EXPECT_EQ(keys, 24u);
  EXPECT_EQ(seen.size(), keys);
}

TEST(CounterRng, SharedKey_IsTheSameOnAllRanksAndNoRanksOwn) {
  const RngKey rank0 = {.seed = 1, .rank = 0};
  const RngKey rank1 = {.seed = 1, .rank = 1};
  EXPECT_EQ(CounterRng(rank0.Shared()).derived_key(), CounterRng(rank1.Shared()).derived_key());
  EXPECT_NE(CounterRng(rank0.Shared()).derived_key(), CounterRng(rank0).derived_key());
}

RC_GTEST_PROP(CounterRng, Words_AreTheWordsOneByOne, (uint64_t seed)) {
  const CounterRng rng({.seed = seed});
  const auto first = *rc::gen::inRange<uint64_t>(0, 100);
  std::vector<uint32_t> words(*rc::gen::inRange<size_t>(0, 100));
  rng.Words(first, words);
  for (size_t i = 0; i < words.size(); ++i) RC_ASSERT(words[i] == rng.Word(first + i));
}

TEST(CounterRng, ToUniform_EndsOfTheRange) {
  EXPECT_EQ(CounterRng::ToUniform(0), 0.0f);
  EXPECT_EQ(CounterRng::ToUniform(0xff), 0.0f);
  EXPECT_EQ(CounterRng::ToUniform(0x80000000), 0.5f);
  EXPECT_EQ(CounterRng::ToUniform(0xffffffff), 1.0f - 0x1p-24f);
}

// Pearson's statistic of n draws in 64 equal cells has 63 degrees of freedom: mean 63, standard deviation sqrt(2 * 63)
// = 11.2. By Laurent and Massart (2000, Lemma 1), P(X >= 63 + 2 sqrt(63 x) + 2 x) <= e^-x; x = 14 gives 150.4 at
// confidence 1 - 1e-6. The lower tail, P(X <= 63 - 2 sqrt(63 x)) <= e^-x, is too weak to catch evenness at x = 14, so x
// = 10 (12.8, 5e-5).
TEST(CounterRng, Uniform_FillsItsCellsEvenly) {
  constexpr int kDraws = 1 << 16;
  constexpr int kCells = 64;
  for (const uint64_t seed : {0, 1, 2, 3}) {
    const CounterRng rng({.seed = seed, .step = 10, .tensor = 1});
    std::vector<int> counts(kCells);
    for (int i = 0; i < kDraws; ++i) ++counts[static_cast<int>(rng.Uniform(i) * kCells)];
    double statistic = 0;
    constexpr double kExpected = double{kDraws} / kCells;
    for (const int count : counts) statistic += (count - kExpected) * (count - kExpected) / kExpected;
    EXPECT_LT(statistic, 150.4) << "seed " << seed;
    EXPECT_GT(statistic, 12.8) << "seed " << seed;
  }
}

// The same draw on neighbouring ranks and steps must be independent: the mean of n products of centred uniforms has
// standard deviation 1/(12 sqrt(n)); five of them (6e-7 by the normal law) at n = 2^16 are 1.63e-3.
TEST(CounterRng, NeighbouringStreams_AreUncorrelated) {
  constexpr int kDraws = 1 << 16;
  const RngKey base = {.seed = 7, .step = 100, .tensor = 2, .rank = 0};
  RngKey next_rank = base, next_step = base, next_tensor = base;
  next_rank.rank = 1;
  next_step.step = 101;
  next_tensor.tensor = 3;
  for (const RngKey& other : {next_rank, next_step, next_tensor, base.WithStream(1)}) {
    const CounterRng a(base), b(other);
    double sum = 0;
    for (int i = 0; i < kDraws; ++i) sum += (a.Uniform(i) - 0.5) * (b.Uniform(i) - 0.5);
    EXPECT_LT(std::abs(sum / kDraws), 1.63e-3);
  }
}

// Each bit of a word is set in half the draws: 2^16 fair coins stay within 5 standard deviations, 5 * 128 = 640, of
// 32,768.
TEST(CounterRng, EveryBitOfAWord_IsFair) {
  constexpr int kDraws = 1 << 16;
  const CounterRng rng({.seed = 5});
  std::array<int, 32> set{};
  for (int i = 0; i < kDraws; ++i) {
    for (int bit = 0; bit < 32; ++bit) set[bit] += rng.Word(i) >> bit & 1;
  }
  for (const int count : set) EXPECT_NEAR(count, kDraws / 2, 640);
}

RC_GTEST_PROP(CounterRng, Below_StaysBelow, (uint64_t seed, uint64_t index)) {
  const uint32_t bound = *rc::gen::inRange<uint32_t>(1, 0xffffffff);
  RC_ASSERT(CounterRng({.seed = seed}).Below(index, bound) < bound);
}

// 2^16 throws of a die of six: each face within 5 standard deviations, 5 * sqrt(65536 * 5 / 36) = 477, of 10,922.7.
TEST(CounterRng, Below_IsAFairDie) {
  const CounterRng rng({.seed = 6});
  std::array<int, 6> faces{};
  for (int i = 0; i < 1 << 16; ++i) ++faces[rng.Below(i, 6)];
  for (const int count : faces) EXPECT_NEAR(count, 10922.7, 477);
}

}  // namespace
}  // namespace laconic
