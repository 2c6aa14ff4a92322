// Unbiased compression (Q4): sent plainly (QSGD) it stops at the noise that the codec makes of unequal gradients; DIANA
// compresses differences to shifts that learn those gradients, so that the noise dies out with the distance.
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
