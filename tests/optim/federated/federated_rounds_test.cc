// The parameter server's rounds give the model that the simulation gives, bit for bit: whoever comes first, and after
// crashes on either side.
#include "laconic/optim/federated/federated_rounds.h"

#include <filesystem>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "laconic/base/hash.h"
#include "laconic/base/status.h"
#include "laconic/comm/server/round_machine.h"
#include "laconic/optim/federated/client_state.h"
#include "laconic/optim/federated/simulation.h"
#include "tests/base/status_macros.h"
#include "tests/comm/server/memory_journal.h"
#include "tests/optim/federated/quadratic.h"

namespace laconic {
namespace {

// Empty, and gone with its owner.
class TemporaryFolder {
 public:
  TemporaryFolder() : path_(testing::TempDir() + "/federated_rounds.XXXXXX") { path_ = ::mkdtemp(path_.data()); }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

constexpr uint64_t kRounds = 12;

std::vector<float> Copy(std::span<const float> values) { return {values.begin(), values.end()}; }

// Compression both ways, random draws, state on both sides.
FederatedPlan BothWays(std::string method = "scallion(alpha=0.2)",
                       std::string uplink = "randk(ratio=0.2, scale=unbiased, seed=rank)") {
  FederatedPlan plan = QuadraticPlan(std::move(method), std::move(uplink));
  plan.downlink = "topk(ratio=0.2)";
  plan.server_optimizer = "sgd(momentum=0.5, nesterov=true)";
  return plan;
}

absl::StatusOr<std::vector<float>> Simulated(const FederatedPlan& plan) {
  LACONIC_ASSIGN_OR_RETURN(auto simulation, Simulation::Create(plan, {}, Quadratics()));
  for (uint64_t round = 0; round < kRounds; ++round) LACONIC_RETURN_IF_ERROR(simulation->Step().status());
  return Copy(simulation->model());
}

// Server and clients, each client with a folder of its own, without a network.
class Deployment {
 public:
  Deployment(const FederatedPlan& plan, RoundRules rules, Invitation invitation = Invitation::kSample)
      : plan_(plan), rules_(rules), invitation_(invitation) {}

  absl::Status StartServer() {
    machine_.reset();
    QuadraticObjective shapes;
    LACONIC_ASSIGN_OR_RETURN(server_, FederatedServer::Create(plan_, shapes.parameters()));
    work_ = std::make_unique<FederatedRounds>(server_.get(), invitation_, [this](uint64_t n) { closed_.push_back(n); });
    journal_ = MakeMemoryJournal(&disk_);
    MachineOptions options{
        .run = {.id = 7, .description = plan_.ToString(), .clients = plan_.clients, .rounds = kRounds},
        .rules = rules_};
    LACONIC_ASSIGN_OR_RETURN(machine_, RoundMachine::Create(std::move(options), work_.get(), journal_.get(), now_));
    machine_->Tick(now_);
    return absl::OkStatus();
  }

  // What a deployed client does in one round; a client that crashes is a new one in the next. dies: after the server
  // has taken its update and before it knows.
  absl::StatusOr<PushOutcome> TakePart(uint32_t client, bool dies = false) {
    const Caller caller{.run = 7, .client = client, .incarnation = ++incarnation_};
    LACONIC_ASSIGN_OR_RETURN(const Registration registration, machine_->Register(caller, now_));
    QuadraticObjective objective;
    LACONIC_ASSIGN_OR_RETURN(auto worker, FederatedClient::Create(plan_, &objective));
    std::optional<ClientState::Taken> taken;
    if (const auto& last = registration.last_accepted) taken = {.round = last->round, .digest = last->digest};
    LACONIC_ASSIGN_OR_RETURN(auto state, ClientState::Open({.folder = folder_.path(),
                                                            .run = 7,
                                                            .client = client,
                                                            .vectors = worker->method().client_vectors().size(),
                                                            .elements = kQuadraticElements},
                                                           taken));
    const uint64_t round = machine_->open_round();
    LACONIC_ASSIGN_OR_RETURN(const Pulled pulled, machine_->Pull(caller, round, 0, now_));
    LACONIC_RETURN_IF_ERROR(worker->Receive(round, pulled.bytes));
    return Push(caller, round, *worker, state, dies);
  }

  absl::Status RunRound(std::mt19937& order) {
    std::vector<uint32_t> asked = work_->Participants(machine_->open_round());
    std::shuffle(asked.begin(), asked.end(), order);
    for (const uint32_t client : asked) {
      const bool dies = order() % 4 == 0;
      LACONIC_RETURN_IF_ERROR(TakePart(client, dies).status());
      if (order() % 6 == 0) LACONIC_RETURN_IF_ERROR(StartServer());
    }
    machine_->Tick(now_);
    return absl::OkStatus();
  }

  absl::StatusOr<PushOutcome> Push(const Caller& caller, uint64_t round, FederatedClient& worker, ClientState& state,
                                   bool dies) {
    LACONIC_ASSIGN_OR_RETURN(const FederatedClient::Result result, worker.Run(caller.client, state.vectors()));
    const uint64_t digest = Hash64(result.bytes);
    LACONIC_RETURN_IF_ERROR(
        state.Prepare({.round = round, .digest = digest}, [&](auto vectors) { worker.Commit(vectors); }));
    LACONIC_ASSIGN_OR_RETURN(const Admission admission,
                             machine_->Admit(caller, round, result.bytes.size(), digest, now_));
    LACONIC_ASSIGN_OR_RETURN(
        const PushOutcome outcome,
        machine_->Push(caller, admission.reservation, {result.bytes.begin(), result.bytes.end()}, now_));
    if (dies) return outcome;
    LACONIC_RETURN_IF_ERROR(outcome == PushOutcome::kLate ? state.Drop() : state.Keep());
    return outcome;
  }

  RoundMachine& machine() { return *machine_; }
  const FederatedServer& server() const { return *server_; }
  const std::vector<uint64_t>& closed() const { return closed_; }
  const std::string& folder() const { return folder_.path(); }
  void Advance(absl::Duration duration) { now_ += duration; }
  absl::Time now() const { return now_; }

 private:
  const FederatedPlan plan_;
  const RoundRules rules_;
  const Invitation invitation_;
  TemporaryFolder folder_;
  MemoryDisk disk_;
  std::unique_ptr<FederatedServer> server_;
  std::unique_ptr<FederatedRounds> work_;
  std::unique_ptr<RoundJournal> journal_;
  std::unique_ptr<RoundMachine> machine_;
  std::vector<uint64_t> closed_;
  uint64_t incarnation_ = 0;
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
};

TEST(FederatedRounds, AnyOrderAndCrashesOnBothSides_ModelOfTheSimulation) {
  for (const FederatedPlan& plan :
       {BothWays(), BothWays("scafcom(beta=0.5)", "topk(ratio=0.2)"), BothWays("fedavg", "identity")}) {
    SCOPED_TRACE(plan.method);
    LACONIC_ASSERT_OK_AND_ASSIGN(const std::vector<float> expected, Simulated(plan));
    Deployment deployment(plan, {.quorum = plan.sampled});
    ASSERT_THAT(deployment.StartServer(), IsOk());
    std::mt19937 order(5);
    while (!deployment.machine().finished()) ASSERT_THAT(deployment.RunRound(order), IsOk());
    EXPECT_THAT(deployment.server().model(), ElementsAreArray(expected));
    EXPECT_EQ(deployment.closed().back(), kRounds);
  }
}

TEST(FederatedRounds, UpdateThatComesLate_ClientStaysAsItWas) {
  Deployment deployment(BothWays(), {.quorum = 1, .deadline = absl::Seconds(10)});
  ASSERT_THAT(deployment.StartServer(), IsOk());
  const std::vector<uint32_t> asked = SampleClients(1, 0, kQuadraticClients, 5);
  ASSERT_THAT(deployment.TakePart(asked[0]), IsOk());

  const Caller slow{.run = 7, .client = asked[1], .incarnation = 1000};
  ASSERT_THAT(deployment.machine().Register(slow, deployment.now()), IsOk());
  QuadraticObjective objective;
  LACONIC_ASSERT_OK_AND_ASSIGN(auto worker, FederatedClient::Create(BothWays(), &objective));
  LACONIC_ASSERT_OK_AND_ASSIGN(const Pulled pulled, deployment.machine().Pull(slow, 0, 0, deployment.now()));
  ASSERT_THAT(worker->Receive(0, pulled.bytes), IsOk());
  const ClientState::Options options{
      .folder = deployment.folder(), .run = 7, .client = slow.client, .vectors = 1, .elements = kQuadraticElements};
  LACONIC_ASSERT_OK_AND_ASSIGN(auto state, ClientState::Open(options, std::nullopt));
  LACONIC_ASSERT_OK_AND_ASSIGN(const auto result, worker->Run(slow.client, state.vectors()));
  const uint64_t digest = Hash64(result.bytes);
  ASSERT_THAT(state.Prepare({.digest = digest}, [&](auto vectors) { worker->Commit(vectors); }), IsOk());

  deployment.Advance(absl::Seconds(11));
  deployment.machine().Tick(deployment.now());
  EXPECT_EQ(deployment.machine().open_round(), 1u);
  LACONIC_ASSERT_OK_AND_ASSIGN(const Admission admission,
                               deployment.machine().Admit(slow, 0, result.bytes.size(), digest, deployment.now()));
  EXPECT_EQ(admission.kind, Admission::Kind::kLate);
  ASSERT_THAT(state.Drop(), IsOk());
  EXPECT_THAT(state.vectors()[0], testing::Each(0.0f));
}

// Everybody is asked, the first update closes the round, and one made for the round before still counts.
TEST(FederatedRounds, WorkersThatDoNotWait_UpdatesForEarlierRoundsCount) {
  FederatedPlan plan = QuadraticPlan("fedavg");
  plan.sampled = plan.clients;
  Deployment deployment(plan, {.quorum = 1, .enough = 1, .staleness = 2}, Invitation::kEveryone);
  ASSERT_THAT(deployment.StartServer(), IsOk());
  const Caller slow{.run = 7, .client = 3, .incarnation = 1000};
  ASSERT_THAT(deployment.machine().Register(slow, deployment.now()), IsOk());
  QuadraticObjective objective;
  LACONIC_ASSERT_OK_AND_ASSIGN(auto worker, FederatedClient::Create(plan, &objective));
  LACONIC_ASSERT_OK_AND_ASSIGN(const Pulled pulled, deployment.machine().Pull(slow, 0, 0, deployment.now()));
  ASSERT_THAT(worker->Receive(0, pulled.bytes), IsOk());
  for (const uint32_t fast : {1u, 2u}) {
    ASSERT_THAT(deployment.TakePart(fast), IsOk());
    deployment.machine().Tick(deployment.now());
  }
  EXPECT_EQ(deployment.machine().open_round(), 2u);

  LACONIC_ASSERT_OK_AND_ASSIGN(auto state, ClientState::Open({.client = 3}, std::nullopt));
  LACONIC_ASSERT_OK_AND_ASSIGN(const PushOutcome outcome, deployment.Push(slow, 0, *worker, state, false));
  EXPECT_EQ(outcome, PushOutcome::kAccepted);
  const std::vector<float> before = Copy(deployment.server().model());
  deployment.machine().Tick(deployment.now());
  EXPECT_EQ(deployment.machine().open_round(), 3u);
  EXPECT_NE(Copy(deployment.server().model()), before);
}

TEST(ClientState, FolderThatIsNotTheOneItWrote_FailedPrecondition) {
  TemporaryFolder folder;
  const ClientState::Options options{.folder = folder.path(), .run = 7, .client = 3, .vectors = 2, .elements = 4};
  const ClientState::Taken first{.round = 5, .digest = 55}, second{.round = 8, .digest = 88};
  {
    LACONIC_ASSERT_OK_AND_ASSIGN(auto state, ClientState::Open(options, std::nullopt));
    ASSERT_THAT(state.Prepare(first, [](auto vectors) { vectors[1][2] = 6; }), IsOk());
    ASSERT_THAT(state.Keep(), IsOk());
    EXPECT_THAT(ClientState::Open(options, first),
                HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("held by another process")));
  }
  {
    LACONIC_ASSERT_OK_AND_ASSIGN(const auto again, ClientState::Open(options, first));
    EXPECT_THAT(again.vectors()[1], testing::ElementsAre(0, 0, 6, 0));
  }
  for (const std::optional<ClientState::Taken>& taken : {std::optional(second), std::optional<ClientState::Taken>()}) {
    EXPECT_THAT(ClientState::Open(options, taken),
                HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("what round 5's update")));
  }
  ClientState::Options other_run = options;
  other_run.run = 8;
  EXPECT_THAT(ClientState::Open(other_run, first),
              HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("run 0000000000000007")));
  ClientState::Options other_folder = options;
  other_folder.folder += "/empty";
  EXPECT_THAT(ClientState::Open(other_folder, first),
              HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("here is nothing")));
}

TEST(ClientState, CrashBetweenPushAndAnswer_TheServerDecides) {
  const ClientState::Taken first{.round = 5, .digest = 55}, second{.round = 8, .digest = 88};
  for (const bool was_taken : {true, false}) {
    TemporaryFolder folder;
    const ClientState::Options options{.folder = folder.path(), .run = 7, .client = 3, .vectors = 1, .elements = 1};
    {
      LACONIC_ASSERT_OK_AND_ASSIGN(auto state, ClientState::Open(options, std::nullopt));
      ASSERT_THAT(state.Prepare(first, [](auto vectors) { vectors[0][0] = 1; }), IsOk());
      ASSERT_THAT(state.Keep(), IsOk());
      ASSERT_THAT(state.Prepare(second, [](auto vectors) { vectors[0][0] = 2; }), IsOk());
      EXPECT_EQ(state.vectors()[0][0], 1);
    }
    LACONIC_ASSERT_OK_AND_ASSIGN(const auto after, ClientState::Open(options, was_taken ? second : first));
    EXPECT_EQ(after.vectors()[0][0], was_taken ? 2 : 1);
  }
}

}  // namespace
}  // namespace laconic
