// Do all ranks mean the same? Asked once in full at the start, and by a fingerprint before every bucket.
#pragma once

#include <span>
#include <string>

#include "absl/status/status.h"
#include "laconic/comm/communicator.h"

namespace laconic {

// Something all ranks must hold alike: what = "shape of tensor fc1.weight", value = "[256, 784]".
struct AgreedFact {
  std::string what;
  std::string value;
};

// OK on all ranks, or FailedPrecondition on all ranks for the first fact (in order) in which some rank differs from
// rank 0:
//   ranks disagree on shape of tensor fc1.weight: "[256, 784]" on rank 0, "[256, 783]" on rank 2
// One Exchange of 16 bytes a rank when all agree. Collective.
absl::Status AgreeOn(Communicator& comm, std::span<const AgreedFact> facts);

}  // namespace laconic
