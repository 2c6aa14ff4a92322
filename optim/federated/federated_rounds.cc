#include "laconic/optim/federated/federated_rounds.h"

#include <numeric>

#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

absl::Status CheckOpen(uint64_t round, const FederatedServer& server) {
  if (round == server.round()) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format("round {} is asked for, round {} is open", round, server.round()));
}

}  // namespace

std::vector<uint32_t> FederatedRounds::Participants(uint64_t round) const {
  const FederatedPlan& plan = server_->plan();
  if (invitation_ == Invitation::kSample) return SampleClients(plan.seed, round, plan.clients, plan.sampled);
  std::vector<uint32_t> all(plan.clients);
  std::iota(all.begin(), all.end(), 0u);
  return all;
}

absl::StatusOr<std::span<const std::byte>> FederatedRounds::Broadcast(uint64_t round, uint64_t known) {
  LACONIC_RETURN_IF_ERROR(CheckOpen(round, *server_));
  return server_->Broadcast(known);
}

absl::Status FederatedRounds::Check(const RoundUpdate& update) const {
  return server_->Check({.client = update.client, .round = update.round, .bytes = update.bytes});
}

absl::Status FederatedRounds::Close(uint64_t round, std::span<const RoundUpdate> updates) {
  LACONIC_RETURN_IF_ERROR(CheckOpen(round, *server_));
  updates_.clear();
  for (const RoundUpdate& update : updates) {
    updates_.push_back({.client = update.client, .round = update.round, .bytes = update.bytes});
  }
  LACONIC_RETURN_IF_ERROR(server_->Close(updates_));
  if (closed_) closed_(server_->round());
  return absl::OkStatus();
}

}  // namespace laconic
