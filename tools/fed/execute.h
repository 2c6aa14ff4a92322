// Carries out what a folder of `laconic fed run` says, on this process or the ranks of an MPI job.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/comm/communicator.h"
#include "tools/command.h"
#include "tools/fed/folder.h"
#include "tools/fed/problem.h"

namespace laconic::tools {

// Calls `body` at every rank: of this process alone, or of those that mpirun started. Gives rank 0's answer.
absl::StatusOr<Answer> AtEveryRank(const std::function<absl::StatusOr<Answer>(Communicator& comm)>& body);

struct ExecuteOptions {
  bool resume = false;    // runs go on from their checkpoints
  bool progress = false;  // also where stderr is no terminal
};

// Does the runs that have not finished, writes the folder's results and prints the table. Collective; `folder` is the
// same at all ranks, and rank 0 alone writes.
absl::Status ExecuteRuns(FedFolder& folder, const FederatedProblem& problem, const ExecuteOptions& options,
                         Communicator& comm);

// Does all finished runs again, without writing, and compares hashes and evaluations bit for bit. kNo: something
// differs.   threads: 0 for the folder's.
absl::StatusOr<Answer> RepeatRuns(const FedFolder& folder, const FederatedProblem& problem, int threads, bool progress,
                                  Communicator& comm);

}  // namespace laconic::tools
