// What SharedMemory promises, on the transport that has it and on a subgroup of it.
#include "laconic/comm/transport/shared_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "laconic/comm/transport/faulty.h"
#include "laconic/comm/transport/in_process.h"
#include "laconic/comm/transport/paced.h"
#include "tests/comm/transport_checks.h"

namespace laconic {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::RunRanks;
using Ends = std::vector<std::unique_ptr<Transport>>;
using Spans = std::span<const std::span<std::byte>>;

constexpr auto kNoWork = [](size_t, Spans) {};

// A meeting of this rank with a deadline that only a hang reaches.
absl::Status MeetSoon(Transport& transport, std::span<std::byte> own, size_t pieces, SharedMemory::Work work,
                      absl::Duration limit = absl::Seconds(60)) {
  return transport.shared_memory()->Meet(own, pieces, work, {.deadline = absl::Now() + limit});
}

TEST(SharedMemory, Decorators_HaveNone) {
  EXPECT_NE(MakeInProcessGroup(1)[0]->shared_memory(), nullptr);
  EXPECT_EQ(MakePacedTransport(std::move(MakeInProcessGroup(1)[0]), {})->shared_memory(), nullptr);
  EXPECT_EQ(MakeFaultyTransport(std::move(MakeInProcessGroup(1)[0]), {})->shared_memory(), nullptr);
}

// 1000 pieces at 1, 2, 3 and 8 ranks, three meetings in a row: each piece once, with the spans in rank order.
TEST(SharedMemory, EachPiece_IsDoneOnceWithAllSpans) {
  for (const int ranks : {1, 2, 3, 8}) {
    std::vector<std::byte> lent(ranks);
    std::vector<std::atomic<int>> done(1000);
    std::atomic<int> wrong = 0;
    const Ends ends = MakeInProcessGroup(ranks);
    const std::vector<absl::Status> results = RunRanks(ends, [&](Transport& t) {
      for (int meeting = 1; meeting <= 3; ++meeting) {
        const absl::Status status = MeetSoon(t, std::span(&lent[t.rank()], 1), 1000, [&](size_t piece, Spans spans) {
          ++done[piece];
          for (int i = 0; i < ranks; ++i) wrong += spans[i].data() != &lent[i];
        });
        if (!status.ok()) return status;
        // Over means over for all: no piece of the next meeting can have begun, and none of this one is left.
        for (const std::atomic<int>& count : done) wrong += count < meeting;
      }
      return absl::OkStatus();
    });
    EXPECT_THAT(results, Each(absl::OkStatus())) << ranks << " ranks";
    EXPECT_THAT(done, Each(::testing::Eq(3))) << ranks << " ranks";
    EXPECT_EQ(wrong, 0) << ranks << " ranks";
  }
}

TEST(SharedMemory, MeetingWithoutPieces_WaitsForAllAndIsOver) {
  const Ends ends = MakeInProcessGroup(3);
  EXPECT_THAT(RunRanks(ends, [](Transport& t) { return MeetSoon(t, {}, 0, kNoWork); }), Each(absl::OkStatus()));
}

// Exchanges before and after a meeting keep their order, and what was sent before it is not disturbed.
TEST(SharedMemory, MeetingsAmongExchanges_KeepTheOrder) {
  const Ends ends = MakeInProcessGroup(2);
  std::vector<int> sums(2);
  const std::vector<absl::Status> results = RunRanks(ends, [&](Transport& t) {
    int value = 1 + t.rank();
    const int peer = 1 - t.rank();
    for (int round = 0; round < 100; ++round) {
      int got = 0;
      const Outgoing send{peer, std::as_bytes(std::span(&value, 1))};
      const Incoming receive{peer, std::as_writable_bytes(std::span(&got, 1))};
      if (const absl::Status s = testing::ExchangeSoon(t, std::span(&send, 1), std::span(&receive, 1)); !s.ok()) {
        return s;
      }
      int own = got;
      const absl::Status met = MeetSoon(t, std::as_writable_bytes(std::span(&own, 1)), 1, [&](size_t, Spans spans) {
        int* const a = reinterpret_cast<int*>(spans[0].data());
        int* const b = reinterpret_cast<int*>(spans[1].data());
        *a = *b = *a + *b;
      });
      if (!met.ok()) return met;
      sums[t.rank()] += own;
    }
    return absl::OkStatus();
  });
  EXPECT_THAT(results, Each(absl::OkStatus()));
  EXPECT_THAT(sums, ElementsAre(300, 300));
}

TEST(SharedMemory, SilentPeers_AreNamedAtTheDeadline) {
  const Ends ends = MakeInProcessGroup(4);
  std::thread other([&] { (void)MeetSoon(*ends[2], {}, 1, kNoWork); });
  const absl::Status status = MeetSoon(*ends[0], {}, 1, kNoWork, absl::Milliseconds(30));
  other.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), HasSubstr("(limit 0.03 s) for ranks 1, "));
  EXPECT_EQ(MeetSoon(*ends[0], {}, 1, kNoWork), status);
}

TEST(SharedMemory, Abort_WakesThoseWhoHaveComeWithItsReason) {
  const Ends ends = MakeInProcessGroup(4);
  const std::vector<absl::Status> results = RunRanks(ends, [](Transport& t) {
    if (t.rank() != 2) return MeetSoon(t, {}, 1, kNoWork);
    t.Abort(absl::InternalError("out of paper"));
    return absl::OkStatus();
  });
  for (const int rank : {0, 1, 3}) EXPECT_EQ(results[rank], absl::UnavailableError("rank 2 aborted: out of paper"));
}

TEST(SharedMemory, AbortFromAnotherThread_EndsTheOwnWait) {
  const Ends ends = MakeInProcessGroup(2);
  std::thread other([&] { ends[0]->Abort(absl::CancelledError("the user has gone home")); });
  EXPECT_EQ(MeetSoon(*ends[0], {}, 1, kNoWork), absl::CancelledError("the user has gone home"));
  other.join();
}

// Whoever is aborted while a meeting is under way returns only when no piece is under way: its memory is in use.
TEST(SharedMemory, AbortDuringTheWork_ReturnsItsErrorAfterTheLastPiece) {
  const Ends ends = MakeInProcessGroup(2);
  std::atomic<int> pieces = 0;
  std::vector<int> seen(2);
  const std::vector<absl::Status> results = RunRanks(ends, [&](Transport& t) {
    const absl::Status status = MeetSoon(t, {}, 50, [&](size_t, Spans) {
      if (++pieces == 1) ends[0]->Abort(absl::CancelledError("enough"));
    });
    seen[t.rank()] = pieces;
    return status;
  });
  EXPECT_EQ(results[0], absl::CancelledError("enough"));
  EXPECT_EQ(results[1], absl::OkStatus());
  EXPECT_THAT(seen, Each(50));
}

TEST(SharedMemory, PeerWhoLeaves_IsUnavailable) {
  Ends ends = MakeInProcessGroup(2);
  std::thread other([&] { ends[1].reset(); });
  EXPECT_EQ(MeetSoon(*ends[0], {}, 1, kNoWork), absl::UnavailableError("rank 1 has left the group"));
  other.join();
}

TEST(SharedMemory, UnequalLengths_AreDataLossOnBothEndsAndNothingIsDone) {
  const Ends ends = MakeInProcessGroup(2);
  std::atomic<int> pieces = 0;
  const std::vector<absl::Status> results = RunRanks(ends, [&](Transport& t) {
    std::byte bytes[6] = {};
    return MeetSoon(t, std::span(bytes).first(5 + t.rank()), 1, [&](size_t, Spans) { ++pieces; });
  });
  EXPECT_EQ(results[0], absl::DataLossError("rank 1 has lent 6 bytes where this rank has 5"));
  EXPECT_EQ(results[1], absl::DataLossError("rank 0 has lent 5 bytes where this rank has 6"));
  EXPECT_EQ(pieces, 0);
}

TEST(SharedMemory, Subgroup_MeetsWithoutTheOthers) {
  const Ends all = MakeInProcessGroup(4);
  const std::vector<int> members = {3, 1};
  Ends ends;
  for (const int member : members) ends.push_back(*all[member]->Subgroup(members));
  std::vector<std::byte> lent(2);
  const std::vector<absl::Status> results = RunRanks(ends, [&](Transport& t) {
    return MeetSoon(t, std::span(&lent[t.rank()], 1), 1, [](size_t, Spans spans) {
      for (size_t i = 0; i < spans.size(); ++i) spans[i][0] = static_cast<std::byte>(10 + i);
    });
  });
  EXPECT_THAT(results, Each(absl::OkStatus()));
  EXPECT_THAT(lent, ElementsAre(std::byte{10}, std::byte{11}));
}

}  // namespace
}  // namespace laconic
