// Deterministic gradients, unequal ranks (Q4), top-2 of 20: who stalls, who converges, and in how many steps.
// Counts are 0-based: the first t with |x_t - x*| < 1e-10 after update t.
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/golden/codecs.h"
#include "tests/golden/reference.h"

namespace laconic::golden {
namespace {

constexpr double kConverged = 1e-10;

TEST(HeterogeneousQuadratic, Instance_HasTheStatedHeterogeneity) {
  const Quadratic problem;
  std::vector<double> gradients;
  problem.Gradients(problem.optimum, gradients);
  EXPECT_NEAR(Norm(gradients) / 2, 4.823135, 5e-7);  // zeta_* = sqrt(mean_i |grad f_i(x*)|^2), 4 ranks
  EXPECT_NEAR(Norm(problem.optimum), 0.409349, 5e-7);
}

TEST(HeterogeneousQuadratic, NoFeedback_StallsWhateverTheStepSize) {
  EXPECT_NEAR(DescendQ4(kNone, TopK<double>(2), 0.1, 4000).Level(), 0.295417, 0.02 * 0.295417);
  EXPECT_NEAR(DescendQ4(kNone, TopK<double>(2), 0.05, 8000).Level(), 0.306770, 0.02 * 0.306770);
}

// |x - x*| ~ gamma zeta_* / delta: halving gamma halves the stall. The levels are averages over orbits of T = 400/gamma
// steps that roundings can permute, hence 5 %.
TEST(HeterogeneousQuadratic, ErrorFeedback_StallsInProportionToTheStepSize) {
  double previous = 0;
  for (const auto& [gamma, level] : {std::pair{0.05, 0.324}, {0.025, 0.159}, {0.0125, 0.0787}, {0.00625, 0.0392}}) {
    const double measured = DescendQ4(kEf, TopK<double>(2), gamma, static_cast<int>(400 / gamma)).Level();
    EXPECT_NEAR(measured, level, 0.05 * level) << "gamma " << gamma;
    if (previous != 0) {
      EXPECT_NEAR(previous / measured, 2.0, 0.2) << "gamma " << gamma;
    }
    previous = measured;
  }
}

// Everything is homogeneous of degree one in the b_i, and powers of two multiply without rounding.
TEST(HeterogeneousQuadratic, ErrorFeedback_StallScalesExactlyWithHeterogeneity) {
  auto level = [](double scale) {
    const Quadratic problem(4, scale);
    Cluster<double> cluster(4, 20, kEf, TopK<double>(2));
    return Descend(problem, cluster, 0.05, 8000).Level();
  };
  const double base = level(1);
  EXPECT_EQ(level(2), 2 * base);
  EXPECT_EQ(level(4), 4 * base);
}

// z = x - gamma mean(e) takes plain gradient steps: the telescoping argument behind every proof of error feedback.
TEST(HeterogeneousQuadratic, ErrorFeedback_VirtualIterateTakesUncompressedSteps) {
  const Quadratic problem;
  const double gamma = 0.05;
  Cluster<double> cluster(4, 20, kEf, TopK<double>(2));
  std::vector<double> virtual_iterate(20, 0.0), gradients, at(20, 0.0);
  Descend<double>(problem, cluster, gamma, 1000, false, [&](int t, const std::vector<double>& x) {
    problem.Gradients(at, gradients);
    const std::vector<double> error = cluster.MeanError();
    for (size_t j = 0; j < 20; ++j) {
      double mean = 0;
      for (size_t i = 0; i < 4; ++i) mean += gradients[20 * i + j] / 4;
      virtual_iterate[j] -= gamma * mean;
      EXPECT_NEAR(x[j] - gamma * error[j], virtual_iterate[j], 1e-12) << "step " << t;
    }
    at = x;
  });
}

TEST(HeterogeneousQuadratic, EControl_ReachesTheOptimum) {
  for (const auto& [gamma, steps] : {std::pair{0.1, 282}, {0.05, 425}, {0.025, 815}}) {
    const Trace trace = DescendQ4(EControl(0.1), TopK<double>(2), gamma, 4000);
    EXPECT_EQ(trace.FirstBelow(kConverged), steps) << "gamma " << gamma;
    // H is a running sum: until the messages vanish (815 steps) each of its 20 entries, |H_j| <= 2, takes roundings of
    // 2 * 2^-53 with random signs, sqrt(815 * 20) of them.
    EXPECT_LT(trace.last(), 128 * 2 * 0x1p-53) << "gamma " << gamma;
  }
}

TEST(HeterogeneousQuadratic, EControlFromZero_NeedsNoDenseFirstRound) {
  EXPECT_EQ(DescendQ4(EControl(0.1), TopK<double>(2), 0.05, 1000, /*full_start=*/false).FirstBelow(kConverged), 423);
}

TEST(HeterogeneousQuadratic, Ef21_ReachesTheOptimum) {
  for (const auto& [gamma, steps] : {std::pair{0.1, 149}, {0.05, 358}, {0.025, 775}}) {
    EXPECT_EQ(DescendQ4(kEf21, TopK<double>(2), gamma, 1000).FirstBelow(kConverged), steps) << "gamma " << gamma;
  }
}

// eta -> 0 turns EControl into EF21: at eta = 2^-1000 every product eta e is far below the last bit of g - h.
TEST(HeterogeneousQuadratic, EControlAtVanishingEta_IsEf21BitForBit) {
  const Trace limit = DescendQ4(EControl(0x1p-1000), TopK<double>(2), 0.1, 300);
  EXPECT_EQ(limit.distance, DescendQ4(kEf21, TopK<double>(2), 0.1, 300).distance);
}

// The value of the proofs, delta/400, is an artefact: the slow mode decays like (1 - eta)^t.
TEST(HeterogeneousQuadratic, EControlAtTheProofsEta_IsFarFromConvergedAfterTenThousandSteps) {
  EXPECT_NEAR(DescendQ4(EControl(0.1 / 400), TopK<double>(2), 0.1, 10000).last(), 2.499e-5, 0.01 * 2.499e-5);
}

TEST(HeterogeneousQuadratic, EControl_KeepsTheAverageOfShifts) {
  const Quadratic problem;
  Cluster<double> cluster(4, 20, EControl(0.1), TopK<double>(2));
  Descend<double>(problem, cluster, 0.05, 1000, true, [&](int t, const std::vector<double>&) {
    EXPECT_LT(cluster.ShiftMismatch(), 1e-12) << "step " << t;
  });
}

TEST(HeterogeneousQuadratic, EControlWithoutCompression_IsGradientDescent) {
  const Trace plain = DescendQ4(kNone, Identity<double>(), 0.1, 200);
  const Trace controlled = DescendQ4(EControl(0.1), Identity<double>(), 0.1, 200);
  // The same real numbers in another order: g - h and back costs two roundings a step of numbers below 8.
  for (size_t t = 0; t < plain.distance.size(); ++t) {
    EXPECT_NEAR(controlled.distance[t], plain.distance[t], 2 * 8 * 0x1p-53 * std::sqrt(20.0) * 10) << "step " << t;
  }
}

// EC-Ideal knows h_i* = grad f_i(x*), EC-Approximate a guess of it: error feedback on g - h_i*. EControl learns h_i
// instead.
Trace ErrorFeedbackAround(double guess_error, double gamma, int steps) {
  const Quadratic problem;
  std::vector<double> guess, mean(20, 0.0);
  problem.Gradients(problem.optimum, guess);
  for (size_t i = 0; i < guess.size(); ++i) {
    guess[i] += guess_error * std::cos(static_cast<double>(i));
    mean[i % 20] += guess[i] / 4;
  }
  Cluster<double> cluster(4, 20, kEf, TopK<double>(2));
  std::vector<double> x(20, 0.0), gradients;
  Trace trace;
  for (int t = 0; t < steps; ++t) {
    problem.Gradients(x, gradients);
    for (size_t i = 0; i < gradients.size(); ++i) gradients[i] -= guess[i];
    const std::span<const double> direction = cluster.Step(gradients);
    for (size_t j = 0; j < 20; ++j) x[j] -= gamma * (direction[j] + mean[j]);
    trace.distance.push_back(problem.Distance(x));
  }
  return trace;
}

TEST(HeterogeneousQuadratic, EcIdeal_ConvergesLikeHomogeneousErrorFeedback) {
  for (const auto& [gamma, steps] : {std::pair{0.1, 158}, {0.05, 376}, {0.025, 786}}) {
    EXPECT_EQ(ErrorFeedbackAround(0, gamma, 1000).FirstBelow(kConverged), steps) << "gamma " << gamma;
  }
}

TEST(HeterogeneousQuadratic, EcApproximate_StallsInProportionToTheGuessError) {
  for (const auto& [error, level] : {std::pair{1e-1, 2.080e-2}, {1e-2, 2.076e-3}, {1e-3, 2.076e-4}}) {
    EXPECT_NEAR(ErrorFeedbackAround(error, 0.05, 20000).Level(), level, 0.02 * level) << "guess error " << error;
  }
}

// In float through the real codec. Gradients are below 8, so each carries up to 8 * 2^-24 of rounding, and so does
// every update of H and h until the messages have shrunk (about 300 steps, random signs: sqrt(300) * 4 roundings); with
// 20 elements and curvature at least 1 the distance settles below sqrt(20) * 8 * 2^-24 * (1 + 4 sqrt(300)).
constexpr double kFloatFloor = 4.48 * 8 * 0x1p-24 * (1 + 4 * 17.4);

TEST(HeterogeneousQuadratic, RealTopKInFloat_ShowsTheSameStory) {
  const Codec<float> codec = Encoded("topk(k=2)", 20);
  EXPECT_NEAR(DescendQ4(kNone, codec, 0.1, 4000).Level(), 0.295417, 0.02 * 0.295417);
  EXPECT_NEAR(DescendQ4(kEf, codec, 0.0125, 32000).Level(), 0.0787, 0.05 * 0.0787);
  for (const ControlOptions& options : {kEf21, EControl(0.1)}) {
    const Trace reference = DescendQ4(options, TopK<double>(2), 0.1, 1000);
    const Trace trace = DescendQ4(options, codec, 0.1, 1000);
    EXPECT_LT(trace.last(), kFloatFloor) << "eta " << options.eta;
    // Ten times above the floor the two runs are still the same one, but for a choice between near ties.
    EXPECT_NEAR(trace.FirstBelow(10 * kFloatFloor), reference.FirstBelow(10 * kFloatFloor), 3) << "eta " << options.eta;
  }
}

}  // namespace
}  // namespace laconic::golden
