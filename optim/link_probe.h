// How fast the link between ranks is, asked of the link itself.
#pragma once

#include "absl/status/statusor.h"
#include "laconic/comm/collectives/cost_model.h"
#include "laconic/comm/communicator.h"

namespace laconic {

// Every rank sends to the next and receives from the one before, at the same time: a few messages of a byte, then a few
// long ones; the fastest of each counts, the slowest rank's figures are given on all ranks. About 1 MiB a rank.
// Collective. On one rank: LinkFigures{}.
absl::StatusOr<LinkFigures> ProbeLink(Communicator& comm);

}  // namespace laconic
