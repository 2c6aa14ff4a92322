// EControl over a collective that compresses twice: ranks send top-2 of their messages, the owner of the sum sends
// top-2 of the mean. Exact if and only if the owner keeps what its own compression lost (Q4, eta = 0.1).
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/golden/reference.h"

namespace laconic::golden {
namespace {

struct TwoPhase {
  Trace trace;
  double largest_mismatch = 0;  // of H + owner's error against mean_i h_i
};

struct Side {
  ControlOptions options;
  Codec<double> codec;
};

TwoPhase RunTwoPhase(double gamma, const Side& worker, const Side& owner_side, int steps) {
  const Quadratic problem;
  std::vector<double> x(problem.elements, 0.0), gradients, sent(problem.elements);
  problem.Gradients(x, gradients);
  std::vector<double> start(problem.elements, 0.0);
  for (size_t i = 0; i < gradients.size(); ++i) start[i % problem.elements] += gradients[i] / 4;

  std::vector<BasicErrorControl<double>> ranks(4, BasicErrorControl<double>(worker.options, problem.elements));
  auto row = [&](size_t rank) { return std::span<const double>(gradients).subspan(20 * rank, 20); };
  for (size_t rank = 0; rank < 4; ++rank) ranks[rank].SetShift(row(rank), start);
  BasicErrorControl<double> owner(owner_side.options, problem.elements);

  TwoPhase result;
  for (int t = 0; t < steps; ++t) {
    problem.Gradients(x, gradients);
    std::vector<double> mean(problem.elements, 0.0);
    for (size_t rank = 0; rank < 4; ++rank) {
      FormMessage(ranks[rank], row(rank));
      worker.codec(rank, t, ranks[rank].residual(), sent);
      ranks[rank].Commit(row(rank), sent);
      for (size_t j = 0; j < mean.size(); ++j) mean[j] += sent[j] / 4;
    }
    FormMessage(owner, std::span<const double>(mean));
    owner_side.codec(4, t, owner.residual(), sent);
    owner.Commit(mean, {});
    std::vector<double> direction;
    for (BasicErrorControl<double>& rank : ranks) {
      direction = sent;
      rank.Direction(direction);
    }
    for (size_t j = 0; j < x.size(); ++j) {
      x[j] -= gamma * direction[j];
      double shift = 0;
      for (const BasicErrorControl<double>& rank : ranks) shift += rank.shift()[j] / 4;
      const double owed = owner.error().empty() ? 0 : owner.error()[j];
      result.largest_mismatch = std::max(result.largest_mismatch, std::abs(ranks[0].shift_average()[j] + owed - shift));
    }
    result.trace.distance.push_back(problem.Distance(x));
  }
  return result;
}

Traits Contractive(double delta) {
  Traits traits;
  traits.delta = delta;
  return traits;
}

const Side kWorker = {EControl(0.1), TopK<double>(2)};

TEST(TwoPhase, OwnerKeepsItsError_EControlConverges) {
  const ControlOptions owner = OwnerControl(kWorker.options, Contractive(0.1));
  for (const auto& [gamma, k, steps] : {std::tuple{0.05, 2, 407}, {0.05, 4, 420}, {0.05, 8, 425}, {0.02, 2, 1000}}) {
    const TwoPhase result = RunTwoPhase(gamma, kWorker, {owner, TopK<double>(static_cast<size_t>(k))}, 1200);
    EXPECT_EQ(result.trace.FirstBelow(1e-10), steps) << "gamma " << gamma << ", owner top-" << k;
    EXPECT_LT(result.largest_mismatch, 1e-12) << "gamma " << gamma << ", owner top-" << k;
  }
}

TEST(TwoPhase, OwnerForgetsItsError_EControlStalls) {
  const Side forgetful = {kNone, TopK<double>(2)};
  const TwoPhase result = RunTwoPhase(0.05, kWorker, forgetful, 20000);
  EXPECT_NEAR(result.trace.last(), 0.565, 0.005);
  EXPECT_GT(result.largest_mismatch, 0.1);
  EXPECT_NEAR(RunTwoPhase(0.02, kWorker, forgetful, 20000).trace.last(), 0.538, 0.005);
}

// Four ranks send at most 8 entries: an owner that keeps 8 loses nothing.
TEST(TwoPhase, OwnerLosesNothing_NeedsNoError) {
  EXPECT_EQ(RunTwoPhase(0.05, kWorker, {kNone, TopK<double>(8)}, 500).trace.FirstBelow(1e-10), 425);
}

// DIANA's codec is unbiased, but what its second use adds to H stays there: H walks away from mean_i h_i, and the
// distance is larger than at the start, |x*| = 0.41. Hence CheckOwner; with a contractive second codec and its error
// kept it converges.
TEST(TwoPhase, DianaThroughAnUnbiasedOwner_WalksAwayAndIsRefused) {
  Traits unbiased;
  unbiased.omega = 9;
  const Side diana = {{.alpha = 0.1}, RandK<double>(2, 10, 1)};
  const TwoPhase result =
      RunTwoPhase(0.02, diana, {OwnerControl(diana.options, unbiased), RandK<double>(2, 10, 2)}, 20000);
  EXPECT_GT(result.trace.Level(), 0.41);
  EXPECT_GT(result.largest_mismatch, 0.1);
  EXPECT_FALSE(CheckOwner(diana.options, unbiased, "randk(k=2, scale=unbiased)").ok());

  const Side contractive = {OwnerControl(diana.options, Contractive(0.1)), RandK<double>(2, 1, 2)};
  EXPECT_GT(RunTwoPhase(0.02, diana, contractive, 3000).trace.FirstBelow(1e-10), 0);
}

// EF21 up and EF21-P down (Gruntkowska, Tyurin and Richtarik 2022, arXiv 2209.15218, with a contractive uplink): the
// owner keeps x and H, ranks the model w, which follows x by top-2 of the difference. Here as the library says it: the
// owner sends top-2 of the direction H + mean(s) under error feedback, and x = w - gamma E.
TEST(TwoPhase, Ef21WithEf21PDown_TakesAsManyStepsAsEf21Alone) {
  for (const auto& [gamma, steps] : {std::pair{0.1, 152}, {0.05, 377}}) {  // counted from 1
    const Quadratic problem;
    std::vector<double> w(20, 0.0), x(20), gradients, sent(20), start(20, 0.0);
    problem.Gradients(w, gradients);
    for (size_t i = 0; i < gradients.size(); ++i) start[i % 20] += gradients[i] / 4;
    std::vector<BasicErrorControl<double>> ranks(4,
                                                 BasicErrorControl<double>({.alpha = 1, .averages_shifts = false}, 20));
    auto row = [&](size_t rank) { return std::span<const double>(gradients).subspan(20 * rank, 20); };
    for (size_t rank = 0; rank < 4; ++rank) ranks[rank].SetShift(row(rank), {});
    BasicErrorControl<double> owner(OwnerControl(kEf21, Contractive(0.1), OwnerSends::kDirection), 20);
    owner.SetMomentum(start);
    const Codec<double> top = TopK<double>(2);
    int count = 0;
    double distance = 1;
    for (; distance >= 1e-10 && count < 1000; ++count) {
      problem.Gradients(w, gradients);
      std::vector<double> mean(20, 0.0);
      for (size_t rank = 0; rank < 4; ++rank) {
        FormMessage(ranks[rank], row(rank));
        top(rank, 0, ranks[rank].residual(), sent);
        ranks[rank].Commit(row(rank), sent);
        for (size_t j = 0; j < 20; ++j) mean[j] += sent[j] / 4;
      }
      FormMessage(owner, std::span<const double>(mean));
      top(4, 0, owner.residual(), sent);
      owner.Commit(mean, {});
      for (size_t j = 0; j < 20; ++j) {
        w[j] -= gamma * sent[j];
        x[j] = w[j] - gamma * owner.error()[j];
      }
      distance = problem.Distance(x);
    }
    EXPECT_NEAR(count, steps, 1) << "gamma " << gamma;
  }
}

}  // namespace
}  // namespace laconic::golden
