// Lower bounds on times are hard: the model says when a message may arrive. Upper bounds leave room for a busy machine.
#include "laconic/comm/transport/paced.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "laconic/comm/collectives/dense.h"
#include "laconic/comm/communicator.h"
#include "laconic/comm/transport/in_process.h"
#include "tests/comm/transport_checks.h"

namespace laconic {
namespace {

using testing::ExchangeSoon;
using ::testing::HasSubstr;
using testing::RunRanks;

constexpr LinkModel k100Mbit = {.bits_per_second = 100e6};

std::vector<std::unique_ptr<Transport>> MakeGroup(int ranks, const LinkModel& link) {
  auto ends = MakeInProcessGroup(ranks);
  for (auto& end : ends) end = MakePacedTransport(std::move(end), link);
  return ends;
}

// Runs body on all ranks, which must succeed; gives the time from start to the end of the last one.
absl::Duration TimeOf(const std::vector<std::unique_ptr<Transport>>& ends,
                      const std::function<absl::Status(Transport&)>& body) {
  const absl::Time start = absl::Now();
  for (const absl::Status& status : RunRanks(ends, body)) EXPECT_EQ(status, absl::OkStatus());
  return absl::Now() - start;
}

absl::Status Swap(Transport& t, size_t bytes) {
  const std::vector<std::byte> out(bytes);
  std::vector<std::byte> in(bytes);
  const Outgoing send{1 - t.rank(), out};
  const Incoming receive{1 - t.rank(), in};
  return ExchangeSoon(t, std::span(&send, 1), std::span(&receive, 1));
}

// 1.25 MB are 10 Mbit: 800 ms at 12.5 Mbit/s. The link is full-duplex, so both directions take no longer than one.
TEST(Paced, BothDirectionsAtOnce_TakeTheTimeOfOne) {
  const absl::Duration time =
      TimeOf(MakeGroup(2, {.bits_per_second = 12.5e6}), [](Transport& t) { return Swap(t, 1'250'000); });
  EXPECT_GE(time, absl::Milliseconds(800));
  EXPECT_LT(time, absl::Milliseconds(1500)) << "1600 ms would be half-duplex";
}

// Each message waits for half a round trip, whatever its length; ten in a row for ten halves.
TEST(Paced, EmptyMessages_TakeHalfARoundTripEach) {
  const absl::Duration time = TimeOf(MakeGroup(2, {.round_trip = absl::Milliseconds(8)}), [](Transport& t) {
    for (int i = 0; i < 10; ++i) {
      if (absl::Status status = Swap(t, 0); !status.ok()) return status;
    }
    return absl::OkStatus();
  });
  EXPECT_GE(time, absl::Milliseconds(40));
}

// Rank 0 sends 250 kB to each of 2 others: its egress is the bottleneck, 2 * 20 ms.
TEST(Paced, TwoMessagesFromOneRank_ShareItsEgress) {
  const absl::Duration time = TimeOf(MakeGroup(3, k100Mbit), [](Transport& t) {
    std::vector<std::byte> bytes(250'000);
    const std::vector<Outgoing> sends = {{1, bytes}, {2, bytes}};
    const Incoming receive{0, bytes};
    return t.rank() == 0 ? ExchangeSoon(t, sends, {}) : ExchangeSoon(t, {}, std::span(&receive, 1));
  });
  EXPECT_GE(time, absl::Milliseconds(40));
}

// Both others send 250 kB to rank 0 at once: they leave side by side and queue at its ingress, 2 * 20 ms.
TEST(Paced, TwoMessagesToOneRank_ShareItsIngress) {
  const absl::Duration time = TimeOf(MakeGroup(3, k100Mbit), [](Transport& t) {
    std::vector<std::byte> first(250'000), second(250'000);
    const std::vector<Incoming> receives = {{1, first}, {2, second}};
    const Outgoing send{0, first};
    return t.rank() == 0 ? ExchangeSoon(t, {}, receives) : ExchangeSoon(t, std::span(&send, 1), {});
  });
  EXPECT_GE(time, absl::Milliseconds(40));
}

// A duplicate is the same wire: two swaps of 20 ms at a time, one on each, take 40 ms.
TEST(Paced, Duplicate_SharesTheLink) {
  const auto ends = MakeGroup(2, k100Mbit);
  const auto duplicates = [&] {
    std::vector<std::unique_ptr<Transport>> made;
    for (const auto& end : ends) made.push_back(*end->Duplicate());
    return made;
  }();
  const absl::Duration time = TimeOf(ends, [&](Transport& t) {
    absl::Status on_duplicate;
    std::thread other([&] { on_duplicate = Swap(*duplicates[t.rank()], 250'000); });
    const absl::Status status = Swap(t, 250'000);
    other.join();
    return status.ok() ? on_duplicate : status;
  });
  EXPECT_GE(time, absl::Milliseconds(40));
}

// Four ranks, B = 256 KiB: 2 (3/4) B = 384 KiB through each link, 1.97 s at 1.6 Mbit/s. Above that come six wake-ups
// after a sleep and the copies and additions: 10 % leave 33 ms for each step on a busy machine.
TEST(Paced, RingAllreduce_TakesTheBandwidthOptimalTime) {
  const auto ends = MakeGroup(4, {.bits_per_second = 1.6e6});
  std::vector<std::unique_ptr<Communicator>> comms;
  for (const auto& end : ends) comms.push_back(std::make_unique<Communicator>(*end->Duplicate()));
  const double ideal = 2 * 0.75 * (256 << 10) * 8 / 1.6e6;
  const double time = absl::ToDoubleSeconds(TimeOf(ends, [&](Transport& t) {
    std::vector<float> values(64 << 10, 1.0f);
    return AllreduceSum(*comms[t.rank()], values, DenseAlgorithm::kRing);
  }));
  EXPECT_GE(time, ideal);
  EXPECT_LE(time, 1.1 * ideal);
}

// At the 1.6 Mbit/s of the test above it would take 6 s.
TEST(Paced, UnlimitedLink_DoesNotDelay) {
  EXPECT_LT(TimeOf(MakeGroup(2, {}), [](Transport& t) { return Swap(t, 1'250'000); }), absl::Seconds(1));
}

// 125 kB need 10 ms; the deadline is after 5 ms.
TEST(Paced, MessageStillOnTheWireAtTheDeadline_IsDeadlineExceeded) {
  const auto ends = MakeGroup(2, k100Mbit);
  const std::vector<absl::Status> results = RunRanks(ends, [](Transport& t) {
    std::vector<std::byte> bytes(125'000);
    const Outgoing send{1, bytes};
    const Incoming receive{0, bytes};
    if (t.rank() == 0) return ExchangeSoon(t, std::span(&send, 1), {});
    return t.Exchange({}, std::span(&receive, 1), {.deadline = absl::Now() + absl::Milliseconds(5)});
  });
  EXPECT_EQ(results[0], absl::OkStatus());
  EXPECT_EQ(results[1].code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(results[1].message()), HasSubstr("for rank 0"));
}

// The swap would take 1000 s.
TEST(Paced, Abort_EndsTheWaitForTheLink) {
  const auto ends = MakeGroup(2, {.bits_per_second = 8});
  absl::Status status;
  std::thread peer([&] { Swap(*ends[1], 1000).IgnoreError(); });
  std::thread own([&] { status = Swap(*ends[0], 1000); });
  ends[0]->Abort(absl::CancelledError("enough"));
  ends[1]->Abort(absl::CancelledError("enough"));
  own.join();
  peer.join();
  EXPECT_FALSE(status.ok());
}

TEST(LinkModel, Parse_KnowsUnitsAndRoundTrip) {
  EXPECT_EQ(LinkModel::Parse("100Mbit")->bits_per_second, 100e6);
  EXPECT_EQ(LinkModel::Parse("2.5Gbit")->bits_per_second, 2.5e9);
  EXPECT_EQ(LinkModel::Parse("64kbit")->bits_per_second, 64e3);
  EXPECT_EQ(LinkModel::Parse("1Gbit,rtt=1ms")->round_trip, absl::Milliseconds(1));
  EXPECT_EQ(LinkModel::Parse("10Gbit,rtt=50us")->round_trip, absl::Microseconds(50));
  EXPECT_EQ(LinkModel::Parse("unlimited,rtt=2ms")->bits_per_second, 0);
}

TEST(LinkModel, ToString_ParsesBack) {
  for (const char* text : {"100Mbit", "1Gbit,rtt=1ms", "2.5Gbit", "64kbit,rtt=50us", "unlimited", "unlimited,rtt=3s"}) {
    EXPECT_EQ(LinkModel::Parse(text)->ToString(), text);
  }
}

TEST(LinkModel, Parse_NamesTheBadPart) {
  const auto error = [](const char* text) { return std::string(LinkModel::Parse(text).status().message()); };
  EXPECT_EQ(error("100Mb"), "link \"100Mb\": \"100Mb\" has no unit; accepted are kbit, Mbit and Gbit");
  EXPECT_EQ(error("100"), "link \"100\": \"100\" has no unit; accepted are kbit, Mbit and Gbit");
  EXPECT_EQ(error("fast"), "link \"fast\": \"fast\" is not a positive rate such as 100Mbit");
  EXPECT_EQ(error(""), "link \"\": \"\" is not a positive rate such as 100Mbit");
  EXPECT_EQ(error("-1Mbit"), "link \"-1Mbit\": \"-1Mbit\" is not a positive rate such as 100Mbit");
  EXPECT_EQ(error("1Gbit,loss=1"), "link \"1Gbit,loss=1\": \"loss=1\" is not known; accepted is rtt=, as in rtt=1ms");
  EXPECT_EQ(error("1Gbit,rtt=5"), "link \"1Gbit,rtt=5\": \"rtt=5\" is not a time such as rtt=1ms or rtt=50us");
  EXPECT_EQ(error("1Gbit,rtt=-1ms"), "link \"1Gbit,rtt=-1ms\": \"rtt=-1ms\" is not a time such as rtt=1ms or rtt=50us");
  EXPECT_EQ(error("1Gbit,"), "link \"1Gbit,\": \"\" is not known; accepted is rtt=, as in rtt=1ms");
}

}  // namespace
}  // namespace laconic
