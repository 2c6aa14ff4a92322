// A federated run, or data-parallel workers that take one step a round, as the work of a parameter server.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/comm/server/round_work.h"
#include "laconic/optim/federated/federation.h"

namespace laconic {

// Who is asked in each round.
enum class Invitation {
  kSample,    // SampleClients: federated rounds, and with sampled = clients synchronous workers
  kEveryone,  // all, whoever is done first: with RoundRules::enough and staleness, workers that do not wait
};

// FederatedServer behind a RoundMachine. One thread at a time.
class FederatedRounds final : public RoundWork {
 public:
  // server: must outlive it, and changes only through it.   closed: called after each close with the number of rounds
  // done; again for those that a restarted server makes again; may be empty.
  FederatedRounds(FederatedServer* server, Invitation invitation, std::function<void(uint64_t rounds)> closed = {})
      : server_(server), invitation_(invitation), closed_(std::move(closed)) {}

  std::vector<uint32_t> Participants(uint64_t round) const override;
  absl::StatusOr<std::span<const std::byte>> Broadcast(uint64_t round, uint64_t known) override;
  absl::Status Check(const RoundUpdate& update) const override;
  absl::Status Close(uint64_t round, std::span<const RoundUpdate> updates) override;
  void Save(StateWriter& out) const override { server_->Save(out); }
  absl::Status Load(const StateReader& in) override { return server_->Load(in); }

 private:
  FederatedServer* server_;
  Invitation invitation_;
  std::function<void(uint64_t)> closed_;
  std::vector<ClientUpdate> updates_;
};

}  // namespace laconic
