// One suite over every strategy: what must hold whatever the codec, the control and the number of ranks.
#include "laconic/comm/collectives/strategy.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <mutex>

#include "comm/collectives/frames.h"
#include "laconic/base/parallel.h"
#include "laconic/base/status.h"
#include "laconic/comm/transport/faulty.h"
#include "tests/comm/strategy_harness.h"

namespace laconic {
namespace {

using ::testing::HasSubstr;
using testing::OnRanks;
using testing::RankBucket;

struct Case {
  std::string spec;
  int ranks;
};

std::string CaseName(const ::testing::TestParamInfo<Case>& info) {
  std::string name = info.param.spec + "_on" + std::to_string(info.param.ranks);
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name + "_" + std::to_string(info.index);
}

// A matrix whose shards are uneven, and a smaller one.
const std::vector<Shape> kShapes = {Shape({37, 20}), Shape({16, 12})};

class StrategySuite : public ::testing::TestWithParam<Case> {
 protected:
  // Directions of every rank after `steps` committed steps.
  std::vector<std::vector<float>> Directions(int steps, int threads = 1) {
    std::vector<std::vector<float>> all(GetParam().ranks);
    OnRanks(GetParam().ranks, [&](Communicator& comm) -> absl::Status {
      WorkerPool pool(threads);
      RankBucket bucket(kShapes, comm);
      LACONIC_RETURN_IF_ERROR(bucket.Make(GetParam().spec, comm, {.seed = 7, .pool = &pool}));
      for (int step = 0; step < steps; ++step) {
        bucket.FillGradients(step);
        BucketResult result;
        LACONIC_RETURN_IF_ERROR(
            bucket.strategy->Run(comm, bucket.slots, {.step = static_cast<uint64_t>(step)}, 1.0f, result));
        bucket.strategy->Commit(bucket.slots);
      }
      all[comm.rank()] = bucket.directions;
      return absl::OkStatus();
    });
    return all;
  }
};

TEST_P(StrategySuite, Directions_OnAllRanks_AreEqualBitForBit) {
  const std::vector<std::vector<float>> all = Directions(5);
  for (const std::vector<float>& directions : all) {
    ASSERT_FALSE(directions.empty());
    EXPECT_EQ(std::memcmp(directions.data(), all[0].data(), directions.size() * 4), 0);
  }
  EXPECT_TRUE(std::any_of(all[0].begin(), all[0].end(), [](float d) { return d != 0; }));
}

TEST_P(StrategySuite, Directions_WithTwoThreads_AreTheSameBits) { EXPECT_EQ(Directions(3, 1), Directions(3, 2)); }

TEST_P(StrategySuite, Run_WithoutCommit_LeavesNoTrace) {
  OnRanks(GetParam().ranks, [&](Communicator& comm) -> absl::Status {
    RankBucket bucket(kShapes, comm);
    LACONIC_RETURN_IF_ERROR(bucket.Make(GetParam().spec, comm));
    std::vector<float> first;
    for (uint64_t step = 0; step < 2; ++step) {
      bucket.FillGradients(step);
      LACONIC_RETURN_IF_ERROR(bucket.strategy->Run(comm, bucket.slots, {.step = step}, 1.0f, bucket.result));
      bucket.strategy->Commit(bucket.slots);
    }
    // Two attempts at step 2, the first given up after the exchange: the second must send the same bytes.
    for (int attempt = 0; attempt < 2; ++attempt) {
      bucket.FillGradients(2);
      LACONIC_RETURN_IF_ERROR(bucket.strategy->Run(comm, bucket.slots, {.step = 2}, 1.0f, bucket.result));
      if (attempt == 0) first = bucket.directions;
    }
    EXPECT_EQ(first, bucket.directions);
    return absl::OkStatus();
  });
}

// What needs a second rank to go wrong.
class StrategyAmongRanks : public ::testing::TestWithParam<Case> {};

TEST_P(StrategyAmongRanks, NonFinite_OnOneRank_IsAgreedByAllAndNothingMoves) {
  OnRanks(GetParam().ranks, [&](Communicator& comm) -> absl::Status {
    RankBucket bucket(kShapes, comm);
    LACONIC_RETURN_IF_ERROR(bucket.Make(GetParam().spec, comm));
    bucket.FillGradients(0);
    if (comm.rank() == 1) bucket.slots[1].gradient[5] = std::nanf("");
    LACONIC_RETURN_IF_ERROR(bucket.strategy->Run(comm, bucket.slots, {.step = 0}, 1.0f, bucket.result));
    EXPECT_TRUE(bucket.result.non_finite.has_value());
    if (bucket.result.non_finite) {
      EXPECT_EQ(bucket.result.non_finite->rank, 1);
      EXPECT_EQ(Index(bucket.result.non_finite->tensor), 1u);
      EXPECT_EQ(bucket.result.non_finite->index, 5u);
    }
    for (const GradientSlot& slot : bucket.slots) {
      for (float e : slot.control.error()) EXPECT_EQ(e, 0.0f);
    }
    return absl::OkStatus();
  });
}

TEST_P(StrategyAmongRanks, Run_RanksAtDifferentSteps_IsFailedPreconditionNamingBoth) {
  const absl::Status status = RunInProcess(GetParam().ranks, [&](std::unique_ptr<Transport> transport) -> absl::Status {
    Communicator comm(std::move(transport), {.timeout = absl::Seconds(20)});
    RankBucket bucket(kShapes, comm);
    LACONIC_RETURN_IF_ERROR(bucket.Make(GetParam().spec, comm));
    bucket.FillGradients(0);
    const uint64_t step = comm.rank() == 0 ? 4 : 5;
    return bucket.strategy->Run(comm, bucket.slots, {.step = step}, 1.0f, bucket.result);
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("step 4"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("step 5"));
}

std::vector<Case> EverySpecOn(std::initializer_list<int> rank_counts) {
  std::vector<Case> cases;
  for (const char* spec : {"dense",
                           "topk(ratio=0.1)+econtrol+gather",
                           "topk(ratio=0.1)+ef+scatter",
                           "topk(ratio=0.1)+ef21+scatter",
                           "sign+ef+scatter",
                           "sign+ef+gather",
                           "lowrank(rank=2)+ef+linear",
                           "lowrank(rank=2)+econtrol+gather",
                           "quantize(bits=4)+ef+scatter",
                           "quantize(bits=4, rounding=stochastic, norm=l2)+diana+gather",
                           "randk(ratio=0.2)+ef+linear",
                           "randk(ratio=0.2)+ef21-sgdm+gather",
                           "natural+none+gather",
                           "cast(to=bf16)+ef+scatter",
                           "topk(ratio=0.1)+econtrol+hierarchical(local=2, across=gather)",
                           "sign+ef+hierarchical(local=2, across=scatter)",
                           "topk(ratio=0.1)+ef21+scatter(owners=1)",
                           "topk(ratio=0.1)+dgc+gather",
                           "topk(k=4, chunk=64, values=q2)+ef(decay=0.95)+gather",
                           "topk(ratio=0.1)+econtrol+scatter(down=topk(ratio=0.2), reply=direction)",
                           "sign+ef+scatter(owners=1, down=quantize(bits=4))"}) {
    for (int ranks : rank_counts) cases.push_back({spec, ranks});
  }
  return cases;
}
INSTANTIATE_TEST_SUITE_P(All, StrategySuite, ::testing::ValuesIn(EverySpecOn({1, 2, 3, 4})), CaseName);
INSTANTIATE_TEST_SUITE_P(RanksThatComeAndGo, StrategySuite,
                         ::testing::Values(Case{"topk(ratio=0.1)+econtrol(participation=0.5)+gather", 4},
                                           Case{"topk(ratio=0.1)+ef(participation=0.3)+scatter", 3},
                                           Case{"natural+diana(participation=0.5)+gather", 3},
                                           Case{"topk(ratio=0.1)+ef21(participation=0.5)+scatter(owners=1, "
                                                "down=topk(ratio=0.2), reply=direction)",
                                                4}),
                         CaseName);
INSTANTIATE_TEST_SUITE_P(All, StrategyAmongRanks, ::testing::ValuesIn(EverySpecOn({2, 3, 4})), CaseName);

// The identity that makes error feedback honest: what has been applied plus what is still owed is what there was to
// apply.
//   sum_t d_t + mean_i e_i + (owners' errors) = sum_t mean_i g_i
class Telescoping : public ::testing::TestWithParam<Case> {};

TEST_P(Telescoping, SumOfDirectionsPlusErrors_IsSumOfGradients) {
  const int ranks = GetParam().ranks, steps = 20;
  std::mutex mutex;
  std::vector<double> owed;     // mean of errors plus owners' errors
  std::vector<double> applied;  // sum of directions
  std::vector<double> wanted;   // sum of mean gradients
  OnRanks(ranks, [&](Communicator& comm) -> absl::Status {
    RankBucket bucket(kShapes, comm);
    LACONIC_RETURN_IF_ERROR(bucket.Make(GetParam().spec, comm));
    const size_t d = bucket.gradients.size();
    std::vector<double> own_wanted(d), own_applied(d), own_owed(d);
    for (int step = 0; step < steps; ++step) {
      bucket.FillGradients(step);
      for (size_t i = 0; i < d; ++i) own_wanted[i] += bucket.gradients[i] / double(ranks);
      LACONIC_RETURN_IF_ERROR(
          bucket.strategy->Run(comm, bucket.slots, {.step = static_cast<uint64_t>(step)}, 1.0f, bucket.result));
      bucket.strategy->Commit(bucket.slots);
      for (size_t i = 0; i < d; ++i) own_applied[i] += bucket.directions[i];
    }
    size_t offset = 0;
    for (const GradientSlot& slot : bucket.slots) {
      for (size_t i = 0; i < slot.control.error().size(); ++i)
        own_owed[offset + i] += slot.control.error()[i] / double(ranks);
      for (size_t i = 0; i < slot.owner.error().size(); ++i)
        own_owed[offset + slot.owner_begin + i] += slot.owner.error()[i];
      offset += slot.shape.elements();
    }
    std::lock_guard<std::mutex> lock(mutex);
    wanted.resize(d), owed.resize(d);
    for (size_t i = 0; i < d; ++i) wanted[i] += own_wanted[i], owed[i] += own_owed[i];
    applied = own_applied;
    return absl::OkStatus();
  });
  // Each step rounds a handful of values of magnitude up to the error's (a few dozen here) to 24 bits: 20 steps of ~8
  // roundings at 2^-24 * 64 stay below 1e-3.
  for (size_t i = 0; i < wanted.size(); ++i) ASSERT_NEAR(applied[i] + owed[i], wanted[i], 1e-3) << "element " << i;
}

INSTANTIATE_TEST_SUITE_P(Ef, Telescoping,
                         ::testing::Values(Case{"topk(ratio=0.1)+ef+gather", 4}, Case{"topk(ratio=0.1)+ef+scatter", 4},
                                           Case{"topk(ratio=0.1)+ef+scatter", 3}, Case{"sign+ef+scatter", 4},
                                           Case{"sign(block=64)+ef+gather", 2}, Case{"lowrank(rank=2)+ef+linear", 4},
                                           Case{"quantize(bits=4)+ef+scatter", 4}, Case{"sign+ef+scatter(owners=1)", 3},
                                           Case{"topk(ratio=0.1)+ef+scatter(owners=2)", 4},
                                           Case{"randk(ratio=0.2)+ef+linear", 3}, Case{"cast(to=fp16)+ef+scatter", 2},
                                           Case{"topk(ratio=0.1)+ef+scatter(down=sign, reply=direction)", 3},
                                           Case{"topk(k=4, chunk=64, values=q2)+ef+gather", 4}),
                         CaseName);

TEST(Dense, Mean_OfKnownValues_IsExact) {
  OnRanks(4, [](Communicator& comm) -> absl::Status {
    RankBucket bucket({Shape::Flat(3)}, comm);
    LACONIC_RETURN_IF_ERROR(bucket.Make("dense", comm));
    bucket.gradients = {float(comm.rank()), 1.0f, float(2 * comm.rank())};
    LACONIC_RETURN_IF_ERROR(bucket.strategy->Run(comm, bucket.slots, {}, 1.0f, bucket.result));
    EXPECT_THAT(bucket.directions, ::testing::ElementsAre(1.5f, 1.0f, 3.0f));
    return absl::OkStatus();
  });
}

TEST(Gather, TopK_KeepsEachRanksLargest_AndAveragesThem) {
  OnRanks(2, [](Communicator& comm) -> absl::Status {
    RankBucket bucket({Shape::Flat(4)}, comm);
    LACONIC_RETURN_IF_ERROR(bucket.Make("topk(k=1)+ef+gather", comm));
    const std::vector<float> own = comm.rank() == 0 ? std::vector<float>{8, 1, 0, 0} : std::vector<float>{0, 2, 0, -6};
    std::copy(own.begin(), own.end(), bucket.gradients.begin());
    LACONIC_RETURN_IF_ERROR(bucket.strategy->Run(comm, bucket.slots, {}, 1.0f, bucket.result));
    bucket.strategy->Commit(bucket.slots);
    EXPECT_THAT(bucket.directions, ::testing::ElementsAre(4, 0, 0, -3));
    const float left = comm.rank() == 0 ? 1.0f : 2.0f;
    EXPECT_THAT(std::vector<float>(bucket.slots[0].control.error().begin(), bucket.slots[0].control.error().end()),
                ::testing::ElementsAre(0, left, 0, 0));
    return absl::OkStatus();
  });
}

TEST(Scatter, EControl_KeepsTheInvariant_ShiftAveragePlusOwnersErrorIsMeanOfShifts) {
  constexpr int kRanks = 4;
  std::mutex mutex;
  std::vector<double> mean_shift(740 + 192), left(740 + 192);
  OnRanks(kRanks, [&](Communicator& comm) -> absl::Status {
    RankBucket bucket(kShapes, comm);
    LACONIC_RETURN_IF_ERROR(bucket.Make("topk(ratio=0.1)+econtrol+scatter", comm));
    for (uint64_t step = 0; step < 50; ++step) {
      bucket.FillGradients(step);
      LACONIC_RETURN_IF_ERROR(bucket.strategy->Run(comm, bucket.slots, {.step = step}, 1.0f, bucket.result));
      bucket.strategy->Commit(bucket.slots);
    }
    std::lock_guard<std::mutex> lock(mutex);
    size_t offset = 0;
    for (const GradientSlot& slot : bucket.slots) {
      for (size_t i = 0; i < slot.shape.elements(); ++i)
        mean_shift[offset + i] += slot.control.shift()[i] / double(kRanks);
      for (size_t i = 0; i < slot.owner.error().size(); ++i)
        left[offset + slot.owner_begin + i] += slot.owner.error()[i];
      if (comm.rank() == 0) {
        for (size_t i = 0; i < slot.shape.elements(); ++i) left[offset + i] += slot.control.shift_average()[i];
      }
      offset += slot.shape.elements();
    }
    return absl::OkStatus();
  });
  // 50 steps, three roundings each of values below 8: 50 * 3 * 8 * 2^-24 < 1e-4.
  for (size_t i = 0; i < left.size(); ++i) ASSERT_NEAR(left[i], mean_shift[i], 1e-4) << "element " << i;
}

TEST(Scatter, OneOwner_IsACentralServer_WorkersSendOnePayloadAndTheServerOneToEach) {
  OnRanks(3, [](Communicator& comm) -> absl::Status {
    RankBucket bucket({Shape::Flat(256)}, comm);
    LACONIC_RETURN_IF_ERROR(bucket.Make("identity+none+scatter(owners=1)", comm));
    EXPECT_EQ(bucket.strategy->ToString(), "scatter(owners=1)");
    std::fill(bucket.gradients.begin(), bucket.gradients.end(), static_cast<float>(3 * comm.rank()));
    LACONIC_RETURN_IF_ERROR(bucket.strategy->Run(comm, bucket.slots, {}, 1.0f, bucket.result));
    bucket.strategy->Commit(bucket.slots);
    EXPECT_THAT(bucket.directions, ::testing::Each(3.0f));
    // Two headers of 48 bytes to each of two peers, and payloads of 48 + 4 * 256 bytes: one to the server, or one to
    // each.
    EXPECT_EQ(comm.traffic().bytes_sent, 2 * 2 * 48 + (comm.rank() == 0 ? 2 : 1) * (48 + 1024));
    EXPECT_EQ(bucket.slots[0].owner.elements(), comm.rank() == 0 ? 256 : 0);
    return absl::OkStatus();
  });
}

TEST(Scatter, MoreOwnersThanRanks_IsRefused) {
  OnRanks(2, [](Communicator& comm) -> absl::Status {
    RankBucket bucket({Shape::Flat(256)}, comm);
    const absl::Status status = bucket.Make("sign+ef+scatter(owners=3)", comm);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("scatter(owners=3) on 2 ranks"));
    return absl::OkStatus();
  });
}

TEST(Scatter, LowRank_IsRefusedWithTheReason) {
  OnRanks(2, [](Communicator& comm) -> absl::Status {
    RankBucket bucket({Shape({16, 16})}, comm);
    const absl::Status status = bucket.Make("lowrank(rank=2)+ef+scatter", comm);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("flat shards"));
    return absl::OkStatus();
  });
}

TEST(Scatter, Diana_OnACodecWhoseOwnerCannotKeepItsError_IsRefused) {
  OnRanks(2, [](Communicator& comm) -> absl::Status {
    RankBucket bucket({Shape::Flat(4096)}, comm);
    const absl::Status status = bucket.Make("randk(ratio=0.1, scale=unbiased)+diana+scatter", comm);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return bucket.Make("randk(ratio=0.1, scale=unbiased)+diana", comm);  // without a strategy it takes another
  });
}

TEST(Linear, TopK_IsRefusedWithTheReason) {
  OnRanks(1, [](Communicator& comm) -> absl::Status {
    RankBucket bucket({Shape({16, 16})}, comm);
    const absl::Status status = bucket.Make("topk(ratio=0.1)+ef+linear", comm);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("is not linear"));
    return absl::OkStatus();
  });
}

TEST(Gather, BitFlippedOnTheWire_IsDataLossNamingRankAndTensor) {
  const absl::Status status = RunInProcess(3, [](std::unique_ptr<Transport> transport) -> absl::Status {
    const int rank = transport->rank();
    // Exchange 0 carries the headers, exchange 1 the bodies; bit 3000 lies behind the first frame's 48-byte header.
    std::vector<Fault> faults;
    if (rank == 2) faults.push_back({.kind = Fault::Kind::kFlip, .exchange = 1, .to = 0, .amount = 3000});
    Communicator comm(MakeFaultyTransport(std::move(transport), faults), {.timeout = absl::Seconds(20)});
    RankBucket bucket(kShapes, comm);
    LACONIC_RETURN_IF_ERROR(bucket.Make("quantize(bits=8)+ef+gather", comm));
    bucket.FillGradients(0);
    const absl::Status run = bucket.strategy->Run(comm, bucket.slots, {}, 1.0f, bucket.result);
    if (rank != 0) return absl::OkStatus();
    return run;
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("tensor0"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("rank 2"));
}

TEST(Strategies, MeasureError_GivesTheRelativeErrorOfOneRound) {
  OnRanks(1, [](Communicator& comm) -> absl::Status {
    RankBucket bucket({Shape::Flat(4)}, comm);
    LACONIC_RETURN_IF_ERROR(bucket.Make("topk(k=1)+ef+gather", comm, {.measure_error = true}));
    const std::vector<float> own = {0, 4, 0, 3};
    std::copy(own.begin(), own.end(), bucket.gradients.begin());
    LACONIC_RETURN_IF_ERROR(bucket.strategy->Run(comm, bucket.slots, {}, 1.0f, bucket.result));
    EXPECT_EQ(bucket.result.message_norm2, 25);
    EXPECT_EQ(bucket.result.residual_norm2, 9);
    return absl::OkStatus();
  });
}

TEST(Strategies, EmptyTensor_TakesPart) {
  for (const char* spec : {"dense", "topk(ratio=0.5)+ef+gather", "sign+ef+scatter", "quantize(bits=4)+ef+scatter"}) {
    OnRanks(3, [&](Communicator& comm) -> absl::Status {
      RankBucket bucket({Shape::Flat(0), Shape::Flat(5)}, comm);
      LACONIC_RETURN_IF_ERROR(bucket.Make(spec, comm));
      bucket.FillGradients(0);
      LACONIC_RETURN_IF_ERROR(bucket.strategy->Run(comm, bucket.slots, {}, 1.0f, bucket.result));
      bucket.strategy->Commit(bucket.slots);
      return absl::OkStatus();
    });
  }
}

TEST(Strategies, EntropyStage_LeavesDirectionsAsTheyAreAndStaysWhereItPays) {
  OnRanks(3, [](Communicator& comm) -> absl::Status {
    const std::vector<Shape> shapes = {Shape({40, 30}), Shape::Flat(700)};
    const auto run = [&](RankBucket& bucket, std::string_view spec, StrategyOptions options) -> absl::Status {
      LACONIC_RETURN_IF_ERROR(bucket.Make(spec, comm, options));
      bucket.FillGradients(0);
      LACONIC_RETURN_IF_ERROR(bucket.strategy->Run(comm, bucket.slots, {}, 1.0f, bucket.result));
      bucket.strategy->Commit(bucket.slots);
      return absl::OkStatus();
    };
    const auto fast = [] { return StrategyOptions{.link = {.bits_per_second = 400e9}, .link_known = true}; };
    for (const std::string strategy : {"gather", "scatter", "hierarchical(local=1)"}) {
      RankBucket plain(shapes, comm), unknown(shapes, comm), known(shapes, comm);
      LACONIC_RETURN_IF_ERROR(run(plain, "cast(to=bf16)+ef+" + strategy, {}));
      LACONIC_RETURN_IF_ERROR(run(unknown, "cast(to=bf16)+entropy+ef+" + strategy, {}));
      LACONIC_RETURN_IF_ERROR(run(known, "cast(to=bf16)+entropy+ef+" + strategy, fast()));
      EXPECT_EQ(unknown.slots[0].codec->id(), CodecId::kEntropy) << strategy;
      EXPECT_EQ(known.slots[0].codec->id(), CodecId::kCast) << strategy;
      EXPECT_EQ(unknown.directions, plain.directions) << strategy;
      EXPECT_EQ(known.directions, plain.directions) << strategy;
    }
    return absl::OkStatus();
  });
}

TEST(ForEachTensor, LargeOnes_AreSharedAmongTheThreads_TheOthersSideBySide) {
  WorkerPool pool(2);
  const size_t elements[] = {5, size_t{1} << 20, 7, 3 << 20};
  std::vector<int> pieces(4);
  ForEachTensor(
      &pool, 4, [&](size_t i) { return elements[i]; },
      [&](size_t i) {
        std::atomic<int> count = 0;
        ParallelFor(8, 1, [&](size_t, size_t) { ++count; });
        pieces[i] = count;
      });
  EXPECT_EQ(pieces, (std::vector<int>{1, 8, 1, 8}));
}

// ---- What owners send ----

// Rank 0 owns all and sends the largest of the direction H + mean(s) + E. Two ranks, EF21, everything sent up.
TEST(Scatter, OwnerOfDirections_SendsTheLargestOfAverageAndMeanAndError) {
  OnRanks(2, [](Communicator& comm) -> absl::Status {
    RankBucket bucket({Shape::Flat(3)}, comm);
    LACONIC_RETURN_IF_ERROR(bucket.Make("topk(k=3)+ef21+scatter(owners=1, down=topk(k=1), reply=direction)", comm));
    const auto step = [&](uint64_t t) -> absl::Status {
      const std::vector<float> own = comm.rank() == 0 ? std::vector<float>{8, 2, 0} : std::vector<float>{0, 2, -6};
      std::copy(own.begin(), own.end(), bucket.gradients.begin());
      LACONIC_RETURN_IF_ERROR(bucket.strategy->Run(comm, bucket.slots, {.step = t}, 1.0f, bucket.result));
      bucket.strategy->Commit(bucket.slots);
      return absl::OkStatus();
    };
    LACONIC_RETURN_IF_ERROR(step(0));  // mean(s) = mean(g) = (4, 2, -3)
    EXPECT_THAT(bucket.directions, ::testing::ElementsAre(4, 0, 0));
    LACONIC_RETURN_IF_ERROR(step(1));  // mean(s) = 0, H = (4, 2, -3), E = (0, 2, -3)
    EXPECT_THAT(bucket.directions, ::testing::ElementsAre(0, 0, -6));
    LACONIC_RETURN_IF_ERROR(step(2));  // E = (4, 4, 0)
    EXPECT_THAT(bucket.directions, ::testing::ElementsAre(8, 0, 0));
    const GradientSlot& slot = bucket.slots[0];
    EXPECT_TRUE(slot.control.shift_average().empty());
    if (comm.rank() == 0) {
      EXPECT_THAT(slot.owner.momentum(), ::testing::ElementsAre(4, 2, -3));  // H
      EXPECT_THAT(slot.owner.error(), ::testing::ElementsAre(0, 6, -3));
    }
    return absl::OkStatus();
  });
}

TEST(Scatter, DownCodecThatIsNotContractiveBesideShifts_IsRefused) {
  const absl::Status status = RunInProcess(2, [&](std::unique_ptr<Transport> transport) {
    Communicator comm(std::move(transport), {.timeout = absl::Seconds(20)});
    return RankBucket(kShapes, comm).Make("topk(k=3)+ef21+scatter(down=randk(k=3, scale=unbiased))", comm);
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("randk"));
}

}  // namespace
}  // namespace laconic
