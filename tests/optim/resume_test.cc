// State saved and loaded: bit for bit on as many ranks, and by a declared rule on another number.
#include <cstring>
#include <mutex>

#include "laconic/comm/collectives/dense.h"
#include "tests/optim/toy_trainer.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::AdaptiveSpecs;
using testing::OnRanks;
using testing::Specs;
using testing::ToyTrainer;

GradientSyncOptions SmallBuckets() { return {.seed = 5, .bucket_bytes = 4096, .min_bytes = 256}; }

// What a run of `ranks` left: weights and one archive per rank.
struct Saved {
  std::vector<float> weights;
  std::vector<StateArchive> archives;

  std::vector<StateReader> Readers() const {
    std::vector<StateReader> readers;
    for (const StateArchive& archive : archives) readers.emplace_back(&archive);
    return readers;
  }
};

Saved TrainAndSave(int ranks, const std::string& spec, int steps, const Saved* from = nullptr, int first_step = 0,
                   ReshardRule rule = ReshardRule::kNone, GradientSyncOptions options = SmallBuckets()) {
  Saved saved;
  saved.archives.resize(ranks);
  OnRanks(ranks, [&](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    if (from != nullptr) trainer.SetWeights(from->weights);
    LACONIC_ASSIGN_OR_RETURN(auto sync, GradientSync::Create(&comm, trainer.parameters, spec, options));
    if (from != nullptr) LACONIC_RETURN_IF_ERROR(sync->Load(from->Readers(), rule));
    for (int step = first_step; step < first_step + steps; ++step)
      LACONIC_RETURN_IF_ERROR(trainer.Step(*sync, step, 0.1f));
    StateWriter writer(&saved.archives[comm.rank()]);
    sync->Save(writer);
    if (comm.rank() == 0) saved.weights = trainer.AllWeights();
    return absl::OkStatus();
  });
  return saved;
}

class ResumeEverySpec : public ::testing::TestWithParam<std::string> {};

TEST_P(ResumeEverySpec, SaveAndLoad_HalfWay_GivesTheBitsOfTheUnbrokenRun) {
  const Saved whole = TrainAndSave(4, GetParam(), 20);
  const Saved half = TrainAndSave(4, GetParam(), 10);
  const Saved resumed = TrainAndSave(4, GetParam(), 10, &half, 10);
  EXPECT_EQ(std::memcmp(whole.weights.data(), resumed.weights.data(), whole.weights.size() * 4), 0);
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(SerializeStateArchive(whole.archives[rank]), SerializeStateArchive(resumed.archives[rank]))
        << "rank " << rank;
  }
}

TEST_P(ResumeEverySpec, Load_OnAnotherNumberOfRanksWithoutARule_IsRefused) {
  const Saved saved = TrainAndSave(4, GetParam(), 2);
  OnRanks(2, [&](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(auto sync, GradientSync::Create(&comm, trainer.parameters, GetParam(), SmallBuckets()));
    const absl::Status status = sync->Load(saved.Readers());
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("4 ranks"), HasSubstr("on 2"), HasSubstr("mean"), HasSubstr("reset")));
    return absl::OkStatus();
  });
}

TEST_P(ResumeEverySpec, Load_FourToTwoRanksByMean_TrainsOn) {
  const Saved saved = TrainAndSave(4, GetParam(), 10);
  const Saved resumed = TrainAndSave(2, GetParam(), 10, &saved, 10, ReshardRule::kMean);
  for (float w : resumed.weights) ASSERT_TRUE(std::isfinite(w));
  EXPECT_NE(resumed.weights, saved.weights);
}

INSTANTIATE_TEST_SUITE_P(All, ResumeEverySpec, ::testing::ValuesIn(Specs()), [](const auto& info) {
  std::string name = info.param;
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
});

INSTANTIATE_TEST_SUITE_P(Adaptive, ResumeEverySpec, ::testing::ValuesIn(AdaptiveSpecs()),
                         [](const auto& info) { return "spec" + std::to_string(info.index); });

// What is still owed to the weights: (1/n) sum of the ranks' errors, plus the owners' errors.
struct Owed {
  std::vector<double> ranks, owners;

  double At(size_t i) const { return ranks[i] + owners[i]; }
};
Owed OwedBy(const Saved& saved, const std::string& tensor, size_t elements) {
  Owed owed{std::vector<double>(elements), std::vector<double>(elements)};
  for (const StateArchive& archive : saved.archives) {
    const StateReader in = StateReader(&archive).Scope("tensors").Scope(tensor);
    const absl::StatusOr<std::span<const float>> error = in.Scope("control").Floats("error");
    for (size_t i = 0; error.ok() && i < elements; ++i) owed.ranks[i] += (*error)[i] / double(saved.archives.size());
    const absl::StatusOr<std::span<const float>> owner = in.Scope("owner").Floats("error");
    if (!owner.ok()) continue;
    const uint64_t begin = *in.U64("owner_begin");
    for (size_t i = 0; i < owner->size(); ++i) owed.owners[begin + i] += (*owner)[i];
  }
  return owed;
}

class ReshardEverySpec : public ::testing::TestWithParam<std::string> {};

TEST_P(ReshardEverySpec, FourToTwoRanksByMean_KeepsTheSumOfErrorsAsTheUpdateWeighsIt) {
  const Saved saved = TrainAndSave(4, GetParam(), 10);
  const Saved resharded = TrainAndSave(2, GetParam(), 0, &saved, 10, ReshardRule::kMean);
  const size_t elements = 48 * 32;
  const Owed before = OwedBy(saved, "fc1.weight", elements), after = OwedBy(resharded, "fc1.weight", elements);
  double norm = 0;
  for (size_t i = 0; i < elements; ++i) {
    // The ranks' part is rounded to float once, 2^-24 of it; the owners' part is copied. 1e-12: sums in double.
    ASSERT_NEAR(after.At(i), before.At(i), std::abs(before.ranks[i]) * 0x1p-24 + 1e-12) << "element " << i;
    norm += std::abs(before.At(i));
  }
  EXPECT_GT(norm, 1);  // there was something to keep
}

INSTANTIATE_TEST_SUITE_P(All, ReshardEverySpec,
                         ::testing::Values("topk(ratio=0.05)+econtrol+gather", "sign+ef+scatter",
                                           "lowrank(rank=2)+ef+linear", "quantize(bits=4)+ef+scatter",
                                           "topk(ratio=0.05)+econtrol+scatter"),
                         [](const auto& info) { return "spec" + std::to_string(info.index); });

TEST(Reshard, Reset_DropsTheErrors) {
  const Saved saved = TrainAndSave(4, "topk(ratio=0.05)+ef+gather", 10);
  const Saved resharded = TrainAndSave(2, "topk(ratio=0.05)+ef+gather", 0, &saved, 10, ReshardRule::kReset);
  const Owed owed = OwedBy(resharded, "fc1.weight", 48 * 32);
  for (size_t i = 0; i < 48 * 32; ++i) EXPECT_EQ(owed.At(i), 0);
}

TEST(Reshard, MeanOfShifts_StaysTheShiftAverage) {
  const Saved saved = TrainAndSave(4, "topk(ratio=0.05)+econtrol+gather", 10);
  const Saved resharded = TrainAndSave(2, "topk(ratio=0.05)+econtrol+gather", 0, &saved, 10, ReshardRule::kMean);
  for (const StateArchive& archive : resharded.archives) {
    const StateReader in = StateReader(&archive).Scope("tensors").Scope("fc1.weight").Scope("control");
    const std::span<const float> shift = *in.Floats("shift"), average = *in.Floats("shift_average");
    // h_i and H sum the same ten messages in different orders: ten roundings of values below 4.
    for (size_t i = 0; i < shift.size(); ++i) ASSERT_NEAR(shift[i], average[i], 10 * 4 * 0x1p-24);
  }
}

TEST(Load, OtherSpec_IsRefusedNamingBoth) {
  const Saved saved = TrainAndSave(2, "sign+ef+scatter", 2);
  OnRanks(2, [&](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(auto sync,
                             GradientSync::Create(&comm, trainer.parameters, "sign+ef+gather", SmallBuckets()));
    EXPECT_THAT(sync->Load(saved.Readers()).ToString(),
                AllOf(HasSubstr("sign+ef+scatter"), HasSubstr("sign+ef+gather")));
    return absl::OkStatus();
  });
}

TEST(Load, OtherBuckets_ContinuesBitForBit) {
  // State is keyed by tensor, buckets only decide when bytes move.
  const Saved whole = TrainAndSave(2, "topk(ratio=0.05)+ef+gather", 20);
  const Saved half = TrainAndSave(2, "topk(ratio=0.05)+ef+gather", 10);
  GradientSyncOptions one_bucket = SmallBuckets();
  one_bucket.bucket_bytes = 1 << 20;
  const Saved resumed = TrainAndSave(2, "topk(ratio=0.05)+ef+gather", 10, &half, 10, ReshardRule::kNone, one_bucket);
  EXPECT_EQ(whole.weights, resumed.weights);
}

TEST(Load, MissingEntry_IsNamed) {
  Saved saved = TrainAndSave(2, "topk(ratio=0.05)+ef+gather", 2);
  saved.archives[1].tensors.erase("tensors/fc1.weight/control/error");
  std::vector<absl::Status> statuses(2);
  OnRanks(2, [&](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(
        auto sync, GradientSync::Create(&comm, trainer.parameters, "topk(ratio=0.05)+ef+gather", SmallBuckets()));
    statuses[comm.rank()] = sync->Load(saved.Readers());
    return absl::OkStatus();
  });
  EXPECT_TRUE(statuses[0].ok());
  EXPECT_THAT(statuses[1].ToString(), HasSubstr("tensors/fc1.weight/control/error"));
}

}  // namespace
}  // namespace laconic
