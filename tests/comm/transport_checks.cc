#include "tests/comm/transport_checks.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <thread>

#include "laconic/base/status.h"

namespace laconic::testing {
namespace {

using Bytes = std::vector<std::byte>;

// Contents that tell who sent the message to whom, and which it was.
Bytes Message(int from, int to, size_t number, size_t length) {
  Bytes bytes(length);
  for (size_t i = 0; i < length; ++i) {
    bytes[i] = static_cast<std::byte>(
        (i * 7 + number * 13 + static_cast<size_t>(from) * 29 + static_cast<size_t>(to) * 31) % 251);
  }
  return bytes;
}

absl::Status ExpectMessage(const Bytes& got, int from, int to, size_t number) {
  if (got == Message(from, to, number, got.size())) return absl::OkStatus();
  return absl::InternalError(
      fmt::format("message {} from rank {} to {} ({} bytes) is not what was sent", number, from, to, got.size()));
}

int Next(const Transport& t) { return (t.rank() + 1) % t.size(); }
int Previous(const Transport& t) { return (t.rank() + t.size() - 1) % t.size(); }

absl::Status EmptyBatchReturnsAtOnce(Transport& t) { return ExchangeSoon(t, {}, {}); }

// Rank 0 sends six messages to each other rank in two batches of three; they take them in three batches of two.
absl::Status MessagesMeetReceivesInOrderAcrossBatches(Transport& t) {
  if (t.rank() == 0) {
    for (size_t batch = 0; batch < 2; ++batch) {
      std::vector<Bytes> messages;
      std::vector<int> targets;
      for (size_t i = 0; i < 3; ++i) {
        for (int to = 1; to < t.size(); ++to) {
          messages.push_back(Message(0, to, batch * 3 + i, 40));
          targets.push_back(to);
        }
      }
      std::vector<Outgoing> sends;
      for (size_t i = 0; i < messages.size(); ++i) sends.push_back({targets[i], messages[i]});
      LACONIC_RETURN_IF_ERROR(ExchangeSoon(t, sends, {}));
    }
    return absl::OkStatus();
  }
  for (size_t batch = 0; batch < 3; ++batch) {
    std::vector<Bytes> got(2, Bytes(40));
    const std::vector<Incoming> receives = {{0, got[0]}, {0, got[1]}};
    LACONIC_RETURN_IF_ERROR(ExchangeSoon(t, {}, receives));
    for (size_t i = 0; i < 2; ++i) LACONIC_RETURN_IF_ERROR(ExpectMessage(got[i], 0, t.rank(), batch * 2 + i));
  }
  return absl::OkStatus();
}

// An empty message takes a place in the order: were it skipped, lengths would not match.
absl::Status EmptyMessagesAreMessages(Transport& t) {
  if (t.size() == 1) return absl::OkStatus();
  const Bytes one = Message(t.rank(), Next(t), 0, 1);
  Bytes got(1);
  const std::vector<Outgoing> sends = {{Next(t), {}}, {Next(t), one}, {Next(t), {}}};
  const std::vector<Incoming> receives = {{Previous(t), {}}, {Previous(t), got}, {Previous(t), {}}};
  LACONIC_RETURN_IF_ERROR(ExchangeSoon(t, sends, receives));
  return ExpectMessage(got, Previous(t), t.rank(), 0);
}

// Everybody sends to everybody, lengths from 0 to 4095 and now and then far longer, in a random order of peers.
absl::Status StormOfRandomLengthsArrivesWhole(Transport& t) {
  const auto length = [](size_t round, int from, int to) {
    std::mt19937 random(static_cast<unsigned>(round * 10007 + from * 101 + to));
    const unsigned draw = random();
    return draw % 17 == 0 ? 100'000 + draw % 1000 : draw % 4096;
  };
  for (size_t round = 0; round < 25; ++round) {
    std::vector<int> peers;
    for (int peer = 0; peer < t.size(); ++peer) {
      if (peer != t.rank()) peers.push_back(peer);
    }
    std::shuffle(peers.begin(), peers.end(), std::mt19937(static_cast<unsigned>(round * 31 + t.rank())));
    std::vector<Bytes> out(t.size()), in(t.size());
    std::vector<Outgoing> sends;
    std::vector<Incoming> receives;
    for (const int peer : peers) {
      out[peer] = Message(t.rank(), peer, round, length(round, t.rank(), peer));
      in[peer].resize(length(round, peer, t.rank()));
      sends.push_back({peer, out[peer]});
      receives.insert(receives.begin(), {peer, in[peer]});
    }
    LACONIC_RETURN_IF_ERROR(ExchangeSoon(t, sends, receives));
    for (const int peer : peers) LACONIC_RETURN_IF_ERROR(ExpectMessage(in[peer], peer, t.rank(), round));
  }
  return absl::OkStatus();
}

absl::Status LongMessagesGoBothWaysAtOnce(Transport& t) {
  if (t.size() == 1) return absl::OkStatus();
  constexpr size_t kLength = (5 << 20) + 3;
  const Bytes out = Message(t.rank(), Next(t), 1, kLength);
  Bytes in(kLength);
  const Outgoing send{Next(t), out};
  const Incoming receive{Previous(t), in};
  LACONIC_RETURN_IF_ERROR(ExchangeSoon(t, std::span(&send, 1), std::span(&receive, 1)));
  return ExpectMessage(in, Previous(t), t.rank(), 1);
}

absl::Status AThousandMessagesInOneBatchKeepTheirOrder(Transport& t) {
  if (t.size() == 1) return absl::OkStatus();
  constexpr size_t kMessages = 1000;
  std::vector<Bytes> out, in(kMessages, Bytes(8));
  std::vector<Outgoing> sends;
  std::vector<Incoming> receives;
  for (size_t i = 0; i < kMessages; ++i) out.push_back(Message(t.rank(), Next(t), i, 8));
  for (size_t i = 0; i < kMessages; ++i) {
    sends.push_back({Next(t), out[i]});
    receives.push_back({Previous(t), in[i]});
  }
  LACONIC_RETURN_IF_ERROR(ExchangeSoon(t, sends, receives));
  for (size_t i = 0; i < kMessages; ++i) LACONIC_RETURN_IF_ERROR(ExpectMessage(in[i], Previous(t), t.rank(), i));
  return absl::OkStatus();
}

absl::Status PassAround(Transport& t, size_t first_number) {
  for (size_t number = first_number; number < first_number + 50; ++number) {
    const Bytes out = Message(t.rank(), Next(t), number, 64);
    Bytes in(64);
    const Outgoing send{Next(t), out};
    const Incoming receive{Previous(t), in};
    LACONIC_RETURN_IF_ERROR(ExchangeSoon(t, std::span(&send, 1), std::span(&receive, 1)));
    LACONIC_RETURN_IF_ERROR(ExpectMessage(in, Previous(t), t.rank(), number));
  }
  return absl::OkStatus();
}

// Two threads use a transport and its duplicate at a time: no message may cross over.
absl::Status DuplicateHasAnOrderOfItsOwn(Transport& t) {
  LACONIC_ASSIGN_OR_RETURN(const std::unique_ptr<Transport> duplicate, t.Duplicate());
  if (duplicate->rank() != t.rank() || duplicate->size() != t.size()) return absl::InternalError("other rank or size");
  if (t.size() == 1) return absl::OkStatus();
  absl::Status on_duplicate;
  std::thread other([&] { on_duplicate = PassAround(*duplicate, 1000); });
  const absl::Status on_original = PassAround(t, 0);
  other.join();
  LACONIC_RETURN_IF_ERROR(on_original);
  return on_duplicate;
}

// Even and odd ranks form two groups in descending order; each passes messages around, and duplicates itself.
absl::Status SubgroupRenumbersItsMembers(Transport& t) {
  std::vector<int> members;
  for (int rank = t.size() - 1; rank >= 0; --rank) {
    if (rank % 2 == t.rank() % 2) members.push_back(rank);
  }
  LACONIC_ASSIGN_OR_RETURN(const std::unique_ptr<Transport> group, t.Subgroup(members));
  if (group->size() != static_cast<int>(members.size()) || members[group->rank()] != t.rank()) {
    return absl::InternalError(fmt::format("rank {} became {} of {}", t.rank(), group->rank(), group->size()));
  }
  LACONIC_ASSIGN_OR_RETURN(const std::unique_ptr<Transport> duplicate, group->Duplicate());
  if (group->size() == 1) return absl::OkStatus();
  LACONIC_RETURN_IF_ERROR(PassAround(*group, 0));
  return PassAround(*duplicate, 100);
}

absl::Status SubgroupWithoutTheOwnRankIsRefused(Transport& t) {
  const std::vector<int> strangers = {t.rank(), t.rank()};
  const absl::Status twice = t.Subgroup(strangers).status();
  const absl::Status missing = t.Subgroup({}).status();
  if (absl::IsInvalidArgument(twice) && absl::IsInvalidArgument(missing)) return absl::OkStatus();
  return absl::InternalError("accepted");
}

}  // namespace

const std::vector<TransportCheck>& TransportChecks() {
  static const std::vector<TransportCheck> checks = {
      {"EmptyBatchReturnsAtOnce", EmptyBatchReturnsAtOnce},
      {"MessagesMeetReceivesInOrderAcrossBatches", MessagesMeetReceivesInOrderAcrossBatches},
      {"EmptyMessagesAreMessages", EmptyMessagesAreMessages},
      {"StormOfRandomLengthsArrivesWhole", StormOfRandomLengthsArrivesWhole},
      {"LongMessagesGoBothWaysAtOnce", LongMessagesGoBothWaysAtOnce},
      {"AThousandMessagesInOneBatchKeepTheirOrder", AThousandMessagesInOneBatchKeepTheirOrder},
      {"DuplicateHasAnOrderOfItsOwn", DuplicateHasAnOrderOfItsOwn},
      {"SubgroupRenumbersItsMembers", SubgroupRenumbersItsMembers},
      {"SubgroupWithoutTheOwnRankIsRefused", SubgroupWithoutTheOwnRankIsRefused},
  };
  return checks;
}

std::vector<absl::Status> RunRanks(const std::vector<std::unique_ptr<Transport>>& ends,
                                   const std::function<absl::Status(Transport&)>& body) {
  std::vector<absl::Status> results(ends.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < ends.size(); ++i) {
    threads.emplace_back([&, i] { results[i] = body(*ends[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

absl::Status ExchangeSoon(Transport& transport, std::span<const Outgoing> sends, std::span<const Incoming> receives) {
  return transport.Exchange(sends, receives, {.deadline = absl::Now() + absl::Seconds(60)});
}

}  // namespace laconic::testing
