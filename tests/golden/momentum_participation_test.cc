// EControl beyond its paper (Q4, top-2, eta = 0.1): on momentum instead of gradients, and with ranks that come and go.
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/golden/reference.h"

namespace laconic::golden {
namespace {

TEST(EControlMomentum, ConvergesAndSoonerAtAFifth) {
  for (const auto& [beta, steps] : {std::pair{1.0, 425}, {0.5, 407}, {0.2, 354}, {0.1, 445}}) {
    EXPECT_EQ(DescendQ4(EControl(0.1, beta), TopK<double>(2), 0.05, 1000).FirstBelow(1e-10), steps) << "beta " << beta;
  }
}

// EF21-SGDM through the same class: without noise, momentum only delays EF21 (358 steps).
TEST(EControlMomentum, Ef21Sgdm_Converges) {
  const Trace trace = DescendQ4({.alpha = 1, .momentum = Momentum::Average(0.1)}, TopK<double>(2), 0.05, 2000);
  EXPECT_GT(trace.FirstBelow(1e-10), 0);
}

// Steps to 1e-10 when each rank takes part with probability p: absent ranks freeze, all step along the new H.
int StepsWithParticipation(const ControlOptions& options, double p, double gamma, uint64_t seed) {
  const Quadratic problem;
  Cluster<double> cluster(4, 20, options, TopK<double>(2));
  std::vector<double> x(20, 0.0), gradients;
  problem.Gradients(x, gradients);
  cluster.StartFrom(gradients);
  const CounterRng coin({.seed = seed});
  for (int t = 0; t < 20000; ++t) {
    problem.Gradients(x, gradients);
    const std::span<const double> direction =
        cluster.Step(gradients, 1, [&](size_t rank) { return coin.Uniform(4 * static_cast<uint64_t>(t) + rank) < p; });
    for (size_t j = 0; j < 20; ++j) x[j] -= gamma * direction[j];
    if (problem.Distance(x) < 1e-10) {
      EXPECT_LT(cluster.ShiftMismatch(), 1e-12);
      return t;
    }
  }
  return 20000;
}

// The stated counts are single draws of another generator. The mean of 16 draws differs from one more draw by a
// deviation of sqrt(1 + 1/16) times that of a draw, which the 16 estimate: 4 of them.
void ExpectStated(const ControlOptions& options, double p, double gamma, double stated) {
  double sum = 0, squares = 0;
  for (uint64_t seed = 0; seed < 16; ++seed) {
    const double steps = StepsWithParticipation(options, p, gamma, seed);
    sum += steps;
    squares += steps * steps;
  }
  const double mean = sum / 16, deviation = std::sqrt((squares - 16 * mean * mean) / 15);
  EXPECT_NEAR(mean, stated, 4 * deviation * std::sqrt(1 + 1.0 / 16)) << "p " << p << ", gamma " << gamma;
  EXPECT_LT(mean, 2000) << "p " << p << ", gamma " << gamma;
}

TEST(EControlParticipation, AbsentRanksFreeze_Converges) {
  for (const auto& [p, gamma, stated] :
       {std::tuple{0.5, 0.05, 541}, {0.25, 0.05, 1591}, {0.5, 0.02, 1027}, {0.25, 0.02, 1208}}) {
    ExpectStated(EControl(0.1), p, gamma, stated);
  }
}

// EF21-PP (Fatkhullin et al. 2021, arXiv 2110.03294).
TEST(Ef21Participation, AbsentRanksFreeze_Converges) {
  for (const auto& [p, stated] : {std::pair{0.5, 323}, {0.25, 1218}}) ExpectStated(kEf21, p, 0.1, stated);
}

}  // namespace
}  // namespace laconic::golden
