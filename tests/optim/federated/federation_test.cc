#include "laconic/optim/federated/federation.h"

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "laconic/base/rng.h"
#include "tests/base/status_macros.h"
#include "tests/optim/federated/quadratic.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

constexpr char kTopK[] = "topk(ratio=0.1)";

// A server, one worker that does everybody's work, and the clients' vectors.
class Federation {
 public:
  static absl::StatusOr<std::unique_ptr<Federation>> Create(const FederatedPlan& plan) {
    auto federation = std::make_unique<Federation>();
    const std::span<const Parameter> model = federation->objective_.parameters();
    LACONIC_ASSIGN_OR_RETURN(federation->server, FederatedServer::Create(plan, model));
    LACONIC_ASSIGN_OR_RETURN(federation->worker, FederatedClient::Create(plan, &federation->objective_));
    const size_t vectors = federation->worker->method().client_vectors().size();
    federation->states.assign(plan.clients, std::vector(vectors, std::vector<float>(kQuadraticElements)));
    return federation;
  }

  std::vector<std::span<float>> State(uint32_t client) { return {states[client].begin(), states[client].end()}; }

  absl::Status Receive() {
    LACONIC_ASSIGN_OR_RETURN(const auto broadcast, server->Broadcast(worker->known()));
    return worker->Receive(server->round(), broadcast);
  }

  // One client's round; its state moves.
  absl::StatusOr<std::vector<std::byte>> Update(uint32_t client) {
    LACONIC_ASSIGN_OR_RETURN(const FederatedClient::Result result, worker->Run(client, State(client)));
    std::vector<std::byte> bytes(result.bytes.begin(), result.bytes.end());
    worker->Commit(State(client));
    return bytes;
  }

  // A round of `clients`, ascending.
  absl::Status Round(std::span<const uint32_t> clients) {
    LACONIC_RETURN_IF_ERROR(Receive());
    std::vector<std::vector<std::byte>> bytes;
    std::vector<ClientUpdate> updates;
    for (const uint32_t client : clients) {
      LACONIC_ASSIGN_OR_RETURN(bytes.emplace_back(), Update(client));
    }
    for (size_t i = 0; i < clients.size(); ++i) updates.push_back({clients[i], server->round(), bytes[i]});
    return server->Close(updates);
  }
  absl::Status Round() {
    const FederatedPlan& plan = server->plan();
    return Round(SampleClients(plan.seed, server->round(), plan.clients, plan.sampled));
  }

  QuadraticObjective objective_;
  std::unique_ptr<FederatedServer> server;
  std::unique_ptr<FederatedClient> worker;
  std::vector<std::vector<std::vector<float>>> states;  // by client, by vector
};

StateArchive Saved(const FederatedServer& server) {
  StateArchive archive;
  StateWriter writer(&archive);
  server.Save(writer);
  return archive;
}

std::vector<std::byte> SavedBytes(const FederatedServer& server) { return SerializeStateArchive(Saved(server)); }

std::vector<float> Copy(std::span<const float> x) { return {x.begin(), x.end()}; }

TEST(SampleClients, AscendingDistinctAndAFunctionOfSeedAndRound) {
  const std::vector<uint32_t> sample = SampleClients(1, 7, 200, 20);
  ASSERT_EQ(sample.size(), 20u);
  EXPECT_TRUE(std::ranges::is_sorted(sample));
  EXPECT_EQ(std::ranges::adjacent_find(sample), sample.end());
  EXPECT_LT(sample.back(), 200u);
  EXPECT_EQ(SampleClients(1, 7, 200, 20), sample);
  EXPECT_NE(SampleClients(1, 8, 200, 20), sample);
  EXPECT_NE(SampleClients(2, 7, 200, 20), sample);
  EXPECT_THAT(SampleClients(1, 7, 4, 4), testing::ElementsAre(0, 1, 2, 3));
}

TEST(SampleClients, EverybodyIsAsLikely) {
  std::map<uint32_t, int> times;
  std::map<std::pair<uint32_t, uint32_t>, int> pairs;
  for (uint64_t round = 0; round < 4000; ++round) {
    const std::vector<uint32_t> sample = SampleClients(1, round, 5, 2);
    for (const uint32_t client : sample) ++times[client];
    ++pairs[{sample[0], sample[1]}];
  }
  // Five standard deviations of a binomial: of 4000 with 2/5, and with 1/10.
  for (const auto& [client, count] : times) EXPECT_NEAR(count, 1600, 5 * std::sqrt(4000 * 0.4 * 0.6)) << client;
  EXPECT_EQ(pairs.size(), 10u);
  for (const auto& [pair, count] : pairs) EXPECT_NEAR(count, 400, 5 * std::sqrt(4000 * 0.1 * 0.9));
}

TEST(FederatedServer, Sgd_StepsBackAsFarAsTheClientsWent) {
  FederatedPlan plan = QuadraticPlan("fedavg");
  plan.server_learning_rate = 0.5;
  LACONIC_ASSERT_OK_AND_ASSIGN(auto federation, Federation::Create(plan));
  LACONIC_ASSERT_OK(federation->Round(std::vector<uint32_t>{4}));
  // Client 4 alone, half the way it went. What it stepped along is averaged and multiplied up again: 2 roundings, of
  // ways below 1, besides the step's.
  const std::span<const float> went = federation->objective_.weights();
  for (size_t j = 0; j < kQuadraticElements; ++j) {
    EXPECT_NEAR(federation->server->model()[j], went[j] / 2, 4 * 0x1p-24);
  }
}

TEST(FederatedServer, OuterMomentum_IsTheServersOptimizer) {
  FederatedPlan plan = QuadraticPlan("fedavg");
  plan.server_optimizer = "sgd(momentum=0.5, nesterov=true)";
  LACONIC_ASSERT_OK_AND_ASSIGN(auto federation, Federation::Create(plan));
  LACONIC_ASSERT_OK(federation->Round(std::vector<uint32_t>{4}));
  // v = D, x = -(D + 0.5 v).
  const std::span<const float> went = federation->objective_.weights();
  for (size_t j = 0; j < kQuadraticElements; ++j) {
    EXPECT_NEAR(federation->server->model()[j], 1.5f * went[j], 6 * 0x1p-24);
  }
}

TEST(FederatedServer, PlainDownlink_SendsVectorsAsTheyAre) {
  LACONIC_ASSERT_OK_AND_ASSIGN(auto federation, Federation::Create(QuadraticPlan("scaffold")));
  LACONIC_ASSERT_OK(federation->Round());
  LACONIC_ASSERT_OK(federation->Receive());
  EXPECT_THAT(Copy(federation->worker->model()), ElementsAreArray(federation->server->model()));
  EXPECT_EQ(federation->server->BroadcastBytes(0), federation->server->BroadcastBytes(1));
}

TEST(FederatedServer, CompressedDownlink_ClientsThatMissRoundsKnowTheSameInTheEnd) {
  FederatedPlan plan = QuadraticPlan("scafcom", "topk(ratio=0.2)");
  plan.downlink = kTopK;
  LACONIC_ASSERT_OK_AND_ASSIGN(auto federation, Federation::Create(plan));
  FederatedServer& server = *federation->server;
  QuadraticObjective objective;
  // Of these, the i-th is there every i-th round only.
  std::vector<std::unique_ptr<FederatedClient>> workers;
  for (int i = 0; i < 6; ++i) {
    LACONIC_ASSERT_OK_AND_ASSIGN(workers.emplace_back(), FederatedClient::Create(plan, &objective));
  }
  const size_t whole = server.BroadcastBytes(0);
  size_t least = whole;
  for (uint64_t round = 0; round < 30; ++round) {
    for (size_t i = 0; i < workers.size(); ++i) {
      if (round % (i + 1) != 0) continue;
      const size_t announced = server.BroadcastBytes(workers[i]->known());
      LACONIC_ASSERT_OK_AND_ASSIGN(const auto broadcast, server.Broadcast(workers[i]->known()));
      EXPECT_EQ(broadcast.size(), announced);
      EXPECT_LE(broadcast.size(), whole);
      least = std::min(least, broadcast.size());
      LACONIC_ASSERT_OK(workers[i]->Receive(round, broadcast));
      EXPECT_THAT(Copy(workers[i]->model()), ElementsAreArray(workers[0]->model())) << "round " << round;
    }
    LACONIC_ASSERT_OK(federation->Round());
  }
  EXPECT_LT(least, whole / 2);
  // All 30 at once are more bytes than what they sum up to.
  EXPECT_EQ(server.BroadcastBytes(1), whole);
  // Clients lag behind the model by what compression has not said yet.
  LACONIC_ASSERT_OK(federation->Receive());
  EXPECT_NE(Copy(federation->worker->model()), Copy(server.model()));
}

TEST(FederatedServer, BroadcastOfARoundThatIsKnown_IsEmpty) {
  for (const char* downlink : {"identity", kTopK}) {
    FederatedPlan plan = QuadraticPlan("fedavg");
    plan.downlink = downlink;
    LACONIC_ASSERT_OK_AND_ASSIGN(auto federation, Federation::Create(plan));
    LACONIC_ASSERT_OK(federation->Receive());
    const std::vector<float> model = Copy(federation->worker->model());
    LACONIC_ASSERT_OK_AND_ASSIGN(const auto again, federation->server->Broadcast(federation->worker->known()));
    EXPECT_EQ(again.size(), 10u);
    LACONIC_ASSERT_OK(federation->worker->Receive(0, again));
    EXPECT_EQ(Copy(federation->worker->model()), model);
  }
}

TEST(FederatedServer, BadUpdate_IsNamedAndChangesNothing) {
  LACONIC_ASSERT_OK_AND_ASSIGN(auto federation, Federation::Create(QuadraticPlan("scaffold")));
  LACONIC_ASSERT_OK(federation->Round());
  LACONIC_ASSERT_OK(federation->Receive());
  FederatedServer& server = *federation->server;
  LACONIC_ASSERT_OK_AND_ASSIGN(const auto good, federation->Update(2));
  LACONIC_ASSERT_OK_AND_ASSIGN(auto bad, federation->Update(5));
  bad[60] ^= std::byte{1};
  const std::vector<std::byte> before = SavedBytes(server);

  EXPECT_THAT(server.Check({2, 1, good}), IsOk());
  EXPECT_THAT(server.Check({5, 1, bad}),
              HasStatus(absl::StatusCode::kDataLoss, AllOf(HasSubstr("round 1 from client 5"), HasSubstr("checksum"))));
  EXPECT_THAT(server.Check({3, 1, good}), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("part 2, expected 3")));
  EXPECT_THAT(server.Check({20, 1, good}),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("client 20 for round 1: there are 20 clients")));
  EXPECT_THAT(server.Close(std::vector<ClientUpdate>{{2, 1, good}, {5, 1, bad}}),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("client 5")));
  EXPECT_THAT(server.Close(std::vector<ClientUpdate>{{2, 1, good}, {2, 1, good}}),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("ascending order")));
  EXPECT_EQ(SavedBytes(server), before);
  LACONIC_ASSERT_OK(server.Close(std::vector<ClientUpdate>{{2, 1, good}}));
  EXPECT_NE(SavedBytes(server), before);
  // Made for the round before: whether it still counts is not for this to say; as one of the open round it is none.
  EXPECT_THAT(server.Check({2, 1, good}), IsOk());
  EXPECT_THAT(server.Check({2, 2, good}), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("step 1, expected 2")));
  EXPECT_THAT(server.Check({2, 3, good}), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("round 2 is open")));
}

TEST(FederatedServer, UpdateAboveTheNorm_IsRefusedWithBoth) {
  FederatedPlan plan = QuadraticPlan("fedavg");
  plan.max_norm = 1000;
  LACONIC_ASSERT_OK_AND_ASSIGN(auto federation, Federation::Create(plan));
  LACONIC_ASSERT_OK(federation->Round());
  const auto message = [&](float x) {
    const std::vector<float> update(kQuadraticElements, x);
    std::vector<std::byte> bytes(federation->server->uplink().MaxBytes());
    const VectorCodec::Origin origin{.seed = plan.seed, .round = 1, .sender = 2};
    EXPECT_THAT(federation->server->uplink().Encode(update, origin, bytes, {}), IsOk());
    return bytes;
  };
  const std::vector<std::byte> fair = message(10), huge = message(1e30f);  // norms sqrt(30) times these
  EXPECT_THAT(federation->server->Check({2, 1, fair}), IsOk());
  const auto refused = HasStatus(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("client 2 for round 1 has norm 5.47723e+30, at most 1000 allowed"));
  EXPECT_THAT(federation->server->Check({2, 1, huge}), refused);
  EXPECT_THAT(federation->server->Close(std::vector<ClientUpdate>{{2, 1, huge}}), refused);
  LACONIC_ASSERT_OK(federation->server->Close(std::vector<ClientUpdate>{{2, 1, fair}}));
}

TEST(FederatedServer, Load_ContinuesBitForBit) {
  FederatedPlan plan = QuadraticPlan("scafcom", "topk(ratio=0.2)");
  plan.downlink = kTopK;
  plan.server_optimizer = "adamw";
  LACONIC_ASSERT_OK_AND_ASSIGN(auto federation, Federation::Create(plan));
  for (int r = 0; r < 5; ++r) LACONIC_ASSERT_OK(federation->Round());
  const StateArchive archive = Saved(*federation->server);

  LACONIC_ASSERT_OK_AND_ASSIGN(auto other, FederatedServer::Create(plan, federation->objective_.parameters()));
  LACONIC_ASSERT_OK(other->Load(StateReader(&archive)));
  EXPECT_EQ(SavedBytes(*other), SavedBytes(*federation->server));
  for (const uint64_t known : {0, 3, 5, 6}) {
    LACONIC_ASSERT_OK_AND_ASSIGN(const auto a, federation->server->Broadcast(known));
    LACONIC_ASSERT_OK_AND_ASSIGN(const auto b, other->Broadcast(known));
    EXPECT_TRUE(std::ranges::equal(a, b)) << known;
  }
  LACONIC_ASSERT_OK(federation->Receive());
  LACONIC_ASSERT_OK_AND_ASSIGN(const auto update, federation->Update(2));
  LACONIC_ASSERT_OK(federation->server->Close(std::vector<ClientUpdate>{{2, 5, update}}));
  LACONIC_ASSERT_OK(other->Close(std::vector<ClientUpdate>{{2, 5, update}}));
  EXPECT_EQ(SavedBytes(*other), SavedBytes(*federation->server));
}

TEST(FederatedServer, LoadOfLess_IsAnErrorAndChangesNothing) {
  FederatedPlan plan = QuadraticPlan("scaffold");
  LACONIC_ASSERT_OK_AND_ASSIGN(auto federation, Federation::Create(plan));
  const StateArchive whole = Saved(*federation->server);
  LACONIC_ASSERT_OK(federation->Round());
  const std::vector<std::byte> before = SavedBytes(*federation->server);
  for (const auto& [name, entry] : whole.tensors) {
    StateArchive less = whole;
    less.tensors.erase(name);
    EXPECT_THAT(federation->server->Load(StateReader(&less)), HasStatus(absl::StatusCode::kNotFound, HasSubstr(name)));
    EXPECT_EQ(SavedBytes(*federation->server), before);
  }
}

TEST(FederatedClient, BadBroadcast_IsDataLossAndChangesNothing) {
  FederatedPlan plan = QuadraticPlan("scaffold");
  plan.downlink = kTopK;
  LACONIC_ASSERT_OK_AND_ASSIGN(auto federation, Federation::Create(plan));
  FederatedClient& worker = *federation->worker;
  LACONIC_ASSERT_OK_AND_ASSIGN(const auto first, federation->server->Broadcast(0));
  const std::vector<std::byte> whole(first.begin(), first.end());
  EXPECT_THAT(worker.Receive(1, whole), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("made for round 0")));
  LACONIC_ASSERT_OK(worker.Receive(0, whole));
  LACONIC_ASSERT_OK(federation->Round());

  LACONIC_ASSERT_OK_AND_ASSIGN(const auto second, federation->server->Broadcast(1));
  const std::vector<std::byte> differences(second.begin(), second.end());
  const std::vector<float> model = Copy(worker.model());
  for (size_t length = 0; length < differences.size(); ++length) {
    EXPECT_EQ(worker.Receive(1, std::span(differences).first(length)).code(), absl::StatusCode::kDataLoss) << length;
  }
  for (size_t i = 0; i < differences.size(); ++i) {
    std::vector<std::byte> changed = differences;
    changed[i] ^= std::byte{2};
    EXPECT_EQ(worker.Receive(1, changed).code(), absl::StatusCode::kDataLoss) << "byte " << i;
  }
  EXPECT_EQ(Copy(worker.model()), model);
  EXPECT_EQ(worker.known(), 1u);

  // Differences mean nothing to who knows nothing.
  QuadraticObjective objective;
  LACONIC_ASSERT_OK_AND_ASSIGN(auto newcomer, FederatedClient::Create(plan, &objective));
  EXPECT_THAT(newcomer->Receive(1, differences),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("a client that knows 0 rounds")));
}

TEST(FederatedClient, RunThatIsNotCommitted_LeavesNoTrace) {
  LACONIC_ASSERT_OK_AND_ASSIGN(auto federation, Federation::Create(QuadraticPlan("econtrol", "topk(ratio=0.2)")));
  LACONIC_ASSERT_OK(federation->Round());
  LACONIC_ASSERT_OK(federation->Receive());
  FederatedClient& worker = *federation->worker;
  const auto states = federation->states;
  LACONIC_ASSERT_OK_AND_ASSIGN(const FederatedClient::Result result, worker.Run(3, federation->State(3)));
  const std::vector<std::byte> bytes(result.bytes.begin(), result.bytes.end());
  EXPECT_EQ(federation->states, states);
  LACONIC_ASSERT_OK(worker.Run(4, federation->State(4)).status());
  LACONIC_ASSERT_OK_AND_ASSIGN(const FederatedClient::Result again, worker.Run(3, federation->State(3)));
  EXPECT_TRUE(std::ranges::equal(again.bytes, bytes));
  worker.Commit(federation->State(3));
  EXPECT_NE(federation->states[3], states[3]);
  EXPECT_EQ(federation->states[4], states[4]);
}

TEST(FederatedClient, RunBeforeTheFirstBroadcast_IsFailedPrecondition) {
  LACONIC_ASSERT_OK_AND_ASSIGN(auto federation, Federation::Create(QuadraticPlan("fedavg")));
  EXPECT_THAT(federation->worker->Run(0, {}),
              HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("after the first broadcast")));
}

TEST(FederatedClient, Load_KnowsWhatWasSaved) {
  FederatedPlan plan = QuadraticPlan("scaffold");
  plan.downlink = kTopK;
  LACONIC_ASSERT_OK_AND_ASSIGN(auto federation, Federation::Create(plan));
  for (int r = 0; r < 3; ++r) LACONIC_ASSERT_OK(federation->Round());
  StateArchive archive;
  StateWriter writer(&archive);
  federation->worker->Save(writer);
  QuadraticObjective objective;
  LACONIC_ASSERT_OK_AND_ASSIGN(auto other, FederatedClient::Create(plan, &objective));
  LACONIC_ASSERT_OK(other->Load(StateReader(&archive)));
  EXPECT_EQ(other->known(), 3u);
  LACONIC_ASSERT_OK_AND_ASSIGN(const auto broadcast, federation->server->Broadcast(3));
  LACONIC_ASSERT_OK(other->Receive(3, broadcast));
  LACONIC_ASSERT_OK(federation->worker->Receive(3, broadcast));
  EXPECT_EQ(Copy(other->model()), Copy(federation->worker->model()));
}

// c moves by (S/N) mean(s) and every c_i by its s, in roundings of numbers below 8: 2^-21 a round at most, three of
// them.
TEST(ControlledAveraging, ServersVariate_StaysTheMeanOfTheClientsWhoeverTakesPart) {
  LACONIC_ASSERT_OK_AND_ASSIGN(auto federation, Federation::Create(QuadraticPlan("scafcom", "topk(ratio=0.2)")));
  const CounterRng rng(RngKey{.seed = 9});
  for (uint32_t round = 0; round < 60; ++round) {
    // One to seven clients: some of the five were lost, or others came.
    LACONIC_ASSERT_OK(federation->Round(SampleClients(9, round, kQuadraticClients, 1 + rng.Below(round, 7))));
    for (size_t j = 0; j < kQuadraticElements; ++j) {
      double mean = 0;
      for (const auto& state : federation->states) mean += state[0][j] / kQuadraticClients;
      ASSERT_NEAR(federation->server->vectors()[0][j], mean, (round + 1) * 3 * 0x1p-21);
    }
  }
}

TEST(FederatedPlan, BadNumbersAndPairs_AreNamed) {
  const auto error = [](auto change) {
    FederatedPlan plan = QuadraticPlan("fedavg");
    change(plan);
    QuadraticObjective objective;
    return std::string(FederatedServer::Create(plan, objective.parameters()).status().message());
  };
  EXPECT_THAT(error([](FederatedPlan& plan) { plan.clients = 0; }), HasSubstr("clients = 0"));
  EXPECT_THAT(error([](FederatedPlan& plan) { plan.sampled = 21; }),
              HasSubstr("sampled = 21: a round takes 1 to all 20 clients"));
  EXPECT_THAT(error([](FederatedPlan& plan) { plan.work.steps = 0; }), HasSubstr("local steps = 0"));
  EXPECT_THAT(error([](FederatedPlan& plan) { plan.work.learning_rate = -1; }), HasSubstr("local learning rate = -1"));
  EXPECT_THAT(error([](FederatedPlan& plan) { plan.server_learning_rate = 0; }), HasSubstr("server learning rate = 0"));
  EXPECT_THAT(error([](FederatedPlan& plan) { plan.max_norm = -1; }), HasSubstr("max_norm = -1"));
  EXPECT_THAT(error([](FederatedPlan& plan) { plan.server_optimizer = "sgdd"; }), HasSubstr("\"sgdd\""));
  EXPECT_THAT(error([](FederatedPlan& plan) { plan.uplink = "topp"; }), HasSubstr("uplink: spec column 1"));
  EXPECT_THAT(error([](FederatedPlan& plan) { plan.downlink = "sign+ef"; }), HasSubstr("downlink: spec column 6"));
  EXPECT_THAT(error([](FederatedPlan& plan) { plan.downlink = "randk(ratio=0.1, scale=unbiased)"; }),
              AllOf(HasSubstr("downlink"), HasSubstr("write scaled(randk(")));
}

}  // namespace
}  // namespace laconic
