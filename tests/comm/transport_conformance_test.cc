// One suite for every transport that ranks in threads can use. tests/comm/mpi_test.cc runs the same checks over MPI.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <thread>
#include <tuple>

#include "laconic/comm/transport/faulty.h"
#include "laconic/comm/transport/in_process.h"
#include "laconic/comm/transport/paced.h"
#include "tests/comm/transport_checks.h"

namespace laconic {
namespace {

using testing::ExchangeSoon;
using ::testing::HasSubstr;
using testing::RunRanks;
using Ends = std::vector<std::unique_ptr<Transport>>;

struct Kind {
  const char* name;
  Ends (*make)(int ranks);
};

Ends MakePaced(int ranks) {
  Ends ends = MakeInProcessGroup(ranks);
  for (auto& end : ends) end = MakePacedTransport(std::move(end), {.bits_per_second = 1e12});
  return ends;
}

Ends MakeFaultless(int ranks) {
  Ends ends = MakeInProcessGroup(ranks);
  for (auto& end : ends) end = MakeFaultyTransport(std::move(end), {});
  return ends;
}

// Every second rank of a group of twice the size, whose ends are gone by the time the subgroup is used.
Ends MakeSubgroup(int ranks) {
  const Ends all = MakeInProcessGroup(2 * ranks);
  std::vector<int> members;
  for (int i = 0; i < ranks; ++i) members.push_back(2 * i + 1);
  Ends ends;
  for (const int member : members) ends.push_back(*all[member]->Subgroup(members));
  return ends;
}

const Kind kInProcess = {"InProcess", MakeInProcessGroup};
const Kind kPaced = {"Paced", MakePaced};
const Kind kFaulty = {"FaultyWithoutFaults", MakeFaultless};
const Kind kSubgroup = {"Subgroup", MakeSubgroup};

// --- What works ---

class TransportConformance : public ::testing::TestWithParam<std::tuple<Kind, int, testing::TransportCheck>> {};

TEST_P(TransportConformance, Holds) {
  const auto& [kind, ranks, check] = GetParam();
  const Ends ends = kind.make(ranks);
  const std::vector<absl::Status> results = RunRanks(ends, check.run);
  for (int rank = 0; rank < ranks; ++rank) EXPECT_TRUE(results[rank].ok()) << "rank " << rank << ": " << results[rank];
}

std::string CheckName(const ::testing::TestParamInfo<TransportConformance::ParamType>& info) {
  const auto& [kind, ranks, check] = info.param;
  return std::string(kind.name) + "_" + std::to_string(ranks) + "Ranks_" + check.name;
}

INSTANTIATE_TEST_SUITE_P(Threads, TransportConformance,
                         ::testing::Combine(::testing::Values(kInProcess), ::testing::Values(1, 2, 3, 4, 8),
                                            ::testing::ValuesIn(testing::TransportChecks())),
                         CheckName);
INSTANTIATE_TEST_SUITE_P(Decorators, TransportConformance,
                         ::testing::Combine(::testing::Values(kPaced, kFaulty, kSubgroup), ::testing::Values(1, 2, 4),
                                            ::testing::ValuesIn(testing::TransportChecks())),
                         CheckName);

// --- What fails, and how ---

class TransportFailure : public ::testing::TestWithParam<Kind> {
 protected:
  // An Exchange of one short message to each of `to` and from each of `from`, with `limit` of time.
  static absl::Status Talk(Transport& t, std::vector<int> to, std::vector<int> from,
                           absl::Duration limit = absl::Seconds(60)) {
    static constexpr std::byte kToken[4] = {};
    std::vector<std::array<std::byte, 4>> buffers(from.size());
    std::vector<Outgoing> sends;
    std::vector<Incoming> receives;
    for (const int peer : to) sends.push_back({peer, kToken});
    for (size_t i = 0; i < from.size(); ++i) receives.push_back({from[i], buffers[i]});
    return t.Exchange(sends, receives, {.deadline = absl::Now() + limit});
  }
};

std::string KindName(const ::testing::TestParamInfo<Kind>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(All, TransportFailure, ::testing::Values(kInProcess, kPaced, kFaulty, kSubgroup), KindName);

TEST_P(TransportFailure, SilentPeers_AreNamedAtTheDeadline) {
  const Ends ends = GetParam().make(4);
  const absl::Time start = absl::Now();
  const absl::Status status = Talk(*ends[0], {}, {3, 1}, absl::Milliseconds(30));
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), HasSubstr("(limit 0.03 s) for ranks 1, 3"));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(30));
}

TEST_P(TransportFailure, ReceiverWhoNeverComes_IsNamedAtTheDeadline) {
  const Ends ends = GetParam().make(2);
  const absl::Status status = Talk(*ends[0], {1}, {}, absl::Milliseconds(30));
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), HasSubstr("for rank 1"));
}

TEST_P(TransportFailure, DeadlineInThePast_FailsAtOnceWhenAPeerIsMissing) {
  const Ends ends = GetParam().make(2);
  EXPECT_EQ(Talk(*ends[0], {}, {1}, absl::Seconds(-1)).code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_P(TransportFailure, FirstError_IsWhatEveryLaterExchangeGives) {
  const Ends ends = GetParam().make(2);
  const absl::Status first = Talk(*ends[0], {}, {1}, absl::Milliseconds(5));
  EXPECT_EQ(Talk(*ends[0], {}, {}), first);
  EXPECT_EQ(Talk(*ends[0], {1}, {1}), first);
  EXPECT_EQ(ends[0]->Duplicate().status(), first);
}

TEST_P(TransportFailure, PeerOutOfRange_IsInvalidArgument) {
  for (const int peer : {-1, 2}) {
    const Ends ends = GetParam().make(2);
    const absl::Status status = Talk(*ends[1], {peer}, {});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("the group has ranks 0 to 1"));
  }
}

TEST_P(TransportFailure, MessageToOneself_IsInvalidArgument) {
  const Ends ends = GetParam().make(2);
  EXPECT_EQ(Talk(*ends[1], {1}, {}).code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(TransportFailure, ReceiveFromOneself_IsInvalidArgument) {
  const Ends ends = GetParam().make(2);
  EXPECT_EQ(Talk(*ends[1], {}, {1}).code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(TransportFailure, Abort_WakesBlockedPeersWithItsReason) {
  const Ends ends = GetParam().make(4);
  const std::vector<absl::Status> results = RunRanks(ends, [](Transport& t) {
    if (t.rank() != 2) return Talk(t, {}, {2});
    t.Abort(absl::InternalError("out of paper"));
    return absl::OkStatus();
  });
  for (const int rank : {0, 1, 3}) {
    EXPECT_EQ(results[rank].code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(results[rank].message()), HasSubstr("rank 2 aborted: out of paper"));
  }
}

TEST_P(TransportFailure, AbortFromAnotherThread_WakesTheOwnExchange) {
  const Ends ends = GetParam().make(2);
  std::thread other([&] { ends[0]->Abort(absl::CancelledError("the user has gone home")); });
  const absl::Status status = Talk(*ends[0], {}, {1});
  other.join();
  EXPECT_EQ(status, absl::CancelledError("the user has gone home"));
}

TEST_P(TransportFailure, SecondAbort_ChangesNothing) {
  const Ends ends = GetParam().make(2);
  ends[0]->Abort(absl::InternalError("first"));
  ends[0]->Abort(absl::InternalError("second"));
  EXPECT_EQ(Talk(*ends[0], {}, {}), absl::InternalError("first"));
}

TEST_P(TransportFailure, ErrorOfOneRank_ReachesThoseWhoWaitForIt) {
  // 0 waits for 1, which waits for 2, which fails: 0 hears of the cause, not of the chain.
  const Ends ends = GetParam().make(3);
  const std::vector<absl::Status> results = RunRanks(ends, [](Transport& t) {
    if (t.rank() < 2) return Talk(t, {}, {t.rank() + 1});
    t.Abort(absl::InternalError("no memory"));
    return absl::OkStatus();
  });
  EXPECT_EQ(std::string(results[0].message()), "rank 2 aborted: no memory");
  EXPECT_EQ(results[1], results[0]);
}

TEST_P(TransportFailure, PeerWhoLeaves_IsUnavailable) {
  Ends ends = GetParam().make(2);
  std::thread other([&] { ends[1].reset(); });
  const absl::Status status = Talk(*ends[0], {}, {1});
  other.join();
  EXPECT_EQ(status, absl::UnavailableError("rank 1 has left the group"));
}

TEST_P(TransportFailure, WrongLength_IsDataLossOnBothEnds) {
  const Ends ends = GetParam().make(2);
  const std::vector<absl::Status> results = RunRanks(ends, [](Transport& t) {
    std::byte five[5] = {}, six[6] = {};
    const Outgoing send{1, five};
    const Incoming receive{0, six};
    return t.rank() == 0 ? ExchangeSoon(t, std::span(&send, 1), {}) : ExchangeSoon(t, {}, std::span(&receive, 1));
  });
  EXPECT_EQ(results[0], absl::DataLossError("the message to rank 1 has 5 bytes where it expects 6"));
  EXPECT_EQ(results[1], absl::DataLossError("the message from rank 0 has 5 bytes where this rank expects 6"));
}

}  // namespace
}  // namespace laconic
