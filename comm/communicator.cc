#include "laconic/comm/communicator.h"

#include <fmt/core.h>

#include <algorithm>
#include <memory>

#include "laconic/base/status.h"
#include "laconic/comm/collectives/primitives.h"

namespace laconic {
namespace {

constexpr size_t kWorkspaceAlignment = 64;

// "rank 1, step 12, tensor fc1.weight, gather bodies"; "rank 1" outside of any phase.
std::string Where(int rank, const Phase& phase) {
  std::string where = fmt::format("rank {}", rank);
  if (phase.name.empty()) return where;
  where += fmt::format(", step {}", phase.step);
  if (!phase.tensor.empty()) where += fmt::format(", tensor {}", phase.tensor);
  return where += fmt::format(", {}", phase.name);
}

}  // namespace

Communicator::Communicator(std::unique_ptr<Transport> transport, const CommunicatorOptions& options)
    : transport_(std::move(transport)), options_(options), host_(transport_->host()) {}

absl::Status Communicator::status() const {
  std::lock_guard lock(mutex_);
  return poison_;
}

absl::Status Communicator::Poison(const absl::Status& status) {
  std::lock_guard lock(mutex_);
  if (poison_.ok()) poison_ = status;
  return poison_;
}

void Communicator::Abort(const absl::Status& why) noexcept {
  transport_->Abort(Poison(why.ok() ? absl::AbortedError("no reason given") : why));
}

absl::Status Communicator::Exchange(std::span<const Outgoing> sends, std::span<const Incoming> receives) {
  LACONIC_RETURN_IF_ERROR(status());
  for (const Outgoing& send : sends) traffic_.bytes_sent += send.bytes.size();
  traffic_.messages_sent += sends.size();
  LACONIC_RETURN_IF_ERROR(
      UnderDeadline([&](const ExchangeOptions& options) { return transport_->Exchange(sends, receives, options); }));
  for (const Incoming& receive : receives) traffic_.bytes_received += receive.bytes.size();
  return absl::OkStatus();
}

absl::Status Communicator::Meet(std::span<std::byte> own, size_t pieces, SharedMemory::Work work, size_t moved_bytes) {
  LACONIC_RETURN_IF_ERROR(status());
  LACONIC_RETURN_IF_ERROR(UnderDeadline(
      [&](const ExchangeOptions& options) { return transport_->shared_memory()->Meet(own, pieces, work, options); }));
  traffic_.bytes_sent += moved_bytes;
  traffic_.bytes_received += moved_bytes;
  return absl::OkStatus();
}

absl::Status Communicator::UnderDeadline(absl::FunctionRef<absl::Status(const ExchangeOptions&)> call) {
  ++traffic_.exchanges;
  const absl::Time start = absl::Now();
  const absl::Status result = call({.deadline = start + options_.timeout});
  traffic_.waiting += absl::Now() - start;
  return result.ok() ? result : Poison(Annotate(result, Where(rank(), phase_)));
}

ExchangeBatch& Communicator::NewBatch() {
  batch_.sends.clear();
  batch_.receives.clear();
  return batch_;
}

absl::StatusOr<std::unique_ptr<Communicator>> Communicator::Duplicate() {
  LACONIC_RETURN_IF_ERROR(
      Barrier(*this));  // whoever is missing is named at the deadline; making the transport has none
  LACONIC_ASSIGN_OR_RETURN(std::unique_ptr<Transport> transport, transport_->Duplicate());
  return std::make_unique<Communicator>(std::move(transport), options_);
}

absl::StatusOr<std::unique_ptr<Communicator>> Communicator::Split(int color, int key) {
  struct Choice {
    int32_t color;
    int32_t key;
  };
  const Choice own{color, key};
  std::vector<Choice> choices(size());
  LACONIC_RETURN_IF_ERROR(
      Allgather(*this, std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(choices))));
  if (color < 0) return nullptr;

  std::vector<int> members;
  for (int other = 0; other < size(); ++other) {
    if (choices[other].color == color) members.push_back(other);
  }
  std::stable_sort(members.begin(), members.end(), [&](int a, int b) { return choices[a].key < choices[b].key; });
  LACONIC_ASSIGN_OR_RETURN(std::unique_ptr<Transport> transport, transport_->Subgroup(members));
  return std::make_unique<Communicator>(std::move(transport), options_);
}

std::span<std::byte> Communicator::Workspace(size_t bytes) {
  if (workspace_.size() < bytes + kWorkspaceAlignment) workspace_.resize(bytes + kWorkspaceAlignment);
  void* begin = workspace_.data();
  size_t space = workspace_.size();
  return {static_cast<std::byte*>(std::align(kWorkspaceAlignment, bytes, begin, space)), bytes};
}

}  // namespace laconic
