// Ranks as threads of this process, or as the processes that mpirun or srun started: the same command line either way.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/comm/transport/transport.h"

namespace laconic::tools {

enum class Backend { kAuto, kInProcess, kMpi };

struct Launch {
  Backend backend = Backend::kInProcess;  // never kAuto
  int ranks = 1;
};

inline constexpr int kMaxInProcessRanks = 1024;

// How the ranks of this run come about. kAuto: MPI under a launcher (Open MPI, PMI, PMIx, Slurm), else in process.
//   ranks: nullopt for as many as the launcher started, or 4 in process.
// InvalidArgument when `ranks` is out of range or is not what the launcher started; FailedPrecondition for kMpi without
// a launcher, kInProcess under one, or a build without MPI.
absl::StatusOr<Launch> PlanLaunch(Backend backend, std::optional<int> ranks);

// Runs `body` at every rank of this process and gives the first error.
absl::Status RunRanks(const Launch& launch, const std::function<absl::Status(std::unique_ptr<Transport>)>& body);

std::string_view BackendName(Backend backend);

}  // namespace laconic::tools
