// Two MPI ranks send each other BYTES at the same time; exit 1 when the slower one has them sooner than LEAST_SECONDS.
//   netlab_probe BYTES LEAST_SECONDS
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "laconic/base/status.h"
#include "laconic/comm/collectives/primitives.h"
#include "laconic/comm/communicator.h"
#include "laconic/comm/transport/mpi.h"

namespace laconic {
namespace {

absl::StatusOr<double> SlowestSeconds(Communicator& comm, size_t bytes) {
  const int peer = 1 - comm.rank();
  const std::vector<std::byte> out(bytes);
  std::vector<std::byte> in(bytes);
  const Outgoing send{peer, out};
  const Incoming receive{peer, in};
  LACONIC_RETURN_IF_ERROR(Barrier(comm));
  const absl::Time start = absl::Now();
  LACONIC_RETURN_IF_ERROR(comm.Exchange(std::span(&send, 1), std::span(&receive, 1)));
  const double own = absl::ToDoubleSeconds(absl::Now() - start);
  std::vector<double> all(2);
  LACONIC_RETURN_IF_ERROR(Allgather(comm, std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(all))));
  return std::max(all[0], all[1]);
}

int Main(int argc, char** argv) {
  const auto environment = MpiEnvironment::Create(&argc, &argv);
  auto transport = environment.ok() ? MakeMpiTransport() : environment.status();
  if (argc != 3 || !transport.ok() || (*transport)->size() != 2) {
    fmt::print(stderr, "usage, on two ranks: netlab_probe BYTES LEAST_SECONDS\n");
    return 2;
  }
  Communicator comm(*std::move(transport));
  const double least_seconds = std::atof(argv[2]);
  const absl::StatusOr<double> seconds = SlowestSeconds(comm, std::strtoull(argv[1], nullptr, 10));
  if (!seconds.ok()) {
    fmt::print(stderr, "{}\n", seconds.status().ToString());
    return 1;
  }
  if (comm.rank() == 0) {
    fmt::print("hosts of one network: {}; {} bytes each way took {:.4f} s, at least {:.4f} s\n", comm.host(), argv[1],
               *seconds, least_seconds);
  }
  return *seconds >= least_seconds ? 0 : 1;
}

}  // namespace
}  // namespace laconic

int main(int argc, char** argv) { return laconic::Main(argc, argv); }
