// A drop of the learning rate by 100 in the middle of a run (Q4, top-2, error feedback, gamma 0.1 -> 0.001). The error
// is kept in gradient units. Rescaling it by old rate / new rate keeps the virtual iterate x - gamma mean(e) exact, at
// the price of releasing the large old error at the old scale: a small jump. Without rescaling there is no jump and no
// exactness.
#include <algorithm>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/golden/reference.h"

namespace laconic::golden {
namespace {

constexpr int kSteps = 20000, kDrop = 10000;

struct Result {
  double before = 0;  // |x - x*| just before the drop
  double after = 0;   // the largest in the 200 steps after it
  double last = 0;
  double virtual_error = 0;  // the largest deviation of x - gamma mean(e) from uncompressed steps
};

Result DropRate(bool rescale) {
  const Quadratic problem;
  Cluster<double> cluster(4, 20, kEf, TopK<double>(2));
  std::vector<double> x(20, 0.0), z(20, 0.0), gradients;
  double previous_gamma = 0.1;
  Result result;
  for (int t = 0; t < kSteps; ++t) {
    const double gamma = t < kDrop ? 0.1 : 0.001;
    problem.Gradients(x, gradients);
    const std::span<const double> direction = cluster.Step(gradients, rescale ? previous_gamma / gamma : 1);
    const std::vector<double> error = cluster.MeanError();
    for (size_t j = 0; j < 20; ++j) {
      for (size_t i = 0; i < 4; ++i) z[j] -= gamma * gradients[20 * i + j] / 4;
      x[j] -= gamma * direction[j];
      result.virtual_error = std::max(result.virtual_error, std::abs(x[j] - gamma * error[j] - z[j]));
    }
    previous_gamma = gamma;
    const double distance = problem.Distance(x);
    if (t == kDrop - 1) result.before = distance;
    if (t >= kDrop && t < kDrop + 200) result.after = std::max(result.after, distance);
    result.last = distance;
  }
  return result;
}

TEST(LearningRateDrop, RescaledError_KeepsTheVirtualIterateAndJumps) {
  const Result result = DropRate(true);
  EXPECT_LT(result.virtual_error, 1e-10);  // 20 000 steps, a few roundings of numbers below 100 each
  EXPECT_NEAR(result.before, 0.6996, 0.01 * 0.6996);
  EXPECT_NEAR(result.after, 0.7982, 0.01 * 0.7982);
  EXPECT_NEAR(result.last, 0.00502, 0.05 * 0.00502);
}

TEST(LearningRateDrop, UnscaledError_NeitherJumpsNorKeepsTheVirtualIterate) {
  const Result result = DropRate(false);
  EXPECT_GT(result.virtual_error, 0.01);
  EXPECT_LE(result.after, result.before);
  EXPECT_NEAR(result.last, 0.00536, 0.05 * 0.00536);
}

}  // namespace
}  // namespace laconic::golden
