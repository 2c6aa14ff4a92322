// ADEF, accelerated distributed error feedback (Gao, Rodomanov, Rack and Stich 2025, arXiv 2503.08427): not one of the
// library's controls, since ranks send two messages a step and weights of the iteration enter the error, but an oracle
// of what acceleration would gain. n = 4, d = 40, condition number about 1e4, unequal ranks, top-4.
//
//   y = (A x + a nu)/A+, gradients g_i at y;   T_i = C(g_i - t_i), t_i <- t_i + T_i;   q = g_i - t_i - e_i/a,
//   s_i = C(q), e_i <- a (s_i - q);   nu <- nu - a (t + mean s);   x <- (A x + a nu)/A+;   M a^2 = A+ = A + a
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/golden/reference.h"

namespace laconic::golden {
namespace {

constexpr size_t kRanks = 4, kElements = 40;

struct IllConditioned {
  std::vector<double> a, b, optimum, curvature;

  IllConditioned() : optimum(kElements), curvature(kElements) {
    std::vector<double> weighted(kElements);
    for (size_t i = 0; i < kRanks; ++i) {
      for (size_t j = 0; j < kElements; ++j) {
        const double base = std::pow(10.0, -4 + 4.0 * static_cast<double>(j) / (kElements - 1));
        a.push_back(base * (0.5 + static_cast<double>((i + 1) * (j + 1) % 5) / 4));
        b.push_back(std::sin(1.0 + 3.0 * static_cast<double>(i) + 7.0 * static_cast<double>(j)));
        curvature[j] += a.back() / kRanks;
        weighted[j] += a.back() * b.back() / kRanks;
      }
    }
    for (size_t j = 0; j < kElements; ++j) optimum[j] = weighted[j] / curvature[j];
  }
  void Gradients(const std::vector<double>& x, std::vector<double>& out) const {
    out.resize(a.size());
    for (size_t i = 0; i < out.size(); ++i) out[i] = a[i] * (x[i % kElements] - b[i]);
  }
  double Gap(const std::vector<double>& x) const {  // f - f*
    double sum = 0;
    for (size_t j = 0; j < kElements; ++j) sum += curvature[j] * (x[j] - optimum[j]) * (x[j] - optimum[j]) / 2;
    return sum;
  }
  double smoothness() const { return *std::max_element(curvature.begin(), curvature.end()); }
};

double GapAfter(const IllConditioned& problem, const ControlOptions& options, const Codec<double>& codec, int steps) {
  std::vector<double> x(kElements, 0.0), gradients;
  problem.Gradients(x, gradients);
  Cluster<double> cluster(kRanks, kElements, options, codec);
  cluster.StartFrom(gradients);
  for (int t = 0; t < steps; ++t) {
    problem.Gradients(x, gradients);
    const std::span<const double> direction = cluster.Step(gradients);
    for (size_t j = 0; j < kElements; ++j) x[j] -= direction[j] / problem.smoothness();
  }
  return problem.Gap(x);
}

double AdefGapAfter(const IllConditioned& problem, int steps) {
  const double m = problem.smoothness();
  const Codec<double> top = TopK<double>(4);
  std::vector<double> x(kElements, 0.0), nu = x, y(kElements), g, t, e(kRanks * kElements, 0.0);
  std::vector<double> q(kElements), sent(kElements);
  problem.Gradients(x, t);
  double weight = 0;  // A
  for (int step = 0; step < steps; ++step) {
    const double a = (1 + std::sqrt(1 + 4 * m * weight)) / (2 * m);
    for (size_t j = 0; j < kElements; ++j) y[j] = (weight * x[j] + a * nu[j]) / (weight + a);
    problem.Gradients(y, g);
    std::vector<double> estimate(kElements, 0.0);
    for (size_t rank = 0; rank < kRanks; ++rank) {
      const size_t row = rank * kElements;
      for (size_t j = 0; j < kElements; ++j) q[j] = g[row + j] - t[row + j];
      top(rank, 0, q, sent);
      for (size_t j = 0; j < kElements; ++j) {
        t[row + j] += sent[j];
        q[j] = g[row + j] - t[row + j] - e[row + j] / a;
      }
      top(rank, 0, q, sent);  // leaves q - s
      for (size_t j = 0; j < kElements; ++j) {
        e[row + j] = -a * q[j];
        estimate[j] += (t[row + j] + sent[j]) / kRanks;
      }
    }
    for (size_t j = 0; j < kElements; ++j) {
      nu[j] -= a * estimate[j];
      x[j] = (weight * x[j] + a * nu[j]) / (weight + a);
    }
    weight += a;
  }
  return problem.Gap(x);
}

TEST(Adef, OnAnIllConditionedProblem_IsHundredsOfTimesCloserThanGradientDescent) {
  const IllConditioned problem;
  const double descent = GapAfter(problem, kNone, Identity<double>(), 300);
  EXPECT_NEAR(descent, 4.17e-5, 0.01 * 4.17e-5);
  // EControl at the same step keeps up with gradient descent.
  EXPECT_NEAR(GapAfter(problem, EControl(0.1), TopK<double>(4), 300), descent, 0.02 * descent);
  const double accelerated = AdefGapAfter(problem, 300);
  EXPECT_NEAR(accelerated, 5.81e-8, 0.05 * 5.81e-8);
  EXPECT_LT(accelerated, 1e-6);
}

}  // namespace
}  // namespace laconic::golden
