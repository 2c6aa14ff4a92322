// Check 14: federated methods on clients with unequal data (federated_quadratic.h), S = 5 of N = 20 a round, K = 5
// local steps at eta_l = 0.02, eta_g = 1. In double and without bytes, through the recurrence that the library's
// methods are. tests/optim/federated/convergence_test.cc does the same through the whole library, in float.
#include "tests/golden/federated_quadratic.h"

#include <algorithm>
#include <numeric>

#include "gtest/gtest.h"
#include "laconic/compressors/recurrence.h"
#include "tests/golden/reference.h"

namespace laconic::golden {
namespace {

constexpr size_t kN = kQuadraticClients, kD = kQuadraticElements;
constexpr double kRate = kQuadraticRate;

struct Method {
  ControlOptions control;
  bool corrected = false;  // local steps along grad F_i + c - c_i
};

const Method kFedAvg = {};
const Method kFedEf = {.control = {.eta = 1}};
const Method kScaffold = {.control = {.alpha = 1}, .corrected = true};
Method Scallion(double alpha) { return {.control = {.kappa = alpha, .alpha = 1}, .corrected = true}; }
Method Scafcom(double beta) {
  return {.control = {.alpha = 1, .momentum = Momentum::Average(beta)}, .corrected = true};
}

// A federated run: what optim/federated does, in one loop.
class FederatedRun {
 public:
  FederatedRun(const Method& method, Codec<double> codec, size_t sampled, size_t local_steps, uint64_t seed)
      : method_(method), codec_(std::move(codec)), sampled_(sampled), local_steps_(local_steps), seed_(seed) {
    const size_t shifts = method.control.keeps_shift() ? kD : 0;
    for (auto* rows : {&shift_, &error_, &momentum_}) rows->resize(kN);
    for (size_t i = 0; i < kN; ++i) {
      shift_[i].resize(shifts);
      error_[i].resize(method.control.keeps_error() ? kD : 0);
      momentum_[i].resize(method.control.keeps_momentum() ? kD : 0);
    }
    average_.resize(shifts);
  }

  const std::vector<double>& x() const { return x_; }
  double distance() const { return DistanceToOptimum(std::span<const double>(x_)); }

  void Round() {
    std::vector<double> mean(kD), message(kD), sent(kD);
    for (const uint32_t i : Sample()) {
      const std::vector<double> gradient = LocalGradient(i);
      const RecurrenceState<double> state{error_[i], shift_[i], momentum_[i]};
      laconic::FormMessage<double>(method_.control, gradient, state).Form(0, message);
      codec_(i, round_, message, sent);  // leaves the residual
      MoveState<double>(method_.control, gradient, message, sent, state);
      for (size_t j = 0; j < kD; ++j) mean[j] += sent[j] / static_cast<double>(sampled_);
    }
    if (method_.control.keeps_shift()) {
      FormDirection<double>(mean, average_, static_cast<double>(sampled_) / kN, StepAlong::kAveragePlusMean);
    }
    for (size_t j = 0; j < kD; ++j) x_[j] -= kRate * static_cast<double>(local_steps_) * mean[j];
    ++round_;
  }

  // The largest |c - mean_i c_i| over elements.
  double Mismatch() const {
    double largest = 0;
    for (size_t j = 0; j < kD; ++j) {
      double mean = 0;
      for (size_t i = 0; i < kN; ++i) mean += shift_[i][j] / kN;
      largest = std::max(largest, std::abs(average_[j] - mean));
    }
    return largest;
  }

 private:
  std::vector<uint32_t> Sample() const {
    std::vector<uint32_t> order(kN);
    std::iota(order.begin(), order.end(), 0u);
    const CounterRng rng({.seed = seed_, .step = round_, .stream = 1});
    for (uint32_t i = 0; i < sampled_; ++i) std::swap(order[i], order[i + rng.Below(i, static_cast<uint32_t>(kN - i))]);
    order.resize(sampled_);
    std::sort(order.begin(), order.end());
    return order;
  }

  // The mean of grad f_i along the way of the client's local steps.
  std::vector<double> LocalGradient(uint32_t i) const {
    std::vector<double> y = x_, mean(kD);
    for (size_t k = 0; k < local_steps_; ++k) {
      for (size_t j = 0; j < kD; ++j) {
        const double gradient = QuadraticCurvature(i, j) * (y[j] - QuadraticMinimum(i, j));
        mean[j] += gradient / static_cast<double>(local_steps_);
        y[j] -= kRate * (gradient + (method_.corrected ? average_[j] - shift_[i][j] : 0));
      }
    }
    return mean;
  }

  const Method method_;
  const Codec<double> codec_;
  const size_t sampled_, local_steps_;
  const uint64_t seed_;
  uint64_t round_ = 0;
  std::vector<double> x_ = std::vector<double>(kD);
  std::vector<std::vector<double>> shift_, error_, momentum_;  // of each client
  std::vector<double> average_;
};

// Rounds until |x - x*| < 1e-10; -1 if it is not within 3000.
int RoundsToOptimum(const Method& method, const Codec<double>& codec, uint64_t seed) {
  FederatedRun run(method, codec, 5, 5, seed);
  for (int t = 0; t < 3000; ++t) {
    run.Round();
    if (run.distance() < 1e-10) return t;
  }
  return -1;
}

// Root mean square of |x - x*| over rounds 480 to 600, where averaging has long reached its level.
double Level(const Method& method, const Codec<double>& codec, uint64_t seed) {
  FederatedRun run(method, codec, 5, 5, seed);
  double squares = 0;
  for (int t = 0; t < 600; ++t) {
    run.Round();
    if (t >= 480) squares += run.distance() * run.distance() / 120;
  }
  return std::sqrt(squares);
}

// The stated figures are one draw each, of other clients and positions. The mean of 16 draws differs from one more draw
// by a deviation of sqrt(1 + 1/16) times that of a draw, which the 16 estimate: four of them.
template <typename Figure>
void ExpectDrawsAround(double stated, Figure figure) {
  double sum = 0, squares = 0;
  for (uint64_t seed = 0; seed < 16; ++seed) {
    const double drawn = figure(seed);
    ASSERT_GT(drawn, 0) << "seed " << seed;
    sum += drawn;
    squares += drawn * drawn;
  }
  const double mean = sum / 16, deviation = std::sqrt(std::max(0.0, (squares - 16 * mean * mean) / 15));
  EXPECT_NEAR(mean, stated, 4 * deviation * std::sqrt(1 + 1.0 / 16));
  EXPECT_LT(deviation, 0.2 * mean);
}

Codec<double> RandSix(uint64_t seed) { return RandK<double>(6, 5, seed); }  // 20 %, unbiased: omega = 4

TEST(Scaffold, PartialParticipation_ConvergesInAbout210Rounds) {
  ExpectDrawsAround(210, [](uint64_t seed) { return RoundsToOptimum(kScaffold, Identity<double>(), seed); });
}

TEST(Scallion, AlphaOneOverOnePlusOmega_ConvergesInAbout940Rounds) {
  ExpectDrawsAround(941, [](uint64_t seed) { return RoundsToOptimum(Scallion(0.2), RandSix(seed), seed); });
}

TEST(Scallion, AlphaOneWithOmegaFour_Diverges) {
  FederatedRun run(Scallion(1), RandSix(1), 5, 5, 1);
  for (int t = 0; t < 6000 && run.distance() < 1e6; ++t) run.Round();
  EXPECT_GE(run.distance(), 1e6);
}

TEST(Scafcom, TopSix_ConvergesInAbout1440Rounds) {
  ExpectDrawsAround(1435, [](uint64_t seed) { return RoundsToOptimum(Scafcom(0.2), TopK<double>(6), seed); });
}

TEST(FedAvg, Everybody_StallsAtTheDriftOfLocalSteps) {
  FederatedRun run(kFedAvg, Identity<double>(), kN, 5, 0);
  for (int t = 0; t < 600; ++t) run.Round();
  EXPECT_NEAR(run.distance(), 6.66e-3, 5e-6);  // no draw in it
}

TEST(FedAvg, PartialParticipation_StallsAtAbout40Percent) {
  ExpectDrawsAround(0.413, [](uint64_t seed) { return Level(kFedAvg, Identity<double>(), seed); });
}

TEST(FedEf, TopSix_StallsAtAbout70Percent) {
  ExpectDrawsAround(0.695, [](uint64_t seed) { return Level(kFedEf, TopK<double>(6), seed); });
}

TEST(ControlledAveraging, ServersVariate_StaysTheMeanOfTheClients) {
  for (const auto& [method, codec] : {std::pair{kScaffold, Identity<double>()}, std::pair{Scallion(0.2), RandSix(1)},
                                      std::pair{Scafcom(0.2), TopK<double>(6)}}) {
    FederatedRun run(method, codec, 5, 5, 1);
    for (int t = 0; t < 200; ++t) {
      run.Round();
      ASSERT_LT(run.Mismatch(), 1e-12) << "round " << t;
    }
  }
}

// (x - y) / (eta K) takes a difference of numbers up to 1, rounded at 1e-16, and divides it by 0.1: 1e-15 a round at
// most, and the recursion contracts.
TEST(ControlledAveraging, WithoutCodec_IsThePapersRecursion) {
  for (const bool momentum : {false, true}) {
    FederatedRun run(momentum ? Scafcom(0.2) : Scallion(0.3), Identity<double>(), kN, 5, 0);
    for (int t = 0; t < 50; ++t) run.Round();
    const std::vector<double> expected = ControlledAveragingRecursion(0.3, 0.2, momentum, 50);
    for (size_t j = 0; j < kD; ++j) EXPECT_NEAR(run.x()[j], expected[j], 50 * 1e-15);
  }
}

// EF21-SGDM on 20 ranks, with whole gradients at x. One local step's gradient is that gradient, corrected or not, so
// even what top-k chooses is the same.
TEST(Scafcom, EverybodyAndOneLocalStep_IsEf21Sgdm) {
  FederatedRun run(Scafcom(0.2), TopK<double>(6), kN, 1, 0);
  Cluster<double> cluster(kN, kD, {.alpha = 1, .momentum = Momentum::Average(0.2)}, TopK<double>(6));
  std::vector<double> x(kD), gradients(kN * kD);
  for (int t = 0; t < 300; ++t) {
    run.Round();
    for (uint32_t i = 0; i < kN; ++i) {
      for (size_t j = 0; j < kD; ++j) {
        gradients[i * kD + j] = QuadraticCurvature(i, j) * (x[j] - QuadraticMinimum(i, j));
      }
    }
    const std::span<const double> direction = cluster.Step(gradients);
    for (size_t j = 0; j < kD; ++j) x[j] -= kRate * direction[j];
  }
  for (size_t j = 0; j < kD; ++j) EXPECT_NEAR(run.x()[j], x[j], 1e-12);
  EXPECT_LT(run.distance(), 1e-2);  // it went somewhere
}

}  // namespace
}  // namespace laconic::golden
