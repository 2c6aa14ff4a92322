#include "laconic/comm/collectives/dense.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "laconic/base/status.h"
#include "laconic/comm/transport/faulty.h"
#include "laconic/comm/transport/in_process.h"

namespace laconic {
namespace {

using Vectors = std::vector<std::vector<float>>;  // one for each rank

using Allreduce = absl::Status (*)(Communicator&, std::span<float>, DenseAlgorithm);

enum class Way { kMemory, kMessages };

// What each rank ends with. Traffic of each rank goes to `traffic` if given.
Vectors Reduce(Vectors inputs, DenseAlgorithm algorithm, Allreduce allreduce = AllreduceSum, Way way = Way::kMemory,
               std::vector<Traffic>* traffic = nullptr) {
  if (traffic != nullptr) traffic->resize(inputs.size());
  const absl::Status status = RunInProcess(static_cast<int>(inputs.size()), [&](std::unique_ptr<Transport> transport) {
    if (way == Way::kMessages) transport = MakeFaultyTransport(std::move(transport), {});  // decorated: no way around
    Communicator comm(std::move(transport));
    if (comm.shares_memory() != (way == Way::kMemory)) return absl::InternalError("not the way that was asked for");
    LACONIC_RETURN_IF_ERROR(allreduce(comm, inputs[comm.rank()], algorithm));
    if (traffic != nullptr) (*traffic)[comm.rank()] = comm.traffic();
    return absl::OkStatus();
  });
  EXPECT_EQ(status, absl::OkStatus());
  return inputs;
}

// Values of very different sizes, so that another order of additions gives other bits.
Vectors RoughInputs(int ranks, size_t length) {
  Vectors inputs(ranks, std::vector<float>(length));
  for (int rank = 0; rank < ranks; ++rank) {
    for (size_t i = 0; i < length; ++i) {
      inputs[rank][i] = std::ldexp(static_cast<float>((i * 37 + rank * 101) % 1009) - 500.0f, (i + 3 * rank) % 23);
    }
  }
  return inputs;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

struct Case {
  DenseAlgorithm algorithm;
  int ranks;
  Way way;
};
std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (const auto algorithm : {DenseAlgorithm::kAuto, DenseAlgorithm::kRing, DenseAlgorithm::kHalvingDoubling}) {
    for (const int ranks : {1, 2, 3, 4, 5, 6, 7, 8, 12}) {
      for (const Way way : {Way::kMemory, Way::kMessages}) cases.push_back({algorithm, ranks, way});
    }
  }
  return cases;
}
std::string CaseName(const ::testing::TestParamInfo<Case>& info) {
  constexpr const char* kNames[] = {"Auto", "Ring", "HalvingDoubling"};
  return std::string(kNames[static_cast<int>(info.param.algorithm)]) + "_" + std::to_string(info.param.ranks) +
         "Ranks" + (info.param.way == Way::kMessages ? "_ByMessages" : "");
}

class Dense : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(All, Dense, ::testing::ValuesIn(AllCases()), CaseName);

// Integers below 2^24 add up exactly in any order. Lengths around cache lines, ranks and ring segments.
TEST_P(Dense, SumOfIntegers_IsExact) {
  const auto [algorithm, ranks, way] = GetParam();
  for (const size_t length : {size_t{0}, size_t{1}, size_t{5}, size_t{16}, size_t{17}, size_t{1000}, size_t{600'001}}) {
    Vectors inputs(ranks, std::vector<float>(length));
    std::vector<float> expected(length);
    for (int rank = 0; rank < ranks; ++rank) {
      for (size_t i = 0; i < length; ++i) {
        inputs[rank][i] = static_cast<float>((i + 7 * rank) % 1000);
        expected[i] += inputs[rank][i];
      }
    }
    const Vectors sums = Reduce(inputs, algorithm, AllreduceSum, way);
    for (int rank = 0; rank < ranks; ++rank) ASSERT_EQ(sums[rank], expected) << length << " elements, rank " << rank;
  }
}

TEST_P(Dense, AllRanks_EndWithEqualBits) {
  const auto [algorithm, ranks, way] = GetParam();
  const Vectors sums = Reduce(RoughInputs(ranks, 10'007), algorithm, AllreduceSum, way);
  for (int rank = 1; rank < ranks; ++rank) EXPECT_TRUE(SameBits(sums[rank], sums[0])) << "rank " << rank;
}

TEST_P(Dense, TwoRuns_GiveEqualBits) {
  const auto [algorithm, ranks, way] = GetParam();
  EXPECT_TRUE(SameBits(Reduce(RoughInputs(ranks, 10'007), algorithm, AllreduceSum, way)[0],
                       Reduce(RoughInputs(ranks, 10'007), algorithm, AllreduceSum, way)[0]));
}

// The mean is defined as sum * (1/n), so it can be compared bit for bit.
TEST_P(Dense, Mean_IsTheSumTimesOneOverRanks) {
  const auto [algorithm, ranks, way] = GetParam();
  std::vector<float> expected = Reduce(RoughInputs(ranks, 1000), algorithm, AllreduceSum, way)[0];
  for (float& value : expected) value *= 1.0f / static_cast<float>(ranks);
  for (const std::vector<float>& mean : Reduce(RoughInputs(ranks, 1000), algorithm, AllreduceMean, way)) {
    EXPECT_TRUE(SameBits(mean, expected));
  }
}

TEST_P(Dense, NotANumberOnOneRank_ReachesAll) {
  const auto [algorithm, ranks, way] = GetParam();
  Vectors inputs(ranks, std::vector<float>(100, 1.0f));
  inputs[ranks - 1][42] = std::numeric_limits<float>::quiet_NaN();
  for (const std::vector<float>& sums : Reduce(inputs, algorithm, AllreduceSum, way)) {
    EXPECT_TRUE(std::isnan(sums[42]));
    EXPECT_EQ(sums[41], static_cast<float>(ranks));
  }
}

// The header's orders of additions, on one element: with n ranks and one element only chunk 0 is not empty.
TEST(Dense, Ring_AddsFromRankOneAroundToRankZero) {
  // ((1e8 - 1e8) + 1) = 1 in this order; (1 + 1e8) - 1e8 = 0 in rank order, as 1 is lost below the rounding of 1e8.
  EXPECT_EQ(Reduce({{1.0f}, {1e8f}, {-1e8f}}, DenseAlgorithm::kRing)[2][0], 1.0f);
}

TEST(Dense, HalvingDoubling_AddsTheFarPairFirst) {
  // Ranks 0 and 2 pair first, then 1 and 3 joined: (1e8 + -1e8) + (1 + 1) = 2; in rank order the ones would be lost.
  EXPECT_EQ(Reduce({{1e8f}, {1.0f}, {-1e8f}, {1.0f}}, DenseAlgorithm::kHalvingDoubling)[3][0], 2.0f);
}

// 2 (n-1)/n B bytes in 2 (n-1) Exchanges; 64 floats on 4 ranks: 96 floats.
TEST(Dense, Ring_SendsTwoTimesThreeQuartersOfTheBytes) {
  std::vector<Traffic> traffic;
  Reduce(Vectors(4, std::vector<float>(64)), DenseAlgorithm::kRing, AllreduceSum, Way::kMessages, &traffic);
  for (const Traffic& rank : traffic) {
    EXPECT_EQ(rank.bytes_sent, 384u);
    EXPECT_EQ(rank.bytes_received, 384u);
    EXPECT_EQ(rank.exchanges, 6u);
  }
}

TEST(Dense, HalvingDoubling_SendsAsMuchInFewerExchanges) {
  std::vector<Traffic> traffic;
  Reduce(Vectors(4, std::vector<float>(64)), DenseAlgorithm::kHalvingDoubling, AllreduceSum, Way::kMessages, &traffic);
  for (const Traffic& rank : traffic) {
    EXPECT_EQ(rank.bytes_sent, 384u);
    EXPECT_EQ(rank.exchanges, 4u);
  }
}

// All elements are read at 3 other ranks and written to 3 other ranks, by whichever rank has time: a quarter for each.
TEST(Dense, SharedMemory_CountsTheBytesThatMoveInOneExchange) {
  std::vector<Traffic> traffic;
  Reduce(Vectors(4, std::vector<float>(64)), DenseAlgorithm::kAuto, AllreduceSum, Way::kMemory, &traffic);
  for (const Traffic& rank : traffic) {
    EXPECT_EQ(rank.bytes_sent, 384u);
    EXPECT_EQ(rank.bytes_received, 384u);
    EXPECT_EQ(rank.exchanges, 1u);
  }
}

// Lengths: one piece; pieces and blocks that end inside chunks; ring chunks of several pieces; several ring segments,
// the last chunks of which are empty.
TEST(Dense, SharedMemory_GivesTheBitsOfMessages) {
  for (const auto algorithm : {DenseAlgorithm::kRing, DenseAlgorithm::kHalvingDoubling}) {
    for (const int ranks : {2, 3, 4, 5, 8}) {
      for (const size_t length : {size_t{1}, size_t{70'001}, size_t{300'003}}) {
        const Vectors inputs = RoughInputs(ranks, length);
        const Vectors expected = Reduce(inputs, algorithm, AllreduceMean, Way::kMessages);
        ASSERT_TRUE(SameBits(Reduce(inputs, algorithm, AllreduceMean, Way::kMemory)[0], expected[0]))
            << length << " elements, " << ranks << " ranks, algorithm " << static_cast<int>(algorithm);
      }
    }
  }
  for (const int ranks : {2, 3}) {
    const Vectors inputs = RoughInputs(ranks, (17 << 18) + 19);
    const Vectors expected = Reduce(inputs, DenseAlgorithm::kRing, AllreduceSum, Way::kMessages);
    for (const std::vector<float>& sums : Reduce(inputs, DenseAlgorithm::kRing)) {
      ASSERT_TRUE(SameBits(sums, expected[0])) << ranks << " ranks";
    }
  }
}

// Ranks 1 and 3 of four, in reverse order, while the others add up something else.
TEST(Dense, SharedMemoryOfASubgroup_SumsItsMembersOnly) {
  const absl::Status status = RunInProcess(4, [](std::unique_ptr<Transport> transport) -> absl::Status {
    Communicator comm(std::move(transport));
    const int rank = comm.rank();
    LACONIC_ASSIGN_OR_RETURN(const std::unique_ptr<Communicator> part, comm.Split(rank % 2, -rank));
    if (!part->shares_memory()) return absl::InternalError("the subgroup has lost the memory of its group");
    std::vector<float> values(100, static_cast<float>(1 << rank));
    LACONIC_RETURN_IF_ERROR(AllreduceSum(*part, values));
    const float expected = rank % 2 == 0 ? 1 + 4 : 2 + 8;
    return values == std::vector<float>(100, expected) ? absl::OkStatus() : absl::InternalError("sum");
  });
  EXPECT_EQ(status, absl::OkStatus());
}

TEST(Dense, SharedMemoryAndASilentRank_IsNamedAtTheDeadlineWithThePhase) {
  auto ends = MakeInProcessGroup(2);
  Communicator comm(std::move(ends[0]), {.timeout = absl::Milliseconds(30)});
  comm.SetPhase({.name = "dense allreduce", .step = 7});
  std::vector<float> values(4);
  const absl::Status status = AllreduceSum(comm, values);
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("rank 0, step 7, dense allreduce: waited 0.03"));
  EXPECT_EQ(AllreduceSum(comm, values), status);
}

TEST(Dense, PoisonedCommunicator_GivesItsErrorEvenAlone) {
  auto ends = MakeInProcessGroup(1);
  Communicator comm(std::move(ends[0]));
  comm.Abort(absl::InternalError("over"));
  std::vector<float> values(4);
  EXPECT_EQ(AllreduceSum(comm, values), absl::InternalError("over"));
}

TEST(ShardOf, Shards_CoverTheRangeInAlignedSteps) {
  for (const size_t elements : {0, 1, 15, 16, 17, 64, 100, 1000}) {
    for (const int shards : {1, 2, 3, 7}) {
      for (const size_t alignment : {1, 4, 16}) {
        size_t end = 0;
        for (int i = 0; i < shards; ++i) {
          const ShardRange range = ShardOf(elements, shards, i, alignment);
          EXPECT_EQ(range.begin, end);
          EXPECT_GE(range.end, range.begin);
          EXPECT_TRUE(range.begin % alignment == 0 || range.begin == elements);
          end = range.end;
        }
        EXPECT_EQ(end, elements);
      }
    }
  }
}

TEST(ShardOf, TenElementsInThreeShardsOfFour_LeavesTwoForTheLast) {
  EXPECT_EQ(ShardOf(10, 3, 0, 4).end, 4u);
  EXPECT_EQ(ShardOf(10, 3, 1, 4).end, 8u);
  EXPECT_EQ(ShardOf(10, 3, 2, 4).size(), 2u);
}

}  // namespace
}  // namespace laconic
