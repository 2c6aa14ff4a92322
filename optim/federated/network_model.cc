#include "laconic/optim/federated/network_model.h"

#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic {

double NetworkModel::Seconds(uint32_t client, uint64_t down_bytes, uint64_t up_bytes, uint32_t local_steps) const {
  const ClientLink& link = links[client];
  const auto transfer = [](uint64_t bytes, double bits_per_second) {
    return bits_per_second > 0 ? 8 * static_cast<double>(bytes) / bits_per_second : 0;
  };
  return 2 * link.latency_seconds + transfer(down_bytes, link.downlink_bits_per_second) +
         local_steps * link.step_seconds + transfer(up_bytes, link.uplink_bits_per_second);
}

}  // namespace laconic
