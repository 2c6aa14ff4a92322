#include "optim/federated/round_exchange.h"

#include <cassert>
#include <cstring>
#include <span>

#include "fmt/format.h"
#include "laconic/base/byte_io.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/primitives.h"

namespace laconic::internal {
namespace {

// What goes over of a slot besides its update.
struct SlotRecord {
  uint64_t update_bytes = 0;
  double loss = 0;
  double seconds = 0;
  uint64_t fate = 0;
};

}  // namespace

absl::Status ExchangeSlots(Communicator& comm, std::vector<RoundSlot>& slots) {
  const auto ranks = static_cast<size_t>(comm.size()), own_rank = static_cast<size_t>(comm.rank());
  const auto owner = [&](const RoundSlot& slot) { return slot.client % ranks; };

  // Records of all slots, by rank; those of a rank's own are filled in.
  std::vector<SlotRecord> records(slots.size()), all(slots.size() * ranks);
  for (size_t i = 0; i < slots.size(); ++i) {
    if (owner(slots[i]) != own_rank) continue;
    records[i] = {.update_bytes = slots[i].update.size(),
                  .loss = slots[i].loss,
                  .seconds = slots[i].seconds,
                  .fate = static_cast<uint64_t>(slots[i].fate)};
  }
  LACONIC_RETURN_IF_ERROR(Allgather(comm, std::as_bytes(std::span(records)), std::as_writable_bytes(std::span(all))));

  std::vector<std::vector<std::byte>> updates(ranks);  // each rank's, one after the other
  for (size_t i = 0; i < slots.size(); ++i) {
    RoundSlot& slot = slots[i];
    const SlotRecord& record = all[owner(slot) * slots.size() + i];
    std::vector<std::byte>& theirs = updates[owner(slot)];
    if (owner(slot) == own_rank) {
      theirs.insert(theirs.end(), slot.update.begin(), slot.update.end());
    } else {
      theirs.resize(theirs.size() + record.update_bytes);
    }
  }
  const std::vector<std::span<std::byte>> parts(updates.begin(), updates.end());
  LACONIC_RETURN_IF_ERROR(Allgatherv(comm, parts));

  std::vector<ByteReader> readers(updates.begin(), updates.end());
  for (size_t i = 0; i < slots.size(); ++i) {
    RoundSlot& slot = slots[i];
    const SlotRecord& record = all[owner(slot) * slots.size() + i];
    const std::span<const std::byte> update = readers[owner(slot)].Take(record.update_bytes);
    slot.update.assign(update.begin(), update.end());
    slot.loss = record.loss;
    slot.seconds = record.seconds;
    slot.fate = static_cast<RoundSlot::Fate>(record.fate);
  }
  return absl::OkStatus();
}

}  // namespace laconic::internal
