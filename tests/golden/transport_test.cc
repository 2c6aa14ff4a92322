// The claims of the other golden tests, which run in double in one loop, through the library's own transport,
// strategies and codecs: four threads, payloads as bytes, float. Q4 with top-2 of 20 throughout; counts are 0-based.
//
// What float leaves. Gradients are below 8, so each carries up to 8 * 2^-24 of rounding, and so does every update of H
// and h until the messages have shrunk (about 300 steps, random signs: sqrt(300) * 4 roundings); with 20 elements and
// curvature at least 1 the distance settles below kFloor. Ten times above it a run is still the one in double, but for
// choices between near ties, for which three steps are allowed.
#include "tests/golden/transport.h"

#include <array>
#include <atomic>
#include <cmath>
#include <mutex>
#include <numbers>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace laconic::golden {
namespace {

constexpr double kFloor = 4.48 * 8 * 0x1p-24 * (1 + 4 * 17.4);
// H, E and h move by messages below 8 whose roundings add up: two each step, random signs over 1000 steps.
constexpr double kFloatMismatch = 2 * 8 * 0x1p-24 * 32;

// The step at which `run` comes within 10 kFloor, beside that of the same descent in double; and where it ends.
void ExpectTheSameDescent(const Trace& run, const Trace& in_double) {
  const int steps = in_double.FirstBelow(10 * kFloor);
  ASSERT_GT(steps, 0);
  EXPECT_NEAR(run.FirstBelow(10 * kFloor), steps, 3);
  EXPECT_LT(run.last(), kFloor);
}

TEST(Transport, NoFeedback_Stalls) {
  const TransportRun run = DescendOnRanks("topk(k=2)+none+gather", {.gamma = 0.1, .steps = 2000});
  EXPECT_NEAR(run.trace.Level(), 0.295417, 0.02 * 0.295417);
}

TEST(Transport, ErrorFeedback_StallsInProportionToTheStepSize) {
  for (const auto& [gamma, level] : {std::pair{0.05, 0.324}, {0.025, 0.159}}) {
    const TransportRun run =
        DescendOnRanks("topk(k=2)+ef+gather", {.gamma = gamma, .steps = static_cast<int>(100 / gamma)});
    EXPECT_NEAR(run.trace.Level(), level, 0.05 * level) << "gamma " << gamma;
  }
}

TEST(Transport, EControlAndEf21_ReachTheOptimumInTheStatedSteps) {
  for (const double gamma : {0.1, 0.05}) {
    const TransportRun econtrol = DescendOnRanks("topk(k=2)+econtrol(eta=0.1)+gather", {.gamma = gamma});
    ExpectTheSameDescent(econtrol.trace, DescendQ4(EControl(0.1), TopK<double>(2), gamma, 1000));
    EXPECT_LT(econtrol.mismatch, kFloatMismatch);
    const TransportRun ef21 = DescendOnRanks("topk(k=2)+ef21+gather", {.gamma = gamma});
    ExpectTheSameDescent(ef21.trace, DescendQ4(kEf21, TopK<double>(2), gamma, 1000));
    EXPECT_LT(ef21.mismatch, kFloatMismatch);
  }
}

TEST(Transport, EControlWithMomentumAndFromZero_TakeTheStatedSteps) {
  ExpectTheSameDescent(DescendOnRanks("topk(k=2)+econtrol(eta=0.1, beta=0.2)+gather", {.gamma = 0.05}).trace,
                       DescendQ4(EControl(0.1, 0.2), TopK<double>(2), 0.05, 1000));
  ExpectTheSameDescent(DescendOnRanks("topk(k=2)+econtrol(eta=0.1)+gather", {.gamma = 0.05, .full_start = false}).trace,
                       DescendQ4(EControl(0.1), TopK<double>(2), 0.05, 1000, /*full_start=*/false));
}

TEST(Transport, EControlWithThreeTimesDelta_Diverges) {
  const TransportRun run = DescendOnRanks("topk(k=2)+econtrol(eta=0.3)+gather", {.gamma = 0.05});
  EXPECT_GT(run.trace.last(), 1e3);
}

// Top-2 up and top-2 down. 407 steps to 1e-10 in double (two_phase_test).
TEST(Transport, OwnerKeepsItsError_EControlConvergesThroughTwoPhases) {
  const TransportRun gather = DescendOnRanks("topk(k=2)+econtrol(eta=0.1)+gather", {.gamma = 0.05});
  for (const char* spec : {"topk(k=2)+econtrol(eta=0.1)+scatter", "topk(k=2)+econtrol(eta=0.1)+scatter(owners=1)"}) {
    const TransportRun run = DescendOnRanks(spec, {.gamma = 0.05});
    EXPECT_LT(run.trace.last(), kFloor) << spec;
    // In double within five steps of a hundred of the one-phase run: 407 and 425.
    EXPECT_NEAR(run.trace.FirstBelow(10 * kFloor), gather.trace.FirstBelow(10 * kFloor),
                0.1 * gather.trace.FirstBelow(10 * kFloor))
        << spec;
    EXPECT_LT(run.mismatch, kFloatMismatch) << spec;  // H + E = mean(h)
  }
}

// EF21 up, EF21-P down (Gruntkowska, Tyurin and Richtarik 2022): 151 steps against 149 of EF21 alone in double
// (two_phase_test), as the owner sees x.
TEST(Transport, Ef21WithEf21PDown_NeedsNoMoreStepsThanEf21) {
  const TransportRun both = DescendOnRanks("topk(k=2)+ef21+scatter(owners=1, reply=direction)", {.gamma = 0.1});
  const int alone = DescendQ4(kEf21, TopK<double>(2), 0.1, 1000).FirstBelow(10 * kFloor);
  EXPECT_NEAR(both.owner.FirstBelow(10 * kFloor), alone, 0.1 * alone);
  EXPECT_LT(both.owner.last(), kFloor);
  EXPECT_LT(both.trace.last(), kFloor);
  EXPECT_LT(both.mismatch, kFloatMismatch);  // the owner's H = mean(h)
  EXPECT_LT(
      DescendOnRanks("topk(k=2)+ef21+scatter(owners=1, down=topk(k=4), reply=direction)", {.gamma = 0.1}).trace.last(),
      kFloor);
}

// A downlink that sends less than the ranks' messages do together, as means and as directions.
TEST(Transport, EControlWithAnyReply_Converges) {
  for (const char* reply : {"mean", "direction"}) {
    const std::string spec =
        std::string("topk(k=2)+econtrol(eta=0.1)+scatter(owners=1, down=topk(k=1), reply=") + reply + ")";
    EXPECT_LT(DescendOnRanks(spec, {.gamma = 0.05, .steps = 2000}).trace.last(), kFloor) << spec;
  }
}

// The steps that runs of one method take, whose coins differ.
struct Steps {
  double mean = 0, deviation = 0;
};
template <typename Run>
Steps StepsOf(int runs, Run run) {
  double sum = 0, squares = 0;
  for (int seed = 0; seed < runs; ++seed) {
    const double steps = run(static_cast<uint64_t>(seed));
    EXPECT_GT(steps, 0) << "seed " << seed;
    sum += steps;
    squares += steps * steps;
  }
  const double mean = sum / runs;
  return {mean, std::sqrt(std::max(0.0, squares - runs * mean * mean) / (runs - 1))};
}

// EF21-PP and EControl of ranks that take part with probability p. The counts to 1e-10 (EF21 323 and 1218, EControl 541
// and 1591) are in momentum_participation_test, in double; here the same library coins decide in both, for four seeds.
TEST(Transport, RanksThatComeAndGo_TakeTheStepsOfTheLoop) {
  for (const auto& [method, options, gamma] : {std::tuple{"ef21(participation=0.5)", kEf21, 0.1},
                                               {"econtrol(eta=0.1, participation=0.5)", EControl(0.1), 0.05}}) {
    const auto loop = [&, options = options, gamma = gamma](uint64_t seed) {
      const Quadratic problem;
      Cluster<double> cluster(4, 20, options, TopK<double>(2));
      std::vector<double> x(20, 0.0), gradients;
      problem.Gradients(x, gradients);
      cluster.StartFrom(gradients);
      const CounterRng coin({.seed = seed});
      for (int t = 0; t < 4000; ++t) {
        problem.Gradients(x, gradients);
        const std::span<const double> direction = cluster.Step(
            gradients, 1, [&](size_t rank) { return coin.Uniform(4 * static_cast<uint64_t>(t) + rank) < 0.5; });
        for (size_t j = 0; j < 20; ++j) x[j] -= gamma * direction[j];
        if (problem.Distance(x) < 10 * kFloor) return t;
      }
      return -1;
    };
    const Steps expected = StepsOf(16, loop);
    for (const char* strategy : {"+gather", "+scatter(reply=direction, down=topk(k=20))"}) {
      const Steps measured = StepsOf(4, [&, method = method, gamma = gamma](uint64_t seed) {
        const TransportRun run = DescendOnRanks(std::string("topk(k=2)+") + method + strategy,
                                                {.gamma = gamma, .steps = 1500, .seed = seed});
        EXPECT_LT(run.mismatch, kFloatMismatch);
        EXPECT_LT(run.trace.last(), kFloor) << seed;
        return run.trace.FirstBelow(10 * kFloor);
      });
      // Means of 16 and of 4 draws of one distribution: 4 standard errors of their difference.
      EXPECT_NEAR(measured.mean, expected.mean, 4 * expected.deviation * std::sqrt(1.0 / 16 + 1.0 / 4))
          << method << strategy;
    }
  }
}

// In two phases at half participation, what the owner owes stays in one unit.
TEST(Transport, RanksThatComeAndGoThroughTwoPhases_KeepTheInvariant) {
  const TransportRun run = DescendOnRanks("topk(k=2)+econtrol(eta=0.1, participation=0.5)+scatter(down=topk(k=2))",
                                          {.gamma = 0.02, .steps = 3000});
  EXPECT_LT(run.mismatch, 2 * kFloatMismatch);  // 3000 steps
  EXPECT_LT(run.trace.last(), kFloor);
}

TEST(Transport, DianaOnIndependentRandK_ConvergesWhereQsgdStops) {
  const TransportOptions options{.gamma = 0.0559, .steps = 1500, .full_start = false};
  EXPECT_LT(DescendOnRanks("randk(k=2, scale=unbiased, seed=rank)+diana+gather", options).trace.last(), kFloor);
  EXPECT_GT(DescendOnRanks("randk(k=2, scale=unbiased, seed=rank)+none+gather", options).trace.Level(), 0.5);
  const TransportOptions too_fast{.gamma = 0.3, .steps = 1500, .full_start = false};
  EXPECT_GT(DescendOnRanks("randk(k=2, scale=unbiased, seed=rank)+diana+gather", too_fast).trace.last(), 1e3);
}

// DGC at m = 1/2 is gradient descent with a heavy ball: as fast as error feedback at twice the step, and with its
// stall.
TEST(Transport, Dgc_StallsWhereErrorFeedbackAtTheSameEffectiveStepDoes) {
  const double ef = DescendOnRanks("topk(k=2)+ef+gather", {.gamma = 0.05, .steps = 2000}).trace.Level();
  const double dgc =
      DescendOnRanks("topk(k=2)+dgc(momentum=0.5)+gather", {.gamma = 0.025, .steps = 2000}).trace.Level();
  EXPECT_LT(dgc, 1.5 * ef);
  EXPECT_GT(dgc, ef / 3);
}

TEST(Transport, AllRanksHoldTheSameWeightsAndARunRepeats) {
  for (const char* spec :
       {"topk(k=2)+econtrol+gather",
        "topk(k=2)+ef21(participation=0.5)+scatter(owners=1, down=topk(k=3), reply=direction)",
        "topk(k=2, values=q2)+dgc+gather", "quantize(bits=4, rounding=stochastic)+ef+scatter", "natural+diana+gather",
        "randk(k=2)+ef+linear", "topk(ratio=0.05, warmup=50)+ef(decay=0.9)+scatter"}) {
    const TransportOptions options{.gamma = 0.05, .steps = 100};
    const TransportRun run = DescendOnRanks(spec, options);
    for (size_t i = 20; i < run.weights.size(); ++i) EXPECT_EQ(run.weights[i], run.weights[i % 20]) << spec;
    EXPECT_EQ(DescendOnRanks(spec, options).weights, run.weights) << spec;
  }
}

// |mean(s) - mean(g)|^2 / |mean(g)|^2 of one step on n ranks of independent normal gradients, d = 8192 n.
double NoiseOfAMean(const std::string& spec, int ranks) {
  const size_t d = 8192 * static_cast<size_t>(ranks);
  std::vector<double> mean(d);
  std::vector<float> direction;
  std::mutex mutex;  // guards both
  testing::OnRanks(ranks, [&](Communicator& comm) -> absl::Status {
    testing::RankBucket bucket({Shape::Flat(d)}, comm);
    LACONIC_RETURN_IF_ERROR(bucket.Make(spec, comm));
    const CounterRng rng({.seed = 21, .rank = static_cast<uint32_t>(comm.rank())});
    for (size_t i = 0; i < d; i += 2) {  // two by two (Box and Muller 1958)
      const std::array<uint32_t, 4> words = rng.Block(i);
      const double radius = std::sqrt(-2 * std::log((words[0] + 0.5) * 0x1p-32));
      const double angle = 2 * std::numbers::pi * words[1] * 0x1p-32;
      bucket.gradients[i] = static_cast<float>(radius * std::cos(angle));
      bucket.gradients[i + 1] = static_cast<float>(radius * std::sin(angle));
    }
    {
      const std::lock_guard lock(mutex);
      for (size_t i = 0; i < d; ++i) mean[i] += bucket.gradients[i] / static_cast<double>(ranks);
    }
    LACONIC_RETURN_IF_ERROR(bucket.strategy->Run(comm, bucket.slots, {}, 1.0f, bucket.result));
    bucket.strategy->Commit(bucket.slots);
    const std::lock_guard lock(mutex);
    direction = bucket.directions;
    return absl::OkStatus();
  });
  double noise = 0, energy = 0;
  for (size_t i = 0; i < d; ++i) {
    noise += (direction[i] - mean[i]) * (direction[i] - mean[i]);
    energy += mean[i] * mean[i];
  }
  return noise / energy;
}

// Stochastic rounding to steps of N/7, N the largest of 512 normals' magnitudes (E N^2 = 10.67): v = 10.67/49/6 = .0363
// of a message's energy, and independent ranks' noises average out as their gradients do. Two phases add v of what the
// owner sends, 1 + v: .0739, whatever n is. N^2 deviates by 22 % from block to block, over 32 blocks and more by 3.9 %:
// three of them. (Scales at both ends of a block's range, as in CGX, would give .0275 and .051.)
TEST(Transport, TwoPhases_AddTheNoiseOfOneMoreCompression) {
  for (const int ranks : {2, 8}) {
    const std::string codec = "quantize(bits=4, rounding=stochastic, block=512)+none+";
    EXPECT_NEAR(NoiseOfAMean(codec + "gather", ranks), 0.0363, 0.12 * 0.0363) << ranks << " ranks";
    EXPECT_NEAR(NoiseOfAMean(codec + "scatter", ranks), 0.0739, 0.12 * 0.0739) << ranks << " ranks";
  }
}

// The largest |e_i| after 150 steps of PowerSGD on gradients that stay as they are and differ from rank to rank, in
// units of |g_i|.
double LargestError(const std::string& control) {
  double largest = 0;
  std::mutex mutex;  // guards it
  testing::OnRanks(4, [&](Communicator& comm) -> absl::Status {
    testing::RankBucket bucket({Shape({64, 48})}, comm);
    LACONIC_RETURN_IF_ERROR(bucket.Make("lowrank(rank=4)+" + control + "+linear", comm));
    bucket.FillGradients(0);
    const double norm = Norm(bucket.gradients);
    for (uint64_t step = 0; step < 150; ++step) {
      LACONIC_RETURN_IF_ERROR(bucket.strategy->Run(comm, bucket.slots, {.step = step}, 1.0f, bucket.result));
      bucket.strategy->Commit(bucket.slots);
    }
    const std::lock_guard lock(mutex);
    largest = std::max(largest, Norm(bucket.slots[0].control.error()) / norm);
    return absl::OkStatus();
  });
  return largest;
}

// A rank's own reconstruction is a projection of its message, so |e| <= .9 |e| + |g| with decay .9: at most 10 |g|.
// Without it the errors of ranks that differ grow by a share of |g| each step.
TEST(Transport, DecayedFeedback_BoundsTheErrorsThatPowerSgdPilesUp) {
  EXPECT_LT(LargestError("ef(decay=0.9)"), 10);
  EXPECT_GT(LargestError("ef"), 30);
}

// What transports were handed for d = 1 000 000 on 8 ranks: per rank 7 000 000 bytes of a dense ring, 218 806 of
// one-bit shards twice, and a header of 48 bytes for each message and each frame. Over all ranks, since shards are
// whole groups of 64 and the last is shorter.
TEST(Transport, BytesOfATensorOfAMillion_AreThoseOfTheFormulas) {
  for (const auto& [spec, bytes, headers] :
       {std::tuple{"dense", 7'000'000u, 7u}, {"sign(block=0, zeros=plus)+ef+scatter", 218'806u, 28u}}) {
    std::atomic<uint64_t> sent = 0;
    testing::OnRanks(8, [&, spec = spec](Communicator& comm) -> absl::Status {
      testing::RankBucket bucket({Shape::Flat(1'000'000)}, comm);
      LACONIC_RETURN_IF_ERROR(bucket.Make(spec, comm));
      const uint64_t before = comm.traffic().bytes_sent;
      LACONIC_RETURN_IF_ERROR(bucket.strategy->Run(comm, bucket.slots, {}, 1.0f, bucket.result));
      sent += comm.traffic().bytes_sent - before;
      return absl::OkStatus();
    });
    EXPECT_EQ(sent, 8u * (bytes + 48 * headers)) << spec;
  }
}

}  // namespace
}  // namespace laconic::golden
