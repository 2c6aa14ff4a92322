#include "laconic/optim/federated/simulation.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <utility>

#include "fmt/format.h"
#include "laconic/base/hash.h"
#include "laconic/base/parallel.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/primitives.h"
#include "laconic/optim/checkpoint.h"
#include "optim/federated/draws.h"
#include "optim/federated/round_exchange.h"

namespace laconic {
namespace {

using internal::RoundSlot;

constexpr char kServerFile[] = "/server.safetensors";

class LocalSimulation final : public Simulation {
 public:
  struct Worker {
    std::unique_ptr<LocalObjective> objective;
    std::unique_ptr<FederatedClient> client;
    absl::Status received;
  };

  LocalSimulation(const FederatedPlan& plan, const SimulationOptions& options, std::vector<Worker> workers,
                  std::unique_ptr<FederatedServer> server, std::unique_ptr<ClientStore> store)
      : plan_(plan),
        options_(options),
        workers_(std::move(workers)),
        pool_(static_cast<int>(workers_.size())),
        server_(std::move(server)),
        store_(std::move(store)) {
    if (!server_->downlink().identity()) known_.resize(plan.clients);
  }

  absl::StatusOr<SimulatedRound> Step() override {
    LACONIC_RETURN_IF_ERROR(status_);
    absl::StatusOr<SimulatedRound> round = TakeRound();
    if (!round.ok()) status_ = round.status();
    return round;
  }

  uint64_t round() const override { return server_->round(); }
  std::span<const float> model() const override { return server_->model(); }
  const FederatedServer& server() const override { return *server_; }
  const ClientStore& store() const override { return *store_; }
  absl::StatusOr<uint64_t> Hash() const override;
  absl::Status SaveCheckpoint(const std::string& folder) override;
  absl::Status LoadCheckpoint(const std::string& folder) override;

 private:
  int rank() const { return options_.comm == nullptr ? 0 : options_.comm->rank(); }
  int ranks() const { return options_.comm == nullptr ? 1 : options_.comm->size(); }

  absl::StatusOr<SimulatedRound> TakeRound();
  void Ask(uint64_t round);
  void Work(Worker& worker, uint64_t round, std::span<const std::byte> broadcast);
  absl::Status RunClient(Worker& worker, RoundSlot& slot);
  SimulatedRound Report(uint64_t round) const;

  const FederatedPlan plan_;
  const SimulationOptions options_;
  std::vector<Worker> workers_;
  WorkerPool pool_;
  std::unique_ptr<FederatedServer> server_;
  std::unique_ptr<ClientStore> store_;
  std::vector<uint64_t> known_;   // by client, what Broadcast wants of it; empty where it makes no difference
  std::vector<RoundSlot> slots_;  // of the round's clients, ascending; memory is reused
  std::vector<ClientUpdate> updates_;
  std::atomic<size_t> next_ = 0;  // the slot that a worker takes next
  absl::Status status_;           // the first error
};

// Who takes part, what they receive, and who of them vanishes.
void LocalSimulation::Ask(uint64_t round) {
  const std::vector<uint32_t> sampled = SampleClients(plan_.seed, round, plan_.clients, plan_.sampled);
  const CounterRng failures(internal::DrawKey(internal::Draw::kFailures, plan_.seed, round));
  slots_.resize(sampled.size());
  for (size_t i = 0; i < sampled.size(); ++i) {
    RoundSlot& slot = slots_[i];
    slot.client = sampled[i];
    slot.update.clear();
    slot.status = absl::OkStatus();
    const bool fails = static_cast<double>(failures.Uniform(sampled[i])) < options_.failure_rate;
    slot.fate = fails ? RoundSlot::Fate::kFailed : RoundSlot::Fate::kCounted;
    slot.downlink_bytes = server_->BroadcastBytes(known_.empty() ? 0 : known_[slot.client]);
    if (!known_.empty()) known_[slot.client] = round + 1;
  }
}

absl::Status LocalSimulation::RunClient(Worker& worker, RoundSlot& slot) {
  LACONIC_ASSIGN_OR_RETURN(const std::span<const std::span<float>> state, store_->Begin(slot.client));
  const absl::StatusOr<FederatedClient::Result> result = worker.client->Run(slot.client, state);
  if (result.ok()) {
    slot.loss = result->loss;
    slot.update.assign(result->bytes.begin(), result->bytes.end());
    slot.seconds = options_.network ? options_.network->Seconds(slot.client, slot.downlink_bytes, slot.update.size(),
                                                                plan_.work.steps)
                                    : 0;
    const bool late = options_.deadline_seconds > 0 && slot.seconds > options_.deadline_seconds;
    slot.fate = late ? RoundSlot::Fate::kLate : RoundSlot::Fate::kCounted;
    // The server takes what is in time: Close fails on nothing that was encoded here.
    if (!late) worker.client->Commit(state);
  }
  store_->End(slot.client);
  return result.status();
}

void LocalSimulation::Work(Worker& worker, uint64_t round, std::span<const std::byte> broadcast) {
  worker.received = worker.client->Receive(round, broadcast);
  if (!worker.received.ok()) return;
  for (size_t i = next_++; i < slots_.size(); i = next_++) {
    RoundSlot& slot = slots_[i];
    const bool is_ours = slot.client % static_cast<uint32_t>(ranks()) == static_cast<uint32_t>(rank());
    if (is_ours && slot.fate == RoundSlot::Fate::kCounted) slot.status = RunClient(worker, slot);
  }
}

absl::StatusOr<SimulatedRound> LocalSimulation::TakeRound() {
  const uint64_t round = server_->round();
  LACONIC_ASSIGN_OR_RETURN(const std::span<const std::byte> broadcast,
                           server_->Broadcast(workers_.front().client->known()));
  Ask(round);
  next_ = 0;
  pool_.ForEach(workers_.size(), [&](size_t w) { Work(workers_[w], round, broadcast); });

  absl::Status own;
  for (const Worker& worker : workers_) own.Update(worker.received);
  for (const RoundSlot& slot : slots_) own.Update(slot.status);
  if (options_.comm == nullptr) {
    LACONIC_RETURN_IF_ERROR(own);
  } else {
    LACONIC_RETURN_IF_ERROR(AgreeOnStatus(*options_.comm, own));
    LACONIC_RETURN_IF_ERROR(internal::ExchangeSlots(*options_.comm, slots_));
  }

  updates_.clear();
  for (const RoundSlot& slot : slots_) {
    if (slot.fate == RoundSlot::Fate::kCounted)
      updates_.push_back({.client = slot.client, .round = round, .bytes = slot.update});
  }
  LACONIC_RETURN_IF_ERROR(server_->Close(updates_));
  return Report(round);
}

SimulatedRound LocalSimulation::Report(uint64_t round) const {
  SimulatedRound report{.round = round, .sampled = static_cast<uint32_t>(slots_.size())};
  for (const RoundSlot& slot : slots_) {
    report.downlink_bytes += slot.downlink_bytes;
    report.uplink_bytes += slot.update.size();
    switch (slot.fate) {
      case RoundSlot::Fate::kCounted:
        ++report.counted;
        report.loss += slot.loss;
        report.seconds = std::max(report.seconds, slot.seconds);
        break;
      case RoundSlot::Fate::kFailed:
        ++report.failed;
        break;
      case RoundSlot::Fate::kLate:
        ++report.late;
        break;
    }
  }
  if (report.counted > 0) report.loss /= report.counted;
  // A server that does not know who is still to come waits for all it asked.
  if (report.counted < report.sampled && options_.deadline_seconds > 0) report.seconds = options_.deadline_seconds;
  return report;
}

absl::StatusOr<uint64_t> LocalSimulation::Hash() const {
  uint64_t hash = Hash64(std::as_bytes(server_->model()));
  for (const std::span<float> vector : server_->vectors()) hash = Hash64(std::as_bytes(vector), hash);
  if (store_->options().vectors == 0) return hash;
  std::vector<uint64_t> clients(plan_.clients);
  for (uint32_t client = rank(); client < plan_.clients; client += ranks()) clients[client] = store_->Hash(client);
  if (ranks() > 1) {
    std::vector<uint64_t> all(clients.size() * ranks());
    LACONIC_RETURN_IF_ERROR(
        Allgather(*options_.comm, std::as_bytes(std::span(clients)), std::as_writable_bytes(std::span(all))));
    for (uint32_t client = 0; client < plan_.clients; ++client) {
      clients[client] = all[client % ranks() * clients.size() + client];
    }
  }
  return Hash64(std::as_bytes(std::span(clients)), hash);
}

absl::Status LocalSimulation::SaveCheckpoint(const std::string& folder) {
  LACONIC_RETURN_IF_ERROR(status_);
  absl::Status own;
  if (store_->options().vectors > 0) own = store_->Checkpoint(server_->round());
  if (options_.comm != nullptr) own = AgreeOnStatus(*options_.comm, own);
  LACONIC_RETURN_IF_ERROR(own);
  if (rank() == 0) {
    StateArchive archive;
    StateWriter writer(&archive);
    writer.U64("ranks", static_cast<uint64_t>(ranks()));
    writer.Bytes("known", std::as_bytes(std::span(known_)));
    StateWriter server = writer.Scope("server");
    server_->Save(server);
    own = WriteStateFile(folder + kServerFile, archive);
  }
  return options_.comm == nullptr ? own : AgreeOnStatus(*options_.comm, own);
}

absl::Status LocalSimulation::LoadCheckpoint(const std::string& folder) {
  const auto load = [&]() -> absl::Status {
    LACONIC_ASSIGN_OR_RETURN(const StateArchive archive, ReadStateFile(folder + kServerFile));
    const StateReader in(&archive);
    LACONIC_ASSIGN_OR_RETURN(const uint64_t saved_ranks, in.U64("ranks"));
    if (store_->options().vectors > 0 && saved_ranks != static_cast<uint64_t>(ranks())) {
      return absl::FailedPreconditionError(
          fmt::format("{} was saved by {} ranks, which keep the clients' vectors among them; this is {}",
                      folder + kServerFile, saved_ranks, ranks()));
    }
    LACONIC_ASSIGN_OR_RETURN(const std::span<const std::byte> known, in.Bytes("known"));
    if (known.size() != known_.size() * sizeof(uint64_t)) {
      return absl::DataLossError(fmt::format("{}: {} bytes of \"known\", expected {}", folder + kServerFile,
                                             known.size(), known_.size() * sizeof(uint64_t)));
    }
    LACONIC_RETURN_IF_ERROR(server_->Load(in.Scope("server")));
    std::copy(known.begin(), known.end(), std::as_writable_bytes(std::span(known_)).begin());
    return store_->options().vectors > 0 ? store_->Restore(server_->round()) : absl::OkStatus();
  };
  absl::Status own = load();
  if (options_.comm != nullptr) own = AgreeOnStatus(*options_.comm, own);
  status_ = own;  // half of it may be loaded
  return own;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Simulation>> Simulation::Create(const FederatedPlan& plan,
                                                               const SimulationOptions& options,
                                                               const MakeObjective& make_objective,
                                                               std::span<const FederatedMethodInfo> methods,
                                                               const CodecRegistry& registry) {
  if (options.threads < 1) return absl::InvalidArgumentError(fmt::format("{} threads", options.threads));
  if (!(options.failure_rate >= 0 && options.failure_rate <= 1)) {
    return absl::InvalidArgumentError(fmt::format("failure rate {} is not in [0, 1]", options.failure_rate));
  }
  if (!(options.deadline_seconds >= 0)) {
    return absl::InvalidArgumentError(fmt::format("deadline {} s", options.deadline_seconds));
  }
  if (options.network && options.network->links.size() != plan.clients) {
    return absl::InvalidArgumentError(
        fmt::format("a network of {} links for {} clients", options.network->links.size(), plan.clients));
  }
  std::vector<LocalSimulation::Worker> workers(static_cast<size_t>(options.threads));
  for (LocalSimulation::Worker& worker : workers) {
    LACONIC_ASSIGN_OR_RETURN(worker.objective, make_objective());
    LACONIC_ASSIGN_OR_RETURN(worker.client, FederatedClient::Create(plan, worker.objective.get(), methods, registry));
  }
  LACONIC_ASSIGN_OR_RETURN(auto server,
                           FederatedServer::Create(plan, workers.front().objective->parameters(), methods, registry));
  ClientStoreOptions store_options = options.store;
  store_options.clients = plan.clients;
  store_options.vectors = server->method().client_vectors().size();
  store_options.elements = server->model().size();
  if (!store_options.folder.empty() && options.comm != nullptr && options.comm->size() > 1) {
    store_options.folder += fmt::format("/rank-{}", options.comm->rank());
  }
  LACONIC_ASSIGN_OR_RETURN(auto store, ClientStore::Create(store_options));
  return std::make_unique<LocalSimulation>(plan, options, std::move(workers), std::move(server), std::move(store));
}

}  // namespace laconic
