#include "examples/train/launch.h"

#include <cstdlib>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/comm/transport/in_process.h"
#ifdef LACONIC_TRAIN_WITH_MPI
#include "laconic/comm/transport/mpi.h"
#endif

namespace laconic::train {
namespace {

constexpr int kDefaultRanks = 4;

absl::Status RunUnderMpi(int* argc, char*** argv, const std::function<absl::Status(std::unique_ptr<Transport>)>& body) {
#ifdef LACONIC_TRAIN_WITH_MPI
  LACONIC_ASSIGN_OR_RETURN(const std::unique_ptr<MpiEnvironment> environment, MpiEnvironment::Create(argc, argv));
  LACONIC_ASSIGN_OR_RETURN(std::unique_ptr<Transport> transport, MakeMpiTransport());
  return body(std::move(transport));
#else
  return absl::FailedPreconditionError("started by an MPI launcher, but built without MPI (-DLACONIC_WITH_MPI=ON)");
#endif
}

}  // namespace

std::optional<int> LaunchedProcesses() {
  // Open MPI; MPICH and other PMI launchers; srun, whose variable is set within its steps only.
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}) {
    if (const char* value = std::getenv(name); value != nullptr && std::atoi(value) > 0) return std::atoi(value);
  }
  return std::nullopt;
}

absl::Status RunRanks(std::optional<int> ranks, int* argc, char*** argv,
                      const std::function<absl::Status(std::unique_ptr<Transport>)>& body) {
  const std::optional<int> launched = LaunchedProcesses();
  if (!launched.has_value()) return RunInProcess(ranks.value_or(kDefaultRanks), body);
  if (ranks.has_value() && *ranks != *launched) {
    return absl::InvalidArgumentError(
        fmt::format("--ranks {} but the launcher started {} processes; leave --ranks out", *ranks, *launched));
  }
  return RunUnderMpi(argc, argv, body);
}

}  // namespace laconic::train
