#include "laconic/comm/collectives/primitives.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "laconic/base/status.h"
#include "laconic/comm/transport/in_process.h"

namespace laconic {
namespace {

constexpr int kRankCounts[] = {1, 2, 3, 4, 5, 8};

std::vector<std::byte> Filled(size_t length, int value) { return {length, static_cast<std::byte>(value)}; }

// Runs body(communicator) on `ranks` threads.
absl::Status OnRanks(int ranks, const std::function<absl::Status(Communicator&)>& body) {
  return RunInProcess(ranks, [&](std::unique_ptr<Transport> transport) {
    Communicator comm(std::move(transport));
    return body(comm);
  });
}

absl::Status Require(bool condition, const char* what) {
  return condition ? absl::OkStatus() : absl::InternalError(what);
}

class Primitives : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Ranks, Primitives, ::testing::ValuesIn(kRankCounts));

TEST_P(Primitives, Allgather_GivesAllPartsInRankOrder) {
  const int n = GetParam();
  EXPECT_EQ(OnRanks(n,
                    [&](Communicator& comm) {
                      std::vector<std::byte> all(3 * n), expected;
                      for (int rank = 0; rank < n; ++rank) expected.insert(expected.end(), 3, std::byte(rank + 1));
                      LACONIC_RETURN_IF_ERROR(Allgather(comm, Filled(3, comm.rank() + 1), all));
                      LACONIC_RETURN_IF_ERROR(Require(comm.traffic().bytes_sent == 3u * (n - 1), "(n-1) B bytes"));
                      LACONIC_RETURN_IF_ERROR(Require(comm.traffic().exchanges == 1, "one Exchange"));
                      return Require(all == expected, "parts");
                    }),
            absl::OkStatus());
}

TEST_P(Primitives, Allgather_OwnPartAlreadyInPlace_Works) {
  const int n = GetParam();
  EXPECT_EQ(OnRanks(n,
                    [&](Communicator& comm) {
                      std::vector<std::byte> all(n);
                      all[comm.rank()] = std::byte(comm.rank());
                      LACONIC_RETURN_IF_ERROR(Allgather(comm, std::span(all).subspan(comm.rank(), 1), all));
                      for (int rank = 0; rank < n; ++rank) {
                        LACONIC_RETURN_IF_ERROR(Require(all[rank] == std::byte(rank), "part"));
                      }
                      return absl::OkStatus();
                    }),
            absl::OkStatus());
}

// Rank r's part has r bytes, so rank 0's is empty.
TEST_P(Primitives, Allgatherv_GivesPartsOfUnequalLength) {
  const int n = GetParam();
  EXPECT_EQ(OnRanks(n,
                    [&](Communicator& comm) {
                      std::vector<std::vector<std::byte>> storage;
                      for (int rank = 0; rank < n; ++rank) storage.push_back(Filled(rank, 0));
                      storage[comm.rank()] = Filled(comm.rank(), comm.rank());
                      std::vector<std::span<std::byte>> parts(storage.begin(), storage.end());
                      LACONIC_RETURN_IF_ERROR(Allgatherv(comm, parts));
                      for (int rank = 0; rank < n; ++rank) {
                        LACONIC_RETURN_IF_ERROR(Require(storage[rank] == Filled(rank, rank), "part"));
                      }
                      return absl::OkStatus();
                    }),
            absl::OkStatus());
}

// Rank i sends i + 2 j bytes of value 10 i + j to rank j.
TEST_P(Primitives, Alltoallv_DeliversEachPartToItsRank) {
  const int n = GetParam();
  EXPECT_EQ(OnRanks(n,
                    [&](Communicator& comm) {
                      const auto part = [](int i, int j) { return Filled(i + 2 * j, 10 * i + j); };
                      std::vector<std::vector<std::byte>> out, in;
                      for (int rank = 0; rank < n; ++rank) {
                        out.push_back(part(comm.rank(), rank));
                        in.push_back(Filled(part(rank, comm.rank()).size(), 255));
                      }
                      const std::vector<std::span<const std::byte>> outgoing(out.begin(), out.end());
                      const std::vector<std::span<std::byte>> incoming(in.begin(), in.end());
                      LACONIC_RETURN_IF_ERROR(Alltoallv(comm, outgoing, incoming));
                      for (int rank = 0; rank < n; ++rank) {
                        LACONIC_RETURN_IF_ERROR(Require(in[rank] == part(rank, comm.rank()), "part"));
                      }
                      return absl::OkStatus();
                    }),
            absl::OkStatus());
}

TEST_P(Primitives, Broadcast_FromEveryRoot_ReachesAll) {
  const int n = GetParam();
  EXPECT_EQ(OnRanks(n,
                    [&](Communicator& comm) {
                      for (int root = 0; root < n; ++root) {
                        std::vector<std::byte> bytes = Filled(5, comm.rank() == root ? 100 + root : 0);
                        LACONIC_RETURN_IF_ERROR(Broadcast(comm, root, bytes));
                        LACONIC_RETURN_IF_ERROR(Require(bytes == Filled(5, 100 + root), "bytes"));
                      }
                      return absl::OkStatus();
                    }),
            absl::OkStatus());
}

// No rank may leave the barrier before all have come: each counts itself in before and looks at the count after.
TEST_P(Primitives, Barrier_NobodyLeavesBeforeAllHaveCome) {
  const int n = GetParam();
  std::atomic<int> arrived = 0;
  EXPECT_EQ(OnRanks(n,
                    [&](Communicator& comm) {
                      for (int round = 1; round <= 20; ++round) {
                        ++arrived;
                        LACONIC_RETURN_IF_ERROR(Barrier(comm));
                        LACONIC_RETURN_IF_ERROR(Require(arrived >= round * n, "a rank left early"));
                      }
                      return Require(comm.traffic().bytes_sent == 0, "barriers send no bytes");
                    }),
            absl::OkStatus());
}

TEST(Primitives, Broadcast_EightRanks_TakesThreeExchangesAndSevenMessages) {
  std::atomic<uint64_t> messages = 0;
  EXPECT_EQ(OnRanks(8,
                    [&](Communicator& comm) {
                      std::vector<std::byte> bytes(1);
                      LACONIC_RETURN_IF_ERROR(Broadcast(comm, 3, bytes));
                      messages += comm.traffic().messages_sent;
                      return Require(comm.traffic().exchanges == 3, "exchanges");
                    }),
            absl::OkStatus());
  EXPECT_EQ(messages, 7u);
}

TEST(Primitives, WrongCounts_AreInvalidArgument) {
  auto ends = MakeInProcessGroup(2);
  Communicator comm(std::move(ends[0]));
  std::vector<std::byte> bytes(4);
  const std::vector<std::span<std::byte>> one_part = {bytes};
  const std::vector<std::span<const std::byte>> unequal_own = {std::span(bytes).first(1), bytes};
  const std::vector<std::span<std::byte>> two_parts = {bytes, bytes};

  EXPECT_EQ(Allgather(comm, bytes, bytes),
            absl::InvalidArgumentError("allgather: 4 bytes cannot hold 2 parts of 4 bytes"));
  EXPECT_EQ(Allgatherv(comm, one_part), absl::InvalidArgumentError("allgatherv: 1 parts for 2 ranks"));
  EXPECT_EQ(Alltoallv(comm, unequal_own, two_parts),
            absl::InvalidArgumentError("alltoallv: the own part has 1 bytes going out and 4 coming in"));
  EXPECT_EQ(Broadcast(comm, 2, bytes), absl::InvalidArgumentError("broadcast: root 2 is not one of 2 ranks"));
  EXPECT_TRUE(comm.status().ok()) << "nothing was sent, so nothing is poisoned";
}

}  // namespace
}  // namespace laconic
