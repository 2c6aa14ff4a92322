// A federated run on one machine, or on the ranks of one MPI job: clients one after the other on a few threads, bytes
// counted as the codecs write them, time on a simulated clock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/comm/communicator.h"
#include "laconic/optim/federated/client_store.h"
#include "laconic/optim/federated/federation.h"
#include "laconic/optim/federated/network_model.h"

namespace laconic {

struct SimulationOptions {
  int threads = 1;                      // -j
  std::optional<NetworkModel> network;  // none: simulated seconds stay 0
  double deadline_seconds = 0;          // clients slower than that on the simulated clock do not count; 0: none
  double failure_rate = 0;   // the share of sampled clients that vanish before they send, drawn from the seed
  ClientStoreOptions store;  // clients, vectors and elements are filled in; with ranks, "/rank-<r>" after the folder
  Communicator* comm = nullptr;  // ranks that share the clients' work; null: this process alone
};

struct SimulatedRound {
  uint64_t round = 0;
  uint32_t sampled = 0, counted = 0;  // asked, and those whose update took part; of the others
  uint32_t failed = 0, late = 0;      // vanished, and came after the deadline
  double loss = 0;                    // mean over the counted of their minibatches' losses
  // Over all clients of the round: failed ones sent nothing, late ones all of it.
  uint64_t uplink_bytes = 0, downlink_bytes = 0;
  double seconds = 0;  // simulated, of this round: its slowest client's, or the deadline where the server waited for it
};

// Same bits for any number of threads and ranks. One thread at a time.
//
// Client i's vectors lie with rank i mod ranks, which does its work; updates go to all ranks, which each close the
// round on the same bytes. Threads of a rank take its clients as they come.
class Simulation {
 public:
  // make_objective: called once for each worker, options.threads of them.
  using MakeObjective = std::function<absl::StatusOr<std::unique_ptr<LocalObjective>>()>;
  static absl::StatusOr<std::unique_ptr<Simulation>> Create(
      const FederatedPlan& plan, const SimulationOptions& options, const MakeObjective& make_objective,
      std::span<const FederatedMethodInfo> methods = BuiltInFederatedMethods(),
      const CodecRegistry& registry = CodecRegistry::BuiltIn());
  virtual ~Simulation() = default;

  // Collective over the ranks of options.comm. A round in which nobody's update counts leaves the model as it is and is
  // reported so. The first error is final: every later Step gives it again.
  virtual absl::StatusOr<SimulatedRound> Step() = 0;

  virtual uint64_t round() const = 0;  // done so far
  virtual std::span<const float> model() const = 0;
  virtual const FederatedServer& server() const = 0;
  virtual const ClientStore& store() const = 0;  // of this rank's clients
  // XXH3-64 of the model, the server's vectors and all clients' vectors. Collective.
  virtual absl::StatusOr<uint64_t> Hash() const = 0;

  // Everything that lasts: <folder>/server.safetensors, and the store's checkpoint in options.store.folder, which is
  // needed where the method keeps vectors for clients. On a crash at any moment the checkpoint before is whole.
  // Collective; rank 0 writes the server's part. Load: as many ranks as saved.
  virtual absl::Status SaveCheckpoint(const std::string& folder) = 0;
  virtual absl::Status LoadCheckpoint(const std::string& folder) = 0;
};

}  // namespace laconic
