#include <algorithm>
#include <cmath>
#include <utility>

#include "fmt/format.h"
#include "laconic/base/aligned.h"
#include "laconic/base/status.h"
#include "laconic/optim/federated/federation.h"
#include "optim/federated/downlink.h"
#include "optim/federated/plan_parts.h"

namespace laconic {
namespace {

using internal::Downlink;
using internal::PlanParts;

class Server final : public FederatedServer {
 public:
  Server(const FederatedPlan& plan, PlanParts parts, std::span<const Parameter> parameters)
      : plan_(plan),
        parts_(std::move(parts)),
        parameters_(parameters.begin(), parameters.end()),
        model_(parts_.uplink.elements()),
        mean_(parts_.uplink.elements()),
        vectors_(parts_.method->server_vectors().size()),
        downlink_(plan.seed, parts_.plain, parts_.downlink, parts_.broadcast_vectors()) {
    size_t first = 0;
    for (Parameter& parameter : parameters_) {
      const std::span<float> own = std::span(model_).subspan(first, parameter.shape.elements());
      std::copy(parameter.weights.begin(), parameter.weights.end(), own.begin());
      parameter.weights = own;
      parameter.gradient = std::span(mean_).subspan(first, own.size());
      first += own.size();
    }
    for (AlignedVector<float>& vector : vectors_) {
      vector.resize(model_.size());
      vector_views_.push_back(vector);
    }
    broadcast_views_.push_back(model_);
    for (size_t v = 0; v < parts_.method->broadcast_vectors(); ++v) broadcast_views_.push_back(vectors_[v]);
  }

  absl::Status Start() {
    LACONIC_ASSIGN_OR_RETURN(optimizer_, MakeOptimizer(plan_.server_optimizer, parameters_));
    downlink_.Open(round_, broadcast_views_);
    return absl::OkStatus();
  }

  uint64_t round() const override { return round_; }
  std::span<const float> model() const override { return model_; }
  std::span<const std::span<float>> vectors() const override { return vector_views_; }
  const FederatedMethod& method() const override { return *parts_.method; }
  const FederatedPlan& plan() const override { return plan_; }
  const VectorCodec& uplink() const override { return parts_.uplink; }
  const VectorCodec& downlink() const override { return parts_.downlink; }

  absl::StatusOr<std::span<const std::byte>> Broadcast(uint64_t known) override {
    auto bytes = downlink_.Broadcast(known, broadcast_views_);
    if (bytes.ok()) return bytes;
    return absl::FailedPreconditionError(
        fmt::format("round {} has no broadcast, the run has diverged: {}", round_, bytes.status().ToString()));
  }
  size_t BroadcastBytes(uint64_t known) const override { return downlink_.BroadcastBytes(known); }

  absl::Status Check(const ClientUpdate& update) const override {
    LACONIC_RETURN_IF_ERROR(CheckNumbers(update));
    checked_.assign(model_.size(), 0.0f);
    LACONIC_RETURN_IF_ERROR(parts_.uplink.DecodeAdd(update.bytes, OriginOf(update), 1.0f, checked_));
    if (plan_.max_norm == 0) return absl::OkStatus();
    double squares = 0;
    for (const float x : checked_) squares += static_cast<double>(x) * x;
    if (const double norm = std::sqrt(squares); norm > plan_.max_norm) {
      return absl::InvalidArgumentError(
          fmt::format("update of client {} for round {} has norm {:.6g}, at most {} allowed", update.client,
                      update.round, norm, FormatNumber(plan_.max_norm)));
    }
    return absl::OkStatus();
  }

  // Only what lies in mean_ is written before all updates have shown themselves to be right.
  absl::Status Close(std::span<const ClientUpdate> updates) override {
    LACONIC_RETURN_IF_ERROR(Average(updates));
    if (!updates.empty()) {
      ServerRound round{.round = round_,
                        .participation = static_cast<double>(updates.size()) / plan_.clients,
                        .mean_to_direction = mean_,
                        .state = vector_views_};
      parts_.method->Update(round);
      Step();
    }
    downlink_.Open(++round_, broadcast_views_);
    return absl::OkStatus();
  }

  void Save(StateWriter& out) const override {
    out.Text("plan", plan_.ToString());
    out.U64("round", round_);
    out.Floats("model", model_);
    const std::vector<std::string> names = parts_.method->server_vectors();
    for (size_t v = 0; v < names.size(); ++v) out.Floats("vectors/" + names[v], vectors_[v]);
    StateWriter optimizer = out.Scope("optimizer");
    optimizer_->Save(optimizer);
    StateWriter downlink = out.Scope("downlink");
    downlink_.Save(downlink);
  }

  absl::Status Load(const StateReader& in) override {
    LACONIC_ASSIGN_OR_RETURN(const std::string plan, in.Text("plan"));
    if (plan != plan_.ToString()) {
      return absl::FailedPreconditionError(fmt::format("saved by a run of {}; this is {}", plan, plan_.ToString()));
    }
    LACONIC_ASSIGN_OR_RETURN(const uint64_t round, in.U64("round"));
    AlignedVector<float> model(model_.size());
    LACONIC_RETURN_IF_ERROR(in.Floats("model", model));
    const std::vector<std::string> names = parts_.method->server_vectors();
    std::vector<AlignedVector<float>> vectors(names.size(), AlignedVector<float>(model_.size()));
    for (size_t v = 0; v < names.size(); ++v) {
      LACONIC_RETURN_IF_ERROR(in.Floats("vectors/" + names[v], vectors[v]));
    }
    LACONIC_ASSIGN_OR_RETURN(auto optimizer, MakeOptimizer(plan_.server_optimizer, parameters_));
    LACONIC_RETURN_IF_ERROR(optimizer->Load(in.Scope("optimizer")));
    LACONIC_RETURN_IF_ERROR(downlink_.Load(in.Scope("downlink"), round));

    // In place: views of these are everywhere.
    round_ = round;
    std::copy(model.begin(), model.end(), model_.begin());
    for (size_t v = 0; v < names.size(); ++v) std::copy(vectors[v].begin(), vectors[v].end(), vectors_[v].begin());
    optimizer_ = std::move(optimizer);
    return absl::OkStatus();
  }

 private:
  VectorCodec::Origin OriginOf(const ClientUpdate& update) const {
    return {.seed = plan_.seed, .round = update.round, .sender = update.client};
  }

  absl::Status CheckNumbers(const ClientUpdate& update) const {
    if (update.client < plan_.clients && update.round <= round_) return absl::OkStatus();
    return absl::InvalidArgumentError(
        fmt::format("update of client {} for round {}: there are {} clients, round {} is open", update.client,
                    update.round, plan_.clients, round_));
  }

  // mean_ <- mean of what the updates decode to: summed by client, each share rounded, so the bits do not depend on who
  // came first.
  absl::Status Average(std::span<const ClientUpdate> updates) {
    std::fill(mean_.begin(), mean_.end(), 0.0f);
    const float share = 1.0f / static_cast<float>(updates.size());
    for (size_t i = 0; i < updates.size(); ++i) {
      LACONIC_RETURN_IF_ERROR(plan_.max_norm == 0 ? CheckNumbers(updates[i]) : Check(updates[i]));
      if (i > 0 && updates[i].client <= updates[i - 1].client) {
        return absl::InvalidArgumentError(fmt::format("client {} after client {}: updates come in ascending order",
                                                      updates[i].client, updates[i - 1].client));
      }
      LACONIC_RETURN_IF_ERROR(parts_.uplink.DecodeAdd(updates[i].bytes, OriginOf(updates[i]), share, mean_));
    }
    return absl::OkStatus();
  }

  // x <- x - eta_g eta_l K d, for the optimizer sgd.
  void Step() {
    const float way = static_cast<float>(plan_.work.learning_rate * plan_.work.steps);
    for (float& direction : mean_) direction *= way;
    const StepContext step{.step = round_, .learning_rate = plan_.server_learning_rate};
    for (uint32_t t = 0; t < parameters_.size(); ++t) {
      optimizer_->Step(TensorId{t}, parameters_[t].gradient, step, parameters_[t].weights);
    }
  }

  const FederatedPlan plan_;
  const PlanParts parts_;
  std::vector<Parameter> parameters_;  // views of model_ and mean_
  AlignedVector<float> model_, mean_;
  std::vector<AlignedVector<float>> vectors_;
  std::vector<std::span<float>> vector_views_;
  std::vector<std::span<const float>> broadcast_views_;  // the model and the first vectors
  Downlink downlink_;
  std::unique_ptr<Optimizer> optimizer_;
  uint64_t round_ = 0;
  mutable AlignedVector<float> checked_;  // Check's work memory
};

}  // namespace

absl::StatusOr<std::unique_ptr<FederatedServer>> FederatedServer::Create(const FederatedPlan& plan,
                                                                         std::span<const Parameter> parameters,
                                                                         std::span<const FederatedMethodInfo> methods,
                                                                         const CodecRegistry& registry) {
  LACONIC_ASSIGN_OR_RETURN(PlanParts parts, internal::MakePlanParts(plan, parameters, methods, registry));
  auto server = std::make_unique<Server>(plan, std::move(parts), parameters);
  LACONIC_RETURN_IF_ERROR(server->Start());
  return server;
}

}  // namespace laconic
