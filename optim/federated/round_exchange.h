// What became of the clients of a simulated round, and how the ranks tell each other.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "laconic/comm/communicator.h"

namespace laconic::internal {

// One sampled client's round. Filled in by the rank that has the client.
struct RoundSlot {
  enum class Fate : uint8_t { kCounted, kFailed, kLate };

  uint32_t client = 0;
  uint64_t downlink_bytes = 0;
  Fate fate = Fate::kCounted;
  double loss = 0;
  double seconds = 0;
  std::vector<std::byte> update;
  absl::Status status;
};

// Fate, loss, seconds and update of every slot to all ranks, from rank client mod ranks. The rest is the same
// everywhere. Collective: two Exchanges.
absl::Status ExchangeSlots(Communicator& comm, std::vector<RoundSlot>& slots);

}  // namespace laconic::internal
