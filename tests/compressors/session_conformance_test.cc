// The promises of LinearSession in compressor.h, held against every example spec of every codec that has one.
#include <algorithm>
#include <limits>

#include "tests/compressors/conformance.h"

namespace laconic::conformance {
namespace {

class Ranks {
 public:
  Ranks(const Compressor& codec, const Shape& shape, size_t count) : elements_(shape.elements()) {
    for (size_t i = 0; i < count; ++i) sessions_.push_back(codec.NewLinearSession(shape, RngKey{.seed = 41}));
  }
  bool exist() const { return sessions_[0] != nullptr; }
  LinearSession& session(size_t rank) { return *sessions_[rank]; }

  // Runs all rounds of one step on messages drawn from `seed`; commits if told to. The mean reconstruction.
  Floats Step(uint64_t step, uint64_t seed, bool commit) {
    const RngKey key = RngKey{.seed = 43, .step = step}.Shared();
    for (auto& session : sessions_) session->Begin(key, {});
    for (int round = 0; round < sessions_[0]->rounds(); ++round) {
      Floats mean(sessions_[0]->RoundFloats(round)), out(mean.size());
      for (size_t rank = 0; rank < sessions_.size(); ++rank) {
        const absl::Status status = sessions_[rank]->Produce(round, MessageOf(seed, rank), out);
        EXPECT_TRUE(status.ok()) << status;
        for (size_t i = 0; i < out.size(); ++i) mean[i] += out[i] / static_cast<float>(sessions_.size());
      }
      for (auto& session : sessions_) EXPECT_TRUE(session->Consume(round, mean).ok());
    }
    Floats y(elements_);
    sessions_[0]->MeanReconstruction(y);
    for (auto& session : sessions_) {
      if (commit) session->Commit();
    }
    return y;
  }
  Floats MessageOf(uint64_t seed, size_t rank) const { return Gaussian(elements_, 100 * seed + rank); }

 private:
  size_t elements_;
  std::vector<std::unique_ptr<LinearSession>> sessions_;
};

class SessionConformance : public Conformance {};

TEST_P(SessionConformance, LocalReconstructionsAverageToTheMeanReconstruction) {
  ForSupported(AllShapes(), [&](const Shape& shape) {
    Ranks ranks(*codec_, shape, 3);
    if (!ranks.exist()) return;
    for (uint64_t step = 0; step < 3; ++step) {
      const Floats mean = ranks.Step(step, step, /*commit=*/false);
      std::vector<double> average(mean.size());
      double largest = 0;
      for (size_t rank = 0; rank < 3; ++rank) {
        Floats local(mean.size()), same(mean.size());
        ranks.session(rank).LocalReconstruction(local);
        ranks.session(rank).MeanReconstruction(same);
        EXPECT_EQ(BitsOf(same), BitsOf(mean)) << "ranks disagree";
        for (size_t i = 0; i < mean.size(); ++i) {
          average[i] += local[i] / 3.0;
          largest = std::max(largest, std::abs(static_cast<double>(local[i])));
        }
      }
      // A handful of roundings of 2^-24 each, in values up to a few times the largest.
      for (size_t i = 0; i < mean.size(); ++i) EXPECT_NEAR(average[i], mean[i], 1e-5 * largest) << i;
      for (size_t rank = 0; rank < 3; ++rank) ranks.session(rank).Commit();
    }
  });
}

TEST_P(SessionConformance, ReconstructLeavesTheResidualOfAFormedMessage) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    Ranks ranks(*codec_, shape, 1);
    if (!ranks.exist()) return;
    LinearSession& session = ranks.session(0);
    const Floats g = Gaussian(shape.elements()), e = Gaussian(shape.elements(), 2);
    Message message(g);
    message.error = e;
    Floats residual(g.size()), mean(g.size()), expected_mean(g.size()), local(g.size());
    session.Begin(RngKey{.seed = 43}.Shared(), residual);
    for (int round = 0; round < session.rounds(); ++round) {
      Floats out(session.RoundFloats(round));
      ASSERT_TRUE(session.Produce(round, message, out).ok());
      ASSERT_TRUE(session.Consume(round, out).ok());
    }
    session.LocalReconstruction(local);
    session.MeanReconstruction(expected_mean);
    session.Reconstruct(mean);
    EXPECT_TRUE(SameValues(mean, expected_mean));
    for (size_t i = 0; i < g.size(); ++i) local[i] = (g[i] + e[i]) - local[i];
    EXPECT_TRUE(SameValues(residual, local));
  });
}

TEST_P(SessionConformance, StepWithoutCommitLeavesNoTrace) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    Ranks disturbed(*codec_, shape, 2);
    Ranks calm(*codec_, shape, 2);
    if (!calm.exist()) return;
    disturbed.Step(0, 0, true);
    calm.Step(0, 0, true);
    disturbed.Step(1, 9, false);
    EXPECT_EQ(disturbed.Step(1, 1, true), calm.Step(1, 1, true));
    EXPECT_EQ(disturbed.Step(2, 2, true), calm.Step(2, 2, true));
  });
}

TEST_P(SessionConformance, SavedAndLoadedContinuesBitForBit) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    Ranks straight(*codec_, shape, 2);
    Ranks resumed(*codec_, shape, 2);
    if (!straight.exist()) return;
    straight.Step(0, 0, true);
    straight.Step(1, 1, true);
    for (size_t rank = 0; rank < 2; ++rank) {
      StateArchive archive;
      StateWriter writer = StateWriter(&archive).Scope("session");
      straight.session(rank).Save(writer);
      const auto parsed = ParseStateArchive(SerializeStateArchive(archive));
      ASSERT_TRUE(parsed.ok()) << parsed.status();
      const absl::Status status = resumed.session(rank).Load(StateReader(&*parsed).Scope("session"));
      ASSERT_TRUE(status.ok()) << status;
    }
    EXPECT_EQ(resumed.Step(2, 2, true), straight.Step(2, 2, true));
    EXPECT_EQ(resumed.Step(3, 3, true), straight.Step(3, 3, true));
  });
}

TEST_P(SessionConformance, NonFiniteMeanIsDataLossAndNonFiniteMessageInvalid) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    Ranks ranks(*codec_, shape, 1);
    if (!ranks.exist()) return;
    LinearSession& session = ranks.session(0);
    Floats x = Gaussian(shape.elements());
    Floats out(session.RoundFloats(0));
    session.Begin(RngKey{}.Shared(), {});
    ASSERT_TRUE(session.Produce(0, x, out).ok());
    if (out.empty()) return;
    out.back() = std::numeric_limits<float>::infinity();
    EXPECT_EQ(session.Consume(0, out).code(), absl::StatusCode::kDataLoss);
    // A message that is wholly NaN, so that whichever elements the codec looks at, it sees one.
    std::fill(x.begin(), x.end(), std::numeric_limits<float>::quiet_NaN());
    session.Begin(RngKey{}.Shared(), {});
    EXPECT_EQ(session.Produce(0, x, out).code(), absl::StatusCode::kInvalidArgument);
  });
}

INSTANTIATE_TEST_SUITE_P(EveryExample, SessionConformance, ::testing::ValuesIn(AllSpecs()), TestName);

}  // namespace
}  // namespace laconic::conformance
