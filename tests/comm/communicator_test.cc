#include "laconic/comm/communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <thread>

#include "laconic/base/status.h"
#include "laconic/comm/collectives/primitives.h"
#include "laconic/comm/transport/in_process.h"

namespace laconic {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

std::vector<std::unique_ptr<Communicator>> MakeGroup(int ranks, const CommunicatorOptions& options = {}) {
  std::vector<std::unique_ptr<Communicator>> group;
  for (auto& end : MakeInProcessGroup(ranks)) group.push_back(std::make_unique<Communicator>(std::move(end), options));
  return group;
}

absl::Status ReceiveByte(Communicator& comm, int from) {
  std::byte byte;
  const Incoming receive{from, std::span(&byte, 1)};
  return comm.Exchange({}, std::span(&receive, 1));
}

TEST(Communicator, Timeout_NamesRankStepTensorPhaseElapsedLimitAndPeer) {
  const auto group = MakeGroup(2, {.timeout = absl::Milliseconds(20)});
  group[1]->SetPhase({.name = "gather bodies", .step = 12, .tensor = "fc1.weight"});
  const absl::Status status = ReceiveByte(*group[1], 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()),
              ::testing::MatchesRegex("rank 1, step 12, tensor fc1.weight, gather bodies: "
                                      "waited 0\\.0[0-9]+ s \\(limit 0\\.02 s\\) for rank 0"));
}

TEST(Communicator, ErrorWithoutTensor_NamesStepAndPhase) {
  const auto group = MakeGroup(2);
  group[0]->SetPhase({.name = "barrier", .step = 3});
  EXPECT_EQ(std::string(ReceiveByte(*group[0], 9).message()),
            "rank 0, step 3, barrier: cannot receive from rank 9: the group has ranks 0 to 1");
}

TEST(Communicator, ErrorOutsideOfAnyPhase_NamesTheRank) {
  const auto group = MakeGroup(2);
  EXPECT_THAT(std::string(ReceiveByte(*group[0], 9).message()), StartsWith("rank 0: cannot receive"));
}

TEST(Communicator, FirstError_PoisonsForGood) {
  const auto group = MakeGroup(2, {.timeout = absl::Milliseconds(5)});
  EXPECT_TRUE(group[0]->status().ok());
  const absl::Status first = ReceiveByte(*group[0], 1);
  group[0]->SetPhase({.name = "later"});
  EXPECT_EQ(group[0]->status(), first);
  EXPECT_EQ(ReceiveByte(*group[0], 1), first);
  EXPECT_EQ(group[0]->Exchange({}, {}), first);
  EXPECT_EQ(group[0]->Duplicate().status(), first);
  EXPECT_EQ(group[0]->Split(0, 0).status(), first);
}

TEST(Communicator, Abort_PoisonsAndWakesThePeer) {
  const auto group = MakeGroup(2);
  absl::Status peer;
  std::thread waiting([&] { peer = ReceiveByte(*group[1], 0); });
  group[0]->Abort(absl::InternalError("a bad gradient"));
  waiting.join();
  EXPECT_EQ(group[0]->status(), absl::InternalError("a bad gradient"));
  EXPECT_EQ(peer, absl::UnavailableError("rank 1: rank 0 aborted: a bad gradient"));
}

TEST(Communicator, AbortWithoutAReason_StillPoisons) {
  const auto group = MakeGroup(2);
  group[0]->Abort(absl::OkStatus());
  EXPECT_EQ(group[0]->status().code(), absl::StatusCode::kAborted);
}

TEST(Communicator, Traffic_CountsBytesAndMessagesOfBothDirections) {
  std::vector<Traffic> traffic(2);
  EXPECT_EQ(RunInProcess(2,
                         [&](std::unique_ptr<Transport> transport) {
                           Communicator comm(std::move(transport));
                           std::vector<std::byte> ten(10), four(4);
                           const int peer = 1 - comm.rank();
                           // Rank 0 sends 10 bytes and an empty message, rank 1 sends 4 bytes.
                           ExchangeBatch& batch = comm.NewBatch();
                           if (comm.rank() == 0) {
                             batch.sends = {{peer, ten}, {peer, {}}};
                             batch.receives = {{peer, four}};
                           } else {
                             batch.sends = {{peer, four}};
                             batch.receives = {{peer, ten}, {peer, {}}};
                           }
                           LACONIC_RETURN_IF_ERROR(comm.Exchange(batch));
                           LACONIC_RETURN_IF_ERROR(comm.Exchange({}, {}));
                           traffic[comm.rank()] = comm.traffic();
                           return absl::OkStatus();
                         }),
            absl::OkStatus());
  EXPECT_EQ(traffic[0].bytes_sent, 10u);
  EXPECT_EQ(traffic[0].bytes_received, 4u);
  EXPECT_EQ(traffic[0].messages_sent, 2u);
  EXPECT_EQ(traffic[0].exchanges, 2u);
  EXPECT_EQ(traffic[1].bytes_sent, 4u);
  EXPECT_EQ(traffic[1].bytes_received, 10u);
  EXPECT_EQ(traffic[1].messages_sent, 1u);
  EXPECT_GT(traffic[0].waiting, absl::ZeroDuration());
}

TEST(Communicator, Duplicate_HasTheSameRanksAndOptionsAndTrafficOfItsOwn) {
  EXPECT_EQ(RunInProcess(3,
                         [](std::unique_ptr<Transport> transport) -> absl::Status {
                           Communicator comm(std::move(transport), {.timeout = absl::Seconds(7)});
                           LACONIC_ASSIGN_OR_RETURN(const std::unique_ptr<Communicator> copy, comm.Duplicate());
                           if (copy->rank() != comm.rank() || copy->size() != 3) return absl::InternalError("ranks");
                           if (copy->timeout() != absl::Seconds(7)) return absl::InternalError("options");
                           if (copy->traffic().exchanges != 0) return absl::InternalError("traffic");
                           return Barrier(*copy);
                         }),
            absl::OkStatus());
}

TEST(Communicator, DuplicateWithoutAPeer_EndsAtTheDeadline) {
  const auto group = MakeGroup(2, {.timeout = absl::Milliseconds(20)});
  EXPECT_EQ(group[0]->Duplicate().status().code(), absl::StatusCode::kDeadlineExceeded);
}

// Six ranks: color 0 = {0, 2, 4} with keys that turn the order round, color 1 = {1, 3}, rank 5 stays out.
TEST(Communicator, Split_OrdersEachColorByKeyThenRank) {
  std::vector<int> new_ranks(6, -1), sizes(6, 0), first_members(6, -1);
  EXPECT_EQ(RunInProcess(6,
                         [&](std::unique_ptr<Transport> transport) -> absl::Status {
                           Communicator comm(std::move(transport));
                           const int rank = comm.rank();
                           const int color = rank == 5 ? -1 : rank % 2;
                           const int key = color == 0 ? -rank : 7;
                           LACONIC_ASSIGN_OR_RETURN(const std::unique_ptr<Communicator> part, comm.Split(color, key));
                           if (part == nullptr) return absl::OkStatus();
                           new_ranks[rank] = part->rank();
                           sizes[rank] = part->size();
                           std::byte first{static_cast<unsigned char>(rank)};
                           LACONIC_RETURN_IF_ERROR(Broadcast(*part, 0, std::span(&first, 1)));
                           first_members[rank] = static_cast<int>(first);
                           return absl::OkStatus();
                         }),
            absl::OkStatus());
  EXPECT_THAT(new_ranks, ElementsAre(2, 0, 1, 1, 0, -1));
  EXPECT_THAT(sizes, ElementsAre(3, 2, 3, 2, 3, 0));
  EXPECT_THAT(first_members, ElementsAre(4, 1, 4, 1, 4, -1));
}

TEST(Communicator, SplitOfASplit_CanBeDuplicated) {
  EXPECT_EQ(RunInProcess(8,
                         [](std::unique_ptr<Transport> transport) -> absl::Status {
                           Communicator comm(std::move(transport));
                           LACONIC_ASSIGN_OR_RETURN(const auto half, comm.Split(comm.rank() / 4, 0));
                           LACONIC_ASSIGN_OR_RETURN(const auto pair, half->Split(half->rank() / 2, 0));
                           LACONIC_ASSIGN_OR_RETURN(const auto copy, pair->Duplicate());
                           if (copy->size() != 2) return absl::InternalError("size");
                           return Barrier(*copy);
                         }),
            absl::OkStatus());
}

TEST(Communicator, Workspace_IsAlignedLargeEnoughAndReused) {
  const auto group = MakeGroup(1);
  for (const size_t bytes : {1, 1000, 64, 100'000}) {
    const std::span<std::byte> space = group[0]->Workspace(bytes);
    EXPECT_EQ(space.size(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(space.data()) % 64, 0u);
  }
  EXPECT_EQ(group[0]->Workspace(10).data(), group[0]->Workspace(100'000).data());
}

}  // namespace
}  // namespace laconic
