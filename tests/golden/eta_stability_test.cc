// EControl's feedback weight: eta = delta is fast and stable, a few times more is not (delta = 0.1 throughout).
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/golden/reference.h"

namespace laconic::golden {
namespace {

TEST(EControlEta, ThreeTimesDelta_Diverges) {
  for (const double gamma : {0.1, 0.05, 0.025}) {
    EXPECT_TRUE(DescendQ4(EControl(0.3), TopK<double>(2), gamma, 10000).diverged()) << "gamma " << gamma;
  }
}

TEST(EControlEta, TwoAndAHalfTimesDelta_Diverges) {
  EXPECT_TRUE(DescendQ4(EControl(0.25), TopK<double>(2), 0.05, 4000).diverged());
}

// The border with the optimiser in the loop lies at 2 delta: there roundings grow, by a factor of e in a few hundred
// steps. How far they have come after any given number of steps depends on the roundings themselves, so only the ends
// are asserted.
TEST(EControlEta, JustBelowTwiceDelta_Converges) {
  EXPECT_EQ(DescendQ4(EControl(0.19), TopK<double>(2), 0.05, 1000).FirstBelow(1e-10), 411);
}

TEST(EControlEta, TwiceDelta_NeverConvergesAndDivergesInTheEnd) {
  const Trace trace = DescendQ4(EControl(0.2), TopK<double>(2), 0.05, 40000);
  EXPECT_EQ(trace.FirstBelow(1e-10), -1);
  EXPECT_TRUE(trace.diverged());
  EXPECT_GT(trace.distance.size(), 4000u);
}

TEST(EControlEta, SmallerEta_IsStableAndSlower) {
  EXPECT_EQ(DescendQ4(EControl(0.05), TopK<double>(2), 0.1, 1000).FirstBelow(1e-10), 433);
  EXPECT_EQ(DescendQ4(EControl(0.01), TopK<double>(2), 0.1, 4000).FirstBelow(1e-10), 1868);
}

// On a frozen gradient (here 0, with the shift off by r) error and shift forget together. The log of the contraction
// per step of (eta |e|, |g - h|), over the second half of `steps`.
double LogRate(size_t elements, size_t k, double eta, int steps) {
  std::vector<double> gradient(elements, 0.0), off(elements), average(elements, 0.0);
  for (size_t j = 0; j < elements; ++j) off[j] = std::sin(1.0 + 7.0 * static_cast<double>(j));
  Cluster<double> cluster(1, elements, EControl(eta), TopK<double>(k));
  cluster.StartFrom(off);
  auto size = [&] {
    return std::log(std::hypot(eta * Norm(cluster.control(0).error()), Norm(cluster.control(0).shift())));
  };
  double half = 0;
  for (int t = 0; t < steps; ++t) {
    cluster.Step(gradient);
    if (t == steps / 2) half = size();
  }
  return (size() - half) / (steps - steps / 2 - 1);
}

TEST(EControlEta, AtDelta_ForgetsAtNineTenthsPerStep) {
  EXPECT_NEAR(LogRate(20, 2, 0.1, 800), std::log(0.9), 0.01 * 0.10536);
  EXPECT_NEAR(LogRate(100, 10, 0.1, 800), std::log(0.9), 0.01 * 0.10536);
}

TEST(EControlEta, AtAQuarterOfDelta_ForgetsAQuarterAsFast) {
  EXPECT_NEAR(LogRate(20, 2, 0.025, 800), -0.0268, 0.05 * 0.0268);
}

TEST(EControlEta, AtThreeTimesDelta_GrowsEvenOnAFrozenGradient) { EXPECT_GT(LogRate(20, 2, 0.3, 800), 0); }

}  // namespace
}  // namespace laconic::golden
