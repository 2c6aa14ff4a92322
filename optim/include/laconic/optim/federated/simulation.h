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
  double failure_rate = 0;       // the share of sampled clients that vanish before they send, drawn from the seed
  ClientStoreOptions store;      // clients, vectors and elements are filled in
  Communicator* comm = nullptr;  // ranks that share the clients' work; null: this process alone
};

struct SimulatedRound {
  uint64_t round = 0;
  uint32_t sampled = 0, counted = 0;              // asked, and those whose update took part
  double loss = 0;                                // mean over the counted of their minibatches' losses
  uint64_t uplink_bytes = 0, downlink_bytes = 0;  // over all clients of the round
  double seconds = 0;                             // simulated, of this round: its slowest client's, or the deadline
};

// Same bits for any number of threads and ranks. One thread at a time.
class Simulation {
 public:
  // make_objective: called once for each worker.
  using MakeObjective = std::function<absl::StatusOr<std::unique_ptr<LocalObjective>>()>;
  static absl::StatusOr<std::unique_ptr<Simulation>> Create(
      const FederatedPlan& plan, const SimulationOptions& options, const MakeObjective& make_objective,
      std::span<const FederatedMethodInfo> methods = BuiltInFederatedMethods());
  virtual ~Simulation() = default;

  // Collective over the ranks of options.comm. A round in which nobody's update counts leaves the model as it is and is
  // reported so.
  virtual absl::StatusOr<SimulatedRound> Step() = 0;

  virtual uint64_t round() const = 0;  // done so far
  virtual std::span<const float> model() const = 0;
  virtual const ClientStore& store() const = 0;
  // XXH3-64 of the model, the server's vectors and all clients' vectors.
  virtual uint64_t Hash() const = 0;

  // Everything that lasts: <folder>/server.safetensors, and the store's checkpoint. On a crash at any moment the
  // checkpoint before is whole. Collective; rank 0 writes the server's part.
  virtual absl::Status SaveCheckpoint(const std::string& folder) = 0;
  virtual absl::Status LoadCheckpoint(const std::string& folder) = 0;
};

}  // namespace laconic
