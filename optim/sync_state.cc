#include "optim/sync_state.h"

#include <vector>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/dense.h"

namespace laconic {
namespace {

// Mean over the old ranks that kept entry `name`, each element summed in double and rounded once; empty if none did.
absl::StatusOr<std::vector<float>> MeanOf(std::span<const StateReader> slots, std::string_view name, size_t elements) {
  std::vector<double> sum;
  int kept = 0;
  for (const StateReader& in : slots) {
    LACONIC_ASSIGN_OR_RETURN(const uint64_t follows, in.U64("follows"));
    const StateReader control = in.Scope("control");
    if (follows != 0 || !control.Has(name)) continue;
    LACONIC_ASSIGN_OR_RETURN(const std::span<const float> values, control.Floats(name));
    if (values.size() != elements) {
      return absl::DataLossError(
          fmt::format("{}{} has {} elements, expected {}", control.prefix(), name, values.size(), elements));
    }
    sum.resize(elements);
    for (size_t i = 0; i < elements; ++i) sum[i] += values[i];
    ++kept;
  }
  std::vector<float> mean(sum.size());
  for (size_t i = 0; i < sum.size(); ++i) mean[i] = static_cast<float>(sum[i] / kept);
  return mean;
}

// What the owners of all old shards kept as `name`, laid together; empty if they kept none.
absl::StatusOr<std::vector<float>> OwnersEntry(std::span<const StateReader> slots, std::string_view name,
                                               size_t elements) {
  std::vector<float> whole;
  for (const StateReader& in : slots) {
    const StateReader owner = in.Scope("owner");
    if (!owner.Has(name)) continue;
    LACONIC_ASSIGN_OR_RETURN(const std::span<const float> shard, owner.Floats(name));
    LACONIC_ASSIGN_OR_RETURN(const uint64_t begin, in.U64("owner_begin"));
    if (begin > elements || shard.size() > elements - begin) {
      return absl::DataLossError(fmt::format("{}{} covers [{}, {}) of {} elements", owner.prefix(), name, begin,
                                             begin + shard.size(), elements));
    }
    whole.resize(elements);
    std::copy(shard.begin(), shard.end(), whole.begin() + static_cast<ptrdiff_t>(begin));
  }
  return whole;
}

absl::Status LoadControls(const StateReader& in, GradientSlot& slot) {
  LACONIC_RETURN_IF_ERROR(slot.control.Load(in.Scope("control")));
  return slot.owner.options().keeps_error() ? slot.owner.Load(in.Scope("owner")) : absl::OkStatus();
}

}  // namespace

void SaveSlot(const GradientSlot& slot, std::string_view strategy, StateWriter& out) {
  out.Text("strategy", strategy);
  out.U64("follows", slot.follows ? 1 : 0);
  StateWriter control = out.Scope("control");
  slot.control.Save(control);
  if (slot.owner.options().keeps_error()) {
    out.U64("owner_begin", slot.owner_begin);
    StateWriter owner = out.Scope("owner");
    slot.owner.Save(owner);
  }
  if (slot.session != nullptr) {
    StateWriter session = out.Scope("session");
    slot.session->Save(session);
  }
}

absl::Status LoadSlot(const StateReader& in, std::string_view strategy, GradientSlot& slot) {
  LACONIC_ASSIGN_OR_RETURN(const std::string saved, in.Text("strategy"));
  if (saved != strategy) {
    return absl::FailedPreconditionError(
        fmt::format("tensor {} was saved under strategy {}, this run uses {}: name the strategy in the spec", slot.name,
                    saved, strategy));
  }
  LACONIC_RETURN_IF_ERROR(LoadControls(in, slot));
  return slot.session == nullptr ? absl::OkStatus() : slot.session->Load(in.Scope("session"));
}

absl::Status TakeOverSlot(const StateReader& in, GradientSlot& slot) {
  LACONIC_RETURN_IF_ERROR(LoadControls(in, slot));
  return slot.session == nullptr ? absl::OkStatus() : slot.session->TakeOver(in.Scope("session"));
}

absl::Status ReshardSlot(std::span<const StateReader> by_rank, int rank, int ranks, GradientSlot& slot) {
  const size_t elements = slot.shape.elements();
  std::vector<StateReader> slots;
  for (const StateReader& in : by_rank) slots.push_back(in.Scope("tensors").Scope(slot.name));
  LACONIC_ASSIGN_OR_RETURN(std::vector<float> error, MeanOf(slots, "error", elements));
  LACONIC_ASSIGN_OR_RETURN(const std::vector<float> shift, MeanOf(slots, "shift", elements));
  LACONIC_ASSIGN_OR_RETURN(const std::vector<float> shift_average, MeanOf(slots, "shift_average", elements));
  LACONIC_ASSIGN_OR_RETURN(const std::vector<float> momentum, MeanOf(slots, "momentum", elements));
  LACONIC_ASSIGN_OR_RETURN(const std::vector<float> owners, OwnersEntry(slots, "error", elements));
  LACONIC_ASSIGN_OR_RETURN(const std::vector<float> owners_momentum, OwnersEntry(slots, "momentum", elements));

  const bool has_owner = slot.owner.options().keeps_error();
  if (!owners.empty() && !has_owner) {
    error.resize(elements);
    for (size_t i = 0; i < elements; ++i) error[i] += owners[i];
  }
  StateArchive archive;
  StateWriter out(&archive);
  const ControlOptions& options = slot.control.options();
  const std::vector<float> zeros(elements);
  auto put = [&](std::string_view name, bool kept, const std::vector<float>& values) {
    if (kept) out.Floats(name, values.empty() ? std::span<const float>(zeros) : std::span<const float>(values));
  };
  put("error", options.keeps_error(), error);
  put("shift", options.keeps_shift(), shift);
  put("shift_average", options.keeps_shift_average(), shift_average);
  put("momentum", options.keeps_momentum(), momentum);
  LACONIC_RETURN_IF_ERROR(slot.control.Load(StateReader(&archive)));

  if (has_owner && !owners.empty()) {
    StateArchive owner;
    const auto shard = [&](const std::vector<float>& whole) {
      return std::span(whole.empty() ? zeros : whole).subspan(slot.owner_begin, slot.owner.elements());
    };
    StateWriter(&owner).Floats("error", shard(owners));
    if (slot.owner.options().keeps_momentum()) StateWriter(&owner).Floats("momentum", shard(owners_momentum));
    LACONIC_RETURN_IF_ERROR(slot.owner.Load(StateReader(&owner)));
  }
  if (slot.session == nullptr) return absl::OkStatus();
  return slot.session->Load(slots.front().Scope("session"));  // equal on all ranks that keep one; rank 0 always does
}

}  // namespace laconic
