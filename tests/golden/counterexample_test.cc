// Without error feedback even three smooth, strongly convex functions defeat top-1 (Beznosikov et al. 2020, arXiv
// 2002.12410, Example 1): f_i(x) = <a_i, x>^2 + |x|^2/4 with a = (-3,2,2), (2,-3,2), (2,2,-3), minimised at 0.
#include <array>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/golden/codecs.h"
#include "tests/golden/reference.h"

namespace laconic::golden {
namespace {

template <typename T>
void Gradients(const std::vector<T>& x, std::vector<T>& out) {
  static constexpr std::array<std::array<int, 3>, 3> kA = {{{-3, 2, 2}, {2, -3, 2}, {2, 2, -3}}};
  out.resize(9);
  for (size_t i = 0; i < 3; ++i) {
    const T inner = kA[i][0] * x[0] + kA[i][1] * x[1] + kA[i][2] * x[2];
    for (size_t j = 0; j < 3; ++j) out[3 * i + j] = 2 * kA[i][j] * inner + x[j] / 2;
  }
}

// |x_T| / |x_0| from x_0 = (1,1,1) at gamma = 0.01.   exact_average: step along mean_i h_i, computed anew, instead of
// the replicated H.
template <typename T>
double Growth(const ControlOptions& options, const Codec<T>& codec, int steps, bool exact_average = false) {
  std::vector<T> x(3, T(1)), gradients;
  Gradients(x, gradients);
  Cluster<T> cluster(3, 3, options, codec);
  cluster.StartFrom(gradients);
  for (int t = 0; t < steps; ++t) {
    Gradients(x, gradients);
    const std::span<const T> replicated = cluster.Step(gradients);
    const std::vector<T> direction =
        exact_average ? cluster.MeanShift() : std::vector<T>(replicated.begin(), replicated.end());
    for (size_t j = 0; j < 3; ++j) x[j] -= T(0.01) * direction[j];
  }
  return Norm(x) / std::sqrt(3.0);
}

// By symmetry each step multiplies x by exactly 1 + 11 gamma/6: gradient i is (-5.5, 4.5, 4.5) x, its largest entry
// -5.5.
TEST(Counterexample, TopOneWithoutFeedback_GrowsByElevenSixthsGammaPerStep) {
  const double predicted = std::pow(1 + 11 * 0.01 / 6, 100);
  EXPECT_NEAR(predicted, 6.151712, 5e-7);
  // 100 steps of at most 6 roundings each: relative error below 600 * 2^-53 in double and 600 * 2^-24 in float.
  EXPECT_NEAR(Growth(kNone, TopK<double>(1), 100), predicted, predicted * 600 * 0x1p-53);
  EXPECT_NEAR(Growth(kNone, Encoded("topk(k=1)", 3), 100), predicted, predicted * 600 * 0x1p-24);
}

TEST(Counterexample, ErrorFeedback_Converges) { EXPECT_LT(Growth(kEf, TopK<double>(1), 20000), 1e-90); }

TEST(Counterexample, ShiftMethods_ConvergeToTheLimitOfTheirAverage) {
  for (const ControlOptions& options : {kEf21, EControl(0.1)}) {
    EXPECT_LT(Growth(options, TopK<double>(1), 20000, /*exact_average=*/true), 1e-90) << "eta " << options.eta;
    // The replicated H is a running sum: roundings of the first steps, when |H| is about 10, stay in it. 100 steps
    // until the terms are negligible, 2 roundings of 10 * 2^-53 each, through the smallest curvature 7/6.
    EXPECT_LT(Growth(options, TopK<double>(1), 20000), 100 * 2 * 10 * 0x1p-53) << "eta " << options.eta;
    EXPECT_LT(Growth(options, Encoded("topk(k=1)", 3), 20000), 100 * 2 * 10 * 0x1p-24) << "eta " << options.eta;
  }
}

TEST(Counterexample, ErrorFeedbackThroughTheRealCodec_ReachesExactZero) {
  // The rate is about 0.9883 per step (1e-103 after 20 000 in double): floats, smallest denormal 1e-45, underflow to
  // zero.
  EXPECT_LT(Growth(kEf, Encoded("topk(k=1)", 3), 20000), 1e-38);
}

}  // namespace
}  // namespace laconic::golden
