// Ranks as threads of one process: the embedded default, any number of ranks.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "laconic/comm/transport/transport.h"

namespace laconic {

// The ends of a new group of `ranks` >= 1; end i belongs to rank i and may be moved to its thread. A message is copied
// once, from the sender's span to the receiver's. Destroying an end while a peer waits for it gives the peer
// Unavailable.
std::vector<std::unique_ptr<Transport>> MakeInProcessGroup(int ranks);

// Runs body(transport) on `ranks` threads and gives the first error by rank ("rank 2: ..."), an error other than
// Unavailable before those that only report a lost peer. When one rank fails, its end is aborted, so that the others
// return too. For examples, tools, tests.
absl::Status RunInProcess(int ranks, const std::function<absl::Status(std::unique_ptr<Transport>)>& body);

}  // namespace laconic
