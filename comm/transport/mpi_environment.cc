#include <fmt/core.h>

#include <memory>

#include "comm/transport/mpi_status.h"
#include "laconic/base/status.h"
#include "laconic/comm/transport/mpi.h"

namespace laconic {

absl::StatusOr<std::unique_ptr<MpiEnvironment>> MpiEnvironment::Create(int* argc, char*** argv) {
  int initialized = 0, provided = MPI_THREAD_SINGLE;
  MPI_Initialized(&initialized);
  const absl::Status ready =
      initialized ? internal::Checked("MPI_Query_thread", MPI_Query_thread(&provided))
                  : internal::Checked("MPI_Init_thread", MPI_Init_thread(argc, argv, MPI_THREAD_SERIALIZED, &provided));
  LACONIC_RETURN_IF_ERROR(ready);
  std::unique_ptr<MpiEnvironment> environment(new MpiEnvironment(!initialized));
  if (provided < MPI_THREAD_SERIALIZED) {
    return absl::FailedPreconditionError(fmt::format(
        "MPI gives thread level {} where MPI_THREAD_SERIALIZED ({}) is needed", provided, MPI_THREAD_SERIALIZED));
  }
  return environment;
}

MpiEnvironment::~MpiEnvironment() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (owner_ && !finalized) MPI_Finalize();
}

}  // namespace laconic
