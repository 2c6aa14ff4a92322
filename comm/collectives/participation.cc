#include "comm/collectives/participation.h"

#include <algorithm>

#include "comm/collectives/strategies.h"
#include "fmt/format.h"
#include "laconic/base/rng.h"

namespace laconic {

void Participation::Draw(uint64_t step) {
  if (probability_ == 1) return;
  for (size_t rank = 0; rank < present_.size(); ++rank) {
    const RngKey key{.seed = seed_, .step = step, .rank = static_cast<uint32_t>(rank), .stream = kParticipationStream};
    present_[rank] = CounterRng(key).Uniform(0) < probability_;
  }
  count_ = static_cast<int>(std::count(present_.begin(), present_.end(), true));
}

absl::Status Participation::CheckAbsent(const HeaderExchange& headers) const {
  for (size_t rank = 0; rank < present_.size(); ++rank) {
    const uint64_t bytes = headers.body_bytes(static_cast<int>(rank));
    if (present_[rank] || bytes == 0) continue;
    return absl::DataLossError(fmt::format("rank {} announces {} bytes in a step that it has no part in", rank, bytes));
  }
  return absl::OkStatus();
}

}  // namespace laconic
