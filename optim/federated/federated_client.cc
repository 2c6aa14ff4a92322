#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "laconic/base/aligned.h"
#include "laconic/base/status.h"
#include "laconic/optim/federated/federation.h"
#include "optim/federated/broadcast.h"
#include "optim/federated/plan_parts.h"

namespace laconic {
namespace {

using internal::PlanParts;

class Client final : public FederatedClient {
 public:
  Client(const FederatedPlan& plan, PlanParts parts, LocalObjective* objective)
      : plan_(plan), parts_(std::move(parts)), message_(parts_.uplink.MaxBytes()) {
    const size_t elements = parts_.uplink.elements();
    for (AlignedVector<float>* vector : {&gradient_, &message_vector_, &sent_}) vector->resize(elements);
    for (auto* set : {&known_vectors_, &received_vectors_}) {
      set->resize(parts_.broadcast_vectors(), AlignedVector<float>(elements));
    }
    round_.objective = objective;
    round_.work = plan.work;
    round_.gradient = gradient_;
    round_.message = message_vector_;
  }

  const FederatedMethod& method() const override { return *parts_.method; }
  uint64_t known() const override { return known_; }
  std::span<const float> model() const override { return known_vectors_.front(); }

  absl::Status Receive(uint64_t round, std::span<const std::byte> broadcast) override {
    received_views_.clear();
    for (size_t v = 0; v < known_vectors_.size(); ++v) {
      std::copy(known_vectors_[v].begin(), known_vectors_[v].end(), received_vectors_[v].begin());
      received_views_.push_back(received_vectors_[v]);
    }
    LACONIC_RETURN_IF_ERROR(
        internal::ApplyBroadcast(broadcast, round, known_, plan_.seed, parts_.plain, parts_.downlink, received_views_));
    std::swap(known_vectors_, received_vectors_);
    known_ = round + 1;
    return absl::OkStatus();
  }

  absl::StatusOr<Result> Run(uint32_t client, std::span<const std::span<float>> state) override {
    if (known_ == 0) return absl::FailedPreconditionError("a client runs after the first broadcast");
    round_.client = client;
    round_.round = known_ - 1;
    round_.model = known_vectors_.front();
    broadcast_views_.assign(known_vectors_.begin() + 1, known_vectors_.end());
    round_.broadcast = broadcast_views_;
    round_.state = state;
    LACONIC_RETURN_IF_ERROR(parts_.method->Prepare(round_));
    const VectorCodec::Origin origin{.seed = plan_.seed, .round = round_.round, .sender = client};
    const std::span<float> sent = state.empty() ? std::span<float>() : std::span<float>(sent_);
    const absl::StatusOr<size_t> bytes = parts_.uplink.Encode(message_vector_, origin, message_, sent);
    if (!bytes.ok()) return Annotate(bytes.status(), fmt::format("client {}, round {}", client, round_.round));
    return Result{.bytes = std::span<const std::byte>(message_).first(*bytes), .loss = round_.loss};
  }

  void Commit(std::span<const std::span<float>> state) override {
    round_.state = state;
    parts_.method->Commit(round_, state.empty() ? std::span<const float>() : sent_);
  }

  void Save(StateWriter& out) const override {
    out.U64("known", known_);
    for (size_t v = 0; v < known_vectors_.size(); ++v) out.Floats(fmt::format("vector/{}", v), known_vectors_[v]);
  }

  absl::Status Load(const StateReader& in) override {
    LACONIC_ASSIGN_OR_RETURN(const uint64_t known, in.U64("known"));
    for (size_t v = 0; v < received_vectors_.size(); ++v) {
      LACONIC_RETURN_IF_ERROR(in.Floats(fmt::format("vector/{}", v), std::span<float>(received_vectors_[v])));
    }
    std::swap(known_vectors_, received_vectors_);
    known_ = known;
    return absl::OkStatus();
  }

 private:
  const FederatedPlan plan_;
  const PlanParts parts_;
  uint64_t known_ = 0;
  std::vector<AlignedVector<float>> known_vectors_;     // the model and what the method broadcasts
  std::vector<AlignedVector<float>> received_vectors_;  // where a broadcast is taken in until it is known to be right
  std::vector<std::span<float>> received_views_;
  std::vector<std::span<const float>> broadcast_views_;
  AlignedVector<float> gradient_, message_vector_, sent_;
  std::vector<std::byte> message_;
  ClientRound round_;  // from Run to Commit
};

}  // namespace

absl::StatusOr<std::unique_ptr<FederatedClient>> FederatedClient::Create(const FederatedPlan& plan,
                                                                         LocalObjective* objective,
                                                                         std::span<const FederatedMethodInfo> methods,
                                                                         const CodecRegistry& registry) {
  LACONIC_ASSIGN_OR_RETURN(PlanParts parts, internal::MakePlanParts(plan, objective->parameters(), methods, registry));
  return std::make_unique<Client>(plan, std::move(parts), objective);
}

}  // namespace laconic
