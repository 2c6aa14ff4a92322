// What a federated method is: what a client does between a broadcast and its message, and what the server makes of the
// mean of the messages. docs/how-to-add-a-federated-method.md adds one in one file.
//
// A round t, with N clients, S of them taking part, K local steps:
//   server    broadcasts the model x and the first broadcast_vectors() of its own vectors
//   client i  Prepare: local steps from x; leaves the message m_i. The framework encodes it; s_i is what the bytes
//             decode to.
//             Commit, once the server has taken the message: the client's vectors move.
//   server    Update: the mean of s_i over the S becomes the direction, the server's vectors move; then x moves along
//             the direction (federation.h).
// Everything is in units of gradients: a client that went from x to y sends (x - y) / (learning rate * K), not x - y.
// Most methods are the recurrence of compressors/recurrence.h between a rule for the local steps and one for the
// server.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/compressors/compressor.h"
#include "laconic/compressors/spec.h"
#include "laconic/optim/federated/objective.h"

namespace laconic {

struct LocalWork {
  uint32_t steps = 10;         // K >= 1
  double learning_rate = 0.1;  // eta_l > 0
};

// One client in one round. Views of memory that the framework owns; each holds d floats.
struct ClientRound {
  uint32_t client = 0;
  uint64_t round = 0;
  LocalWork work;
  LocalObjective* objective = nullptr;
  std::span<const float> model;                       // x, as this client received it
  std::span<const std::span<const float>> broadcast;  // the server's vectors, broadcast_vectors() of them
  std::span<const std::span<float>> state;  // this client's, client_vectors() of them; Commit alone writes them
  std::span<float> gradient;                // work memory that lasts from Prepare to Commit
  std::span<float> message;                 // m_i: Prepare writes it
  double loss = 0;                          // Prepare: mean of the minibatches' losses
};

// The server at the end of a round.
struct ServerRound {
  uint64_t round = 0;
  double participation = 1;                 // S / N
  std::span<float> mean_to_direction;       // in: mean of s_i over those who took part; out: the direction
  std::span<const std::span<float>> state;  // server_vectors() of them
};

// Const and stateless: all state lies in the vectors, which start at zero. Thread-safe.
class FederatedMethod {
 public:
  virtual ~FederatedMethod() = default;

  virtual std::string ToString() const = 0;  // canonical spec, defaults written out: "scallion(alpha=0.1)"
  // The names of what every client, and the server, keeps besides the model: "shift", "error", "momentum".
  virtual std::vector<std::string> client_vectors() const { return {}; }
  virtual std::vector<std::string> server_vectors() const { return {}; }
  // How many of server_vectors(), from the first, clients need in every round.
  virtual size_t broadcast_vectors() const { return 0; }

  virtual absl::Status Prepare(ClientRound& round) const = 0;
  virtual void Commit(ClientRound& round, std::span<const float> sent) const {}
  virtual void Update(ServerRound& round) const {}
};

// round.work.steps steps y <- y - learning_rate * (grad F_i(y; minibatch) + correction) from x, each minibatch named by
// (client, round, step). Leaves the mean of all that was stepped along in round.gradient, which is (x - y) /
// (learning_rate * steps) without that difference's rounding, and the mean loss in round.loss.
//   correction: d floats, or empty; not round.gradient.   proximity mu: adds mu * (y - x) to each gradient (FedProx).
// Errors: the objective's; InvalidArgument naming client, round and step where the loss or y is not finite.
struct LocalSteps {
  std::span<const float> correction = {};
  double proximity = 0;
};
absl::Status TakeLocalSteps(ClientRound& round, const LocalSteps& options);

// A named method, as help texts and the README show it.
struct FederatedMethodInfo {
  std::string name;
  std::string summary;
  std::string source;
  std::string needs;         // of the codec: "any", "unbiased", "contractive"
  std::string client_keeps;  // "c_i, v_i": d floats each
  std::string server_keeps;
  std::string broadcast;  // "x, c"
  std::vector<ParameterInfo> parameters;
  // codec: what clients encode with; traits: its claims on the model, the weakest over the tensors. InvalidArgument
  // with the reason, and what to use instead, where the method cannot take it.
  absl::StatusOr<std::unique_ptr<FederatedMethod>> (*make)(const SpecCall& call, const Traits& traits,
                                                           std::string_view codec) = nullptr;
};
// fedavg, fedprox, fedpaq, scaffold, scallion, scafcom, fed-ef, ef21, ef21-sgdm, econtrol, diana.
std::span<const FederatedMethodInfo> BuiltInFederatedMethods();

// The method of a spec, "scallion(alpha=0.1)", among `methods`. InvalidArgument with column for an unknown name (lists
// the known), key or value.
absl::StatusOr<std::unique_ptr<FederatedMethod>> MakeFederatedMethod(
    std::string_view spec, const Traits& traits, std::string_view codec,
    std::span<const FederatedMethodInfo> methods = BuiltInFederatedMethods());

}  // namespace laconic
