#include "tools/launch.h"

#include <cstdlib>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/comm/transport/in_process.h"
#ifdef LACONIC_TOOLS_WITH_MPI
#include "laconic/comm/transport/mpi.h"
#endif

namespace laconic::tools {
namespace {

constexpr int kDefaultRanks = 4;
#ifdef LACONIC_TOOLS_WITH_MPI
constexpr bool kBuiltWithMpi = true;
#else
constexpr bool kBuiltWithMpi = false;
#endif

// How many processes a launcher started, this one among them; 0: some, it does not say how many; nullopt: none did.
std::optional<int> LaunchedProcesses() {
  // Open MPI; MPICH and other PMI launchers; srun, whose variable is set within its steps only.
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}) {
    if (const char* value = std::getenv(name); value != nullptr && std::atoi(value) > 0) return std::atoi(value);
  }
  if (std::getenv("PMIX_RANK") != nullptr) return 0;
  return std::nullopt;
}

absl::Status RunUnderMpi(const std::function<absl::Status(std::unique_ptr<Transport>)>& body) {
#ifdef LACONIC_TOOLS_WITH_MPI
  LACONIC_ASSIGN_OR_RETURN(const std::unique_ptr<MpiEnvironment> environment, MpiEnvironment::Create(nullptr, nullptr));
  LACONIC_ASSIGN_OR_RETURN(std::unique_ptr<Transport> transport, MakeMpiTransport());
  return body(std::move(transport));
#else
  return absl::FailedPreconditionError("built without MPI");
#endif
}

}  // namespace

absl::StatusOr<Launch> PlanLaunch(Backend backend, std::optional<int> ranks) {
  const std::optional<int> launched = LaunchedProcesses();
  if (backend == Backend::kAuto) backend = launched ? Backend::kMpi : Backend::kInProcess;
  if (backend == Backend::kMpi) {
    if (!kBuiltWithMpi) {
      return absl::FailedPreconditionError("MPI ranks, but built without MPI (-DLACONIC_WITH_MPI=ON)");
    }
    if (!launched) {
      return absl::FailedPreconditionError("--backend mpi needs a launcher: mpirun -np 4 laconic ... or srun -n 4 ...");
    }
    if (ranks && *launched > 0 && *ranks != *launched) {
      return absl::InvalidArgumentError(
          fmt::format("--ranks {} but the launcher started {} processes; leave --ranks out", *ranks, *launched));
    }
    return Launch{.backend = backend, .ranks = *launched > 0 ? *launched : ranks.value_or(0)};
  }
  if (launched && *launched > 1) {
    return absl::FailedPreconditionError(fmt::format(
        "--backend inproc under a launcher of {} processes: each would run all ranks; start it without", *launched));
  }
  const int count = ranks.value_or(kDefaultRanks);
  if (count < 1 || count > kMaxInProcessRanks) {
    return absl::InvalidArgumentError(
        fmt::format("--ranks {} is not in 1 to {}, the most ranks one process holds", count, kMaxInProcessRanks));
  }
  return Launch{.backend = backend, .ranks = count};
}

absl::Status RunRanks(const Launch& launch, const std::function<absl::Status(std::unique_ptr<Transport>)>& body) {
  return launch.backend == Backend::kMpi ? RunUnderMpi(body) : RunInProcess(launch.ranks, body);
}

std::string_view BackendName(Backend backend) {
  return backend == Backend::kMpi ? "mpi" : backend == Backend::kInProcess ? "inproc" : "auto";
}

}  // namespace laconic::tools
