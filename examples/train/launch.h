// Ranks as threads of this process, or as the processes that mpirun or srun started.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "laconic/comm/transport/transport.h"

namespace laconic::train {

// How many processes mpirun or srun started, this one among them; nullopt when neither did.
std::optional<int> LaunchedProcesses();

// Runs `body` at every rank of this process and gives the first error. Under a launcher `ranks` must be left out or
// agree with it.
absl::Status RunRanks(std::optional<int> ranks, int* argc, char*** argv,
                      const std::function<absl::Status(std::unique_ptr<Transport>)>& body);

}  // namespace laconic::train
