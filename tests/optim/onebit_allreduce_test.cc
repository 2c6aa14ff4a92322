// The compressed allreduce of the 1-bit family through the library's own transport (algorithms.md, checks 18 and 19):
// n = 4 ranks, d = 1000, M_i[j] = sin(0.37 (j+1)(i+1)) + 0.3 cos(0.01 j) the same every round, errors at ranks and
// owners. tests/golden/two_phase_sign_test.cc has the published form, one scale a rank; here every shard has its own.
#include <cmath>

#include "laconic/comm/collectives/dense.h"
#include "tests/optim/toy_trainer.h"

namespace laconic {
namespace {

using testing::OnRanks;

constexpr size_t kElements = 1000;
constexpr int kRanks = 4;

struct Rounds {
  std::vector<double> mean = std::vector<double>(kElements);  // of M over ranks
  std::vector<double> sum = std::vector<double>(kElements);   // of the outputs over rounds
  std::vector<double> owed = std::vector<double>(kElements);  // mean over ranks of their errors, plus the owners'
  double relative_error = 0;                                  // |sum / T - mean| / |mean|
};

Rounds RunRounds(const std::string& spec, int rounds) {
  Rounds result;
  std::vector<StateArchive> archives(kRanks);
  OnRanks(kRanks, [&](Communicator& comm) -> absl::Status {
    std::vector<float> w(kElements), input(kElements);
    const std::vector<Parameter> parameters = {{"m", Shape({kElements}), w, input}};
    LACONIC_ASSIGN_OR_RETURN(auto sync, GradientSync::Create(&comm, parameters, spec, {.min_bytes = 0}));
    for (size_t j = 0; j < kElements; ++j) {
      const double row = static_cast<double>(j);
      input[j] = static_cast<float>(std::sin(0.37 * (row + 1) * (comm.rank() + 1)) + 0.3 * std::cos(0.01 * row));
    }
    for (int t = 0; t < rounds; ++t) {
      sync->Begin({.step = static_cast<uint64_t>(t)});
      LACONIC_RETURN_IF_ERROR(sync->Finish());
      for (size_t j = 0; comm.rank() == 0 && j < kElements; ++j) result.sum[j] += sync->direction(TensorId{0})[j];
    }
    StateWriter writer(&archives[comm.rank()]);
    sync->Save(writer);
    return absl::OkStatus();
  });
  for (int rank = 0; rank < kRanks; ++rank) {
    const StateReader in = StateReader(&archives[rank]).Scope("tensors").Scope("m");
    const std::span<const float> error = *in.Scope("control").Floats("error");
    for (size_t j = 0; j < kElements; ++j) result.owed[j] += error[j] / static_cast<double>(kRanks);
    const std::span<const float> owner = *in.Scope("owner").Floats("error");
    for (size_t j = 0; j < owner.size(); ++j) result.owed[*in.U64("owner_begin") + j] += owner[j];
  }
  double difference = 0, norm = 0;
  for (size_t j = 0; j < kElements; ++j) {
    for (int rank = 0; rank < kRanks; ++rank) {
      const double row = static_cast<double>(j);
      const float value = static_cast<float>(std::sin(0.37 * (row + 1) * (rank + 1)) + 0.3 * std::cos(0.01 * row));
      result.mean[j] += value / static_cast<double>(kRanks);
    }
    difference += std::pow(result.sum[j] / rounds - result.mean[j], 2);
    norm += std::pow(result.mean[j], 2);
  }
  result.relative_error = std::sqrt(difference / norm);
  return result;
}

// sum out = T mean(M) - mean(errors of ranks) - errors of owners. Each round adds a few roundings of numbers below 8:
// 1000 * 4 * 8 * 2^-24 at most, were they all of one sign.
TEST(OneBitAllreduce, SumOfOutputs_IsThatOfInputsLessWhatIsOwed) {
  constexpr int kRounds = 1000;
  for (const std::string spec :
       {"sign(block=0, scale=rms)+ef+scatter", "sign(zeros=plus)+ef+scatter", "sign(block=0, scale=l1)+ef+scatter"}) {
    const Rounds run = RunRounds(spec, kRounds);
    for (size_t j = 0; j < kElements; ++j) {
      ASSERT_NEAR(run.sum[j], kRounds * run.mean[j] - run.owed[j], 2e-3) << spec << ", element " << j;
    }
  }
}

// In double: rms .88910, .02120 and .00220 after 1, 100 and 1000 rounds, l1 .80127, .05233 and .00784. A rounding may
// turn a sign and with it what follows. One round is free of that; running means are bounded by what is owed, which no
// rounding moves far.
TEST(OneBitAllreduce, RunningMean_ApproachesTheMeanFasterUnderTheRootMeanSquare) {
  constexpr char kRms[] = "sign(block=0, scale=rms)+ef+scatter", kL1[] = "sign(block=0, scale=l1)+ef+scatter";
  EXPECT_NEAR(RunRounds(kRms, 1).relative_error, 0.88910, 1e-4);
  EXPECT_NEAR(RunRounds(kL1, 1).relative_error, 0.80127, 1e-4);
  EXPECT_NEAR(RunRounds(kRms, 1000).relative_error, 0.00220, 0.1 * 0.00220);
  EXPECT_NEAR(RunRounds(kL1, 1000).relative_error, 0.00784, 0.1 * 0.00784);
}

// The published code pads d to a multiple of n lcm(n, 8), so that each rank owns as many whole bytes. Our shards begin
// at multiples of 64 elements and differ in length instead: nothing is padded, nothing is sent for what is not there.
TEST(OneBitAllreduce, Shards_CoverTheTensorInWholeBytesWithoutPadding) {
  const std::vector<std::pair<int, size_t>> published = {{2, 1008}, {3, 1008},  {4, 1024},  {6, 1008},
                                                         {8, 1024}, {12, 1152}, {16, 1024}, {24, 1152}};
  for (const auto& [ranks, padded] : published) {
    size_t covered = 0, bytes = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      const ShardRange shard = ShardOf(kElements, ranks, rank, 64);
      EXPECT_EQ(shard.begin, covered);
      EXPECT_EQ(shard.begin % 64 == 0 || shard.size() == 0, true);
      covered = shard.end;
      bytes += (shard.size() + 7) / 8;
    }
    EXPECT_EQ(covered, kElements);
    EXPECT_LE(bytes, padded / 8) << ranks << " ranks";
  }
}

}  // namespace
}  // namespace laconic
