// Properties that every transport has, written once and run over threads, decorators, subgroups and MPI processes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "laconic/comm/transport/transport.h"

namespace laconic::testing {

// What each rank of a group does. Every rank must call it; the group is as usable afterwards as before. Errors say what
// was wrong.
struct TransportCheck {
  const char* name;
  absl::Status (*run)(Transport& transport);
};
const std::vector<TransportCheck>& TransportChecks();

// Runs body(*ends[i]) on a thread of its own for each i. The ends stay alive until all have returned.
std::vector<absl::Status> RunRanks(const std::vector<std::unique_ptr<Transport>>& ends,
                                   const std::function<absl::Status(Transport&)>& body);

// One Exchange with a deadline so far away that only a hang reaches it.
absl::Status ExchangeSoon(Transport& transport, std::span<const Outgoing> sends, std::span<const Incoming> receives);

}  // namespace laconic::testing
