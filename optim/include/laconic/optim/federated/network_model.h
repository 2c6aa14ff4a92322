// How long a round takes on links and machines that are not here: a simulated clock.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace laconic {

// One client's link and speed.
struct ClientLink {
  double uplink_bits_per_second = 0;  // 0: takes no time
  double downlink_bits_per_second = 0;
  double latency_seconds = 0;  // one way
  double step_seconds = 0;     // of one local step
};

// Where clients' figures come from: each figure is a value, a range or a distribution.
//   network(up=10Mbit, down=100Mbit, latency=20ms, step=5ms)
//   network(up=uniform(1Mbit, 20Mbit), down=lognormal(50Mbit, 1), latency=20ms, step=5ms, stragglers=0.1, slowdown=10)
//   network(trace=FILE)     CSV with the header line uplink_bps,downlink_bps,latency_s,step_s; client i takes line i mod
//                           lines
// Units kbit, Mbit, Gbit (powers of 1000), us, ms, s; what is left out takes no time. lognormal(median, sigma).
// stragglers: that share of the clients takes slowdown times as long for a step.
struct NetworkModel {
  std::vector<ClientLink> links;  // one a client
  std::string description;        // canonical

  // Pure function of its arguments, and of the machine's exp and cos where there is a lognormal. InvalidArgument with
  // column; NotFound, DataLoss naming file and line of a trace.
  static absl::StatusOr<NetworkModel> Parse(std::string_view spec, uint32_t clients, uint64_t seed);

  // From the broadcast's first byte to the update's last.
  double Seconds(uint32_t client, uint64_t down_bytes, uint64_t up_bytes, uint32_t local_steps) const;
};

}  // namespace laconic
