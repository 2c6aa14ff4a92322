// A slower network than the one at hand, without root: delivery is delayed to when an emulated link would have
// delivered.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "laconic/comm/transport/transport.h"

namespace laconic {

// A full-duplex link between each rank and a perfect switch.
struct LinkModel {
  double bits_per_second = 0;                        // each way; 0: unlimited
  absl::Duration round_trip = absl::ZeroDuration();  // half of it is added to each message

  // "100Mbit", "1Gbit,rtt=1ms", "10Gbit,rtt=50us"; units kbit, Mbit, Gbit (powers of 1000). "unlimited" for no limit.
  // InvalidArgument names the bad part.
  static absl::StatusOr<LinkModel> Parse(std::string_view text);
  std::string ToString() const;
};

// Each rank's egress and ingress are modelled apart: a message of B bytes occupies the sender's egress from when it was
// posted or the egress fell free, for 8B/rate; it occupies the receiver's ingress for as long, from when its first bit
// arrives (half a round trip later) or the ingress fell free. Exchange returns when every receive has left the ingress
// and every send the egress. Subgroups and duplicates share the rank's link. The time stamps that carry this travel on
// the inner transport, unpaced. Ranks must share one monotonic clock (one machine), and all be wrapped with the same
// model.
std::unique_ptr<Transport> MakePacedTransport(std::unique_ptr<Transport> inner, const LinkModel& link);

}  // namespace laconic
