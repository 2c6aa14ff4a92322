#include "laconic/comm/transport/faulty.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "laconic/base/status.h"
#include "laconic/comm/transport/in_process.h"
#include "tests/comm/transport_checks.h"

namespace laconic {
namespace {

using ::testing::ElementsAre;
using testing::ExchangeSoon;
using testing::RunRanks;

using Bytes = std::vector<std::byte>;

Bytes MakeBytes(std::initializer_list<int> values) {
  Bytes bytes;
  for (const int value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

// Rank 0 has the schedule.
std::vector<std::unique_ptr<Transport>> MakeGroup(int ranks, std::vector<Fault> schedule) {
  auto ends = MakeInProcessGroup(ranks);
  ends[0] = MakeFaultyTransport(std::move(ends[0]), std::move(schedule));
  return ends;
}

// Rank 0 sends `rounds` messages, one an Exchange, to rank 1. Gives what rank 1 received.
std::vector<Bytes> SendRounds(const std::vector<std::unique_ptr<Transport>>& ends, size_t rounds, const Bytes& message,
                              std::vector<absl::Status>* results) {
  std::vector<Bytes> received(rounds, Bytes(message.size()));
  *results = RunRanks(ends, [&](Transport& t) {
    for (size_t i = 0; i < rounds; ++i) {
      const Outgoing send{1, message};
      const Incoming receive{0, received[i]};
      LACONIC_RETURN_IF_ERROR(t.rank() == 0 ? ExchangeSoon(t, std::span(&send, 1), {})
                                            : ExchangeSoon(t, {}, std::span(&receive, 1)));
    }
    return absl::OkStatus();
  });
  return received;
}

TEST(Faulty, Flip_InvertsOneBitOfTheScheduledMessageAndLeavesTheSendersBytes) {
  const Bytes message = MakeBytes({0, 0, 0});
  std::vector<absl::Status> results;
  const auto received =
      SendRounds(MakeGroup(2, {{.kind = Fault::Kind::kFlip, .exchange = 1, .amount = 9}}), 3, message, &results);
  EXPECT_THAT(results, ElementsAre(absl::OkStatus(), absl::OkStatus()));
  EXPECT_EQ(received[0], message);
  EXPECT_EQ(received[1], MakeBytes({0, 2, 0})) << "bit 9 is bit 1 of byte 1";
  EXPECT_EQ(received[2], message);
  EXPECT_EQ(message, MakeBytes({0, 0, 0}));
}

TEST(Faulty, FlipPastTheEnd_WrapsAround) {
  std::vector<absl::Status> results;
  const auto received = SendRounds(MakeGroup(2, {{.kind = Fault::Kind::kFlip, .exchange = 0, .amount = 24 + 7}}), 1,
                                   MakeBytes({0, 0, 0}), &results);
  EXPECT_EQ(received[0], MakeBytes({128, 0, 0}));
}

TEST(Faulty, TwoFlipsOfOneMessage_BothStrike) {
  std::vector<absl::Status> results;
  const auto received = SendRounds(MakeGroup(2, {{.kind = Fault::Kind::kFlip, .exchange = 0, .amount = 0},
                                                 {.kind = Fault::Kind::kFlip, .exchange = 0, .amount = 8}}),
                                   1, MakeBytes({0, 0}), &results);
  EXPECT_EQ(received[0], MakeBytes({1, 1}));
}

TEST(Faulty, Truncate_IsDataLossAtTheReceiver) {
  std::vector<absl::Status> results;
  SendRounds(MakeGroup(2, {{.kind = Fault::Kind::kTruncate, .exchange = 0, .amount = 2}}), 1, MakeBytes({1, 2, 3}),
             &results);
  EXPECT_EQ(results[1], absl::DataLossError("the message from rank 0 has 1 bytes where this rank expects 3"));
}

TEST(Faulty, TruncateByMoreThanThereIs_LeavesAnEmptyMessage) {
  std::vector<absl::Status> results;
  SendRounds(MakeGroup(2, {{.kind = Fault::Kind::kTruncate, .exchange = 0, .amount = 99}}), 1, MakeBytes({1, 2, 3}),
             &results);
  EXPECT_EQ(results[1], absl::DataLossError("the message from rank 0 has 0 bytes where this rank expects 3"));
}

TEST(Faulty, Drop_IsSilenceForTheReceiverAndOkForTheSender) {
  const auto ends = MakeGroup(2, {{.kind = Fault::Kind::kDrop, .exchange = 0}});
  const std::vector<absl::Status> results = RunRanks(ends, [](Transport& t) {
    std::byte byte{};
    const Outgoing send{1, std::span(&byte, 1)};
    const Incoming receive{0, std::span(&byte, 1)};
    if (t.rank() == 0) return ExchangeSoon(t, std::span(&send, 1), {});
    return t.Exchange({}, std::span(&receive, 1), {.deadline = absl::Now() + absl::Milliseconds(20)});
  });
  EXPECT_EQ(results[0], absl::OkStatus());
  EXPECT_EQ(results[1].code(), absl::StatusCode::kDeadlineExceeded);
}

// Rank 0 sends to 1 and 2; only what goes to 2 is flipped.
TEST(Faulty, FaultToOneRank_SparesTheOthers) {
  const auto ends = MakeGroup(3, {{.kind = Fault::Kind::kFlip, .exchange = 0, .to = 2, .amount = 0}});
  std::array<std::byte, 3> received{};
  const std::byte zero{};
  RunRanks(ends, [&](Transport& t) {
    const std::vector<Outgoing> sends = {{1, std::span(&zero, 1)}, {2, std::span(&zero, 1)}};
    const Incoming receive{0, std::span(&received[t.rank()], 1)};
    return t.rank() == 0 ? ExchangeSoon(t, sends, {}) : ExchangeSoon(t, {}, std::span(&receive, 1));
  });
  EXPECT_THAT(received, ElementsAre(std::byte{0}, std::byte{0}, std::byte{1}));
}

// The delayed message to rank 1 holds up the one behind it, so both arrive in order and not before 30 ms; rank 2 does
// not wait.
TEST(Faulty, Delay_KeepsTheOrderAndHoldsUpNobodyElse) {
  const auto ends =
      MakeGroup(3, {{.kind = Fault::Kind::kDelay, .exchange = 0, .to = 1, .delay = absl::Milliseconds(30)}});
  const Bytes first = MakeBytes({1}), second = MakeBytes({2});
  Bytes got_first(1), got_second(1), got_elsewhere(1);
  std::array<absl::Duration, 3> took;
  const absl::Time start = absl::Now();
  const std::vector<absl::Status> results = RunRanks(ends, [&](Transport& t) {
    const std::vector<Outgoing> sends = {{1, first}, {1, second}, {2, first}};
    const std::vector<Incoming> two = {{0, got_first}, {0, got_second}};
    const std::vector<Incoming> one = {{0, got_elsewhere}};
    const absl::Status status = t.rank() == 0   ? ExchangeSoon(t, sends, {})
                                : t.rank() == 1 ? ExchangeSoon(t, {}, two)
                                                : ExchangeSoon(t, {}, one);
    took[t.rank()] = absl::Now() - start;
    return status;
  });
  EXPECT_THAT(results, ElementsAre(absl::OkStatus(), absl::OkStatus(), absl::OkStatus()));
  EXPECT_EQ(got_first, first);
  EXPECT_EQ(got_second, second);
  EXPECT_GE(took[1], absl::Milliseconds(30));
  EXPECT_LT(took[2], took[1]);
}

TEST(Faulty, Abort_EndsThisRankAndWakesThePeer) {
  std::vector<absl::Status> results;
  SendRounds(MakeGroup(2, {{.kind = Fault::Kind::kAbort, .exchange = 1}}), 3, MakeBytes({1}), &results);
  EXPECT_EQ(results[0], absl::AbortedError("fault of the schedule at exchange 1"));
  EXPECT_EQ(results[1], absl::UnavailableError("rank 0 aborted: fault of the schedule at exchange 1"));
}

// Exchange 0 is made on the original and Exchange 1 on the duplicate.
TEST(Faulty, Duplicate_GoesOnInTheSameSchedule) {
  const auto ends = MakeGroup(2, {{.kind = Fault::Kind::kFlip, .exchange = 1, .amount = 0}});
  std::vector<std::unique_ptr<Transport>> duplicates;
  for (const auto& end : ends) duplicates.push_back(*end->Duplicate());
  std::vector<absl::Status> results;
  EXPECT_EQ(SendRounds(ends, 1, MakeBytes({4}), &results)[0], MakeBytes({4}));
  EXPECT_EQ(SendRounds(duplicates, 1, MakeBytes({4}), &results)[0], MakeBytes({5}));
}

}  // namespace
}  // namespace laconic
