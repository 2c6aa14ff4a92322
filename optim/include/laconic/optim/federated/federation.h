// The two sides of a federated run as objects without a network: bytes in, bytes out. The simulation and the parameter
// server drive the same ones, so a run of either gives the same model, bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/base/state.h"
#include "laconic/compressors/codec_registry.h"
#include "laconic/optim/federated/method.h"
#include "laconic/optim/federated/vector_codec.h"
#include "laconic/optim/optimizer.h"

namespace laconic {

// What server and clients must agree on. A value.
struct FederatedPlan {
  std::string method = "fedavg";
  std::string uplink = "identity";    // a codec or rules, VectorCodec
  std::string downlink = "identity";  // another: differences to what clients know, under the server's own error control
  LocalWork work;
  double server_learning_rate = 1;       // eta_g
  std::string server_optimizer = "sgd";  // of optimizer.h; "sgd(momentum=0.9, nesterov=true)" is DiLoCo's outer step
  uint32_t clients = 1;                  // N
  uint32_t sampled = 1;                  // S <= N a round
  uint64_t seed = 0;
  size_t min_elements = 0;  // smaller tensors are not compressed
  double max_norm = 0;      // of an update, in units of gradients: a larger one is refused; 0: any finite one is taken

  std::string ToString() const;  // all of it on one line: equal texts, equal plans
};

// S of N clients, ascending, without replacement, uniformly at random: a pure function of (seed, round).
std::vector<uint32_t> SampleClients(uint64_t seed, uint64_t round, uint32_t clients, uint32_t sampled);

// What one client sent in one round: the one that closes, or of workers that may lag behind (RoundRules::staleness) one
// before it.
struct ClientUpdate {
  uint32_t client = 0;
  uint64_t round = 0;
  std::span<const std::byte> bytes;
};

// The server's side: the model x, the method's server vectors, the downlink's state. One thread at a time.
//
// At the end of a round x <- optimizer step along eta_l K d at the rate eta_g, for the method's direction d: with "sgd"
// that is x - eta_g eta_l K d.
//
// A downlink other than the identity carries differences: clients know w, which lags x by what compression has not said
// yet; the open round's message is C(x - w), and w moves by what it decodes to. So the error needs no memory besides w
// (EF21-P: Gruntkowska, Tyurin, Richtarik 2022, arXiv 2209.15218). The same for each vector that is broadcast. What
// clients know of round 0 is x itself.
class FederatedServer {
 public:
  // parameters: names and shapes, and the weights to start from (copied). InvalidArgument, with column where it is a
  // spec's, for a plan that names what there is not or pairs method and codec that do not fit.
  static absl::StatusOr<std::unique_ptr<FederatedServer>> Create(
      const FederatedPlan& plan, std::span<const Parameter> parameters,
      std::span<const FederatedMethodInfo> methods = BuiltInFederatedMethods(),
      const CodecRegistry& registry = CodecRegistry::BuiltIn());
  virtual ~FederatedServer() = default;

  virtual uint64_t round() const = 0;  // the one that is open; 0 at first
  virtual std::span<const float> model() const = 0;
  // The method's server vectors, by the names of method().server_vectors().
  virtual std::span<const std::span<float>> vectors() const = 0;
  virtual const FederatedMethod& method() const = 0;
  virtual const FederatedPlan& plan() const = 0;
  virtual const VectorCodec& uplink() const = 0;
  virtual const VectorCodec& downlink() const = 0;

  // What a client needs to take part in the open round, when it last received the broadcast of round `known - 1` (0:
  // nothing yet). Model and vectors as they are where the downlink is the identity; else the messages it missed, or,
  // where those are longer, what they sum up to. Valid until the next call of this or Close. FailedPrecondition naming
  // tensor and element where the model is no longer finite.
  virtual absl::StatusOr<std::span<const std::byte>> Broadcast(uint64_t known) = 0;
  // Its length.
  virtual size_t BroadcastBytes(uint64_t known) const = 0;

  // Whether `update` may take part in the open round, entirely checked and without effect. DataLoss naming client,
  // tensor and fault; InvalidArgument for a client >= plan().clients, a round that is not open yet, or a norm
  // above plan().max_norm.
  virtual absl::Status Check(const ClientUpdate& update) const = 0;

  // Ends the open round: the mean over `updates` (strictly ascending by client), the method's Update, the step of the
  // model. Without any update all stays as it is. The next round is open then. On error nothing has changed.
  virtual absl::Status Close(std::span<const ClientUpdate> updates) = 0;

  // Everything that lasts. Load: bit for bit where Save was; FailedPrecondition giving both plans where it was saved
  // under another; on error nothing has changed.
  virtual void Save(StateWriter& out) const = 0;
  virtual absl::Status Load(const StateReader& in) = 0;
};

// The clients' side: one worker, which runs rounds of any client whose data its objective has. One thread at a time.
class FederatedClient {
 public:
  // objective: must outlive it; its parameters name the model's tensors.
  static absl::StatusOr<std::unique_ptr<FederatedClient>> Create(
      const FederatedPlan& plan, LocalObjective* objective,
      std::span<const FederatedMethodInfo> methods = BuiltInFederatedMethods(),
      const CodecRegistry& registry = CodecRegistry::BuiltIn());
  virtual ~FederatedClient() = default;

  virtual const FederatedMethod& method() const = 0;

  // Takes in a broadcast: model and vectors as this worker then knows them. `known()` is what Broadcast wants next: one
  // more than the round received last, 0 at first. DataLoss for what is no broadcast of `round` that follows on
  // known(); then nothing has changed.
  virtual absl::Status Receive(uint64_t round, std::span<const std::byte> broadcast) = 0;
  virtual uint64_t known() const = 0;
  // The model received last.
  virtual std::span<const float> model() const = 0;

  // One round of one client, at the model received last: local steps, message, bytes. `state`
  // (method().client_vectors() of d floats) is read and not written; Commit, after the server has taken the bytes,
  // writes what it becomes. A Run that is not committed leaves no trace. Bytes are valid until the next Run.
  // FailedPrecondition before the first Receive.
  struct Result {
    std::span<const std::byte> bytes;
    double loss = 0;
  };
  virtual absl::StatusOr<Result> Run(uint32_t client, std::span<const std::span<float>> state) = 0;
  virtual void Commit(std::span<const std::span<float>> state) = 0;

  virtual void Save(StateWriter& out) const = 0;  // what Receive left
  virtual absl::Status Load(const StateReader& in) = 0;
};

}  // namespace laconic
