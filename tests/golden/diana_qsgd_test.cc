// Unbiased compression (Q4): sent plainly (QSGD) it stops at the noise that the codec makes of unequal gradients; DIANA
// compresses differences to shifts that learn those gradients, so that the noise dies out with the distance.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "tests/golden/codecs.h"
#include "tests/golden/reference.h"

namespace laconic::golden {
namespace {

// rand-2 of 20 times 10: omega = 9, alpha = 1/(1+omega).
constexpr ControlOptions kDiana{.alpha = 0.1};

// The stated count, 441, is one draw of another generator. The mean of 16 draws differs from one more draw by a
// deviation of sqrt(1 + 1/16) times that of a draw, which the 16 estimate: 4 of them.
TEST(Diana, RandTwo_ConvergesInAbout440Steps) {
  double sum = 0, squares = 0;
  for (uint64_t seed = 0; seed < 16; ++seed) {
    const int steps = DescendQ4(kDiana, RandK<double>(2, 10, seed), 0.0559, 3000, false).FirstBelow(1e-10);
    ASSERT_GT(steps, 0) << "seed " << seed;
    sum += steps;
    squares += static_cast<double>(steps) * steps;
  }
  const double mean = sum / 16, deviation = std::sqrt((squares - 16 * mean * mean) / 15);
  EXPECT_NEAR(mean, 441, 4 * deviation * std::sqrt(1 + 1.0 / 16));
  EXPECT_LT(deviation, 50);
}

TEST(Diana, StepSizeFiveTimesTooLarge_Diverges) {
  EXPECT_TRUE(DescendQ4(kDiana, RandK<double>(2, 10, 1), 0.3, 3000, false).diverged());
}

// MARINA (Gorbunov et al. 2021, arXiv 2102.07845), which is not one of the library's controls, as an oracle of what
// unbiased messages can do: the estimate moves by Q(g_i(x+) - g_i(x)), and with probability p = k/d, by a coin all
// ranks share, starts anew from the gradients. At its theoretical step about 340 steps; the stated 336 is one draw, as
// above.
int MarinaSteps(double gamma, uint64_t seed) {
  const Quadratic problem;
  const Codec<double> codec = RandK<double>(2, 10, seed);
  const CounterRng coin({.seed = seed, .stream = 1});
  std::vector<double> x(20, 0.0), gradients, before, estimate(20), difference(20), sent(20);
  for (int t = 0; t < 3000; ++t) {
    before = gradients;
    problem.Gradients(x, gradients);
    const bool full = t == 0 || coin.Uniform(static_cast<uint64_t>(t)) < 0.1;
    if (full) std::fill(estimate.begin(), estimate.end(), 0.0);
    for (size_t rank = 0; rank < 4; ++rank) {
      for (size_t j = 0; j < 20; ++j) difference[j] = gradients[20 * rank + j] - (full ? 0 : before[20 * rank + j]);
      sent = difference;
      if (!full) codec(rank, static_cast<uint64_t>(t), difference, sent);
      for (size_t j = 0; j < 20; ++j) estimate[j] += sent[j] / 4;
    }
    for (size_t j = 0; j < 20; ++j) x[j] -= gamma * estimate[j];
    if (problem.Distance(x) < 1e-10) return t;
  }
  return -1;
}

TEST(Marina, RandTwo_ConvergesInAbout340Steps) {
  double sum = 0, squares = 0;
  for (uint64_t seed = 0; seed < 16; ++seed) {
    const int steps = MarinaSteps(0.1119, seed);
    ASSERT_GT(steps, 0) << "seed " << seed;
    sum += steps;
    squares += static_cast<double>(steps) * steps;
  }
  const double mean = sum / 16, deviation = std::sqrt((squares - 16 * mean * mean) / 15);
  EXPECT_NEAR(mean, 335, 4 * deviation * std::sqrt(1 + 1.0 / 16));
  EXPECT_LT(deviation, 80);
}

// Without shifts the noise per step is omega zeta_*^2 / n = 9 * 4.82^2 / 4 = 52, which gradient descent holds at a mean
// square of about gamma / (2 mean curvature) * 52 = 0.0559 / 2.8 * 52 = 1: far from 0, whatever the number of steps.
TEST(Qsgd, RandTwo_StopsAtTheNoiseOfUnequalGradients) {
  const double level = DescendQ4(kNone, RandK<double>(2, 10, 1), 0.0559, 20000).Level();
  EXPECT_GT(level, 0.5);
  EXPECT_LT(level, 2.0);
}

// Settling below sqrt(20) elements * 8 (largest gradient) * 2^-24 * 4 roundings a step, random signs over about 500
// steps.
constexpr double kFloatFloor = 4.48 * 8 * 0x1p-24 * 4 * 22.4;

class UnbiasedCodec : public ::testing::TestWithParam<std::string> {};

TEST_P(UnbiasedCodec, InFloat_DianaConvergesWhereQsgdDoesNot) {
  const std::string& spec = GetParam();
  const Traits traits = MakeCodec(spec)->traits(Shape::Flat(20));
  ControlSpec diana;
  diana.method = ControlMethod::kDiana;
  const absl::StatusOr<ControlOptions> options = ResolveControl(diana, traits, spec);
  ASSERT_TRUE(options.ok()) << options.status();
  const Codec<float> codec = Encoded(spec, 20, /*seed=*/7);
  EXPECT_LT(DescendQ4(*options, codec, 0.05, 4000, false).last(), kFloatFloor);
  EXPECT_GT(DescendQ4(kNone, codec, 0.05, 4000, false).Level(), 100 * kFloatFloor);
}

INSTANTIATE_TEST_SUITE_P(Registered, UnbiasedCodec,
                         ::testing::Values("quantize(bits=2, rounding=stochastic, norm=l2)",
                                           "quantize(bits=4, rounding=stochastic, norm=l2)",
                                           "randk(k=2, scale=unbiased, seed=rank)", "natural"));

}  // namespace
}  // namespace laconic::golden
