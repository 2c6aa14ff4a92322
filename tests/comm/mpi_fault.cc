// Faults that end an MPI job, on 2 ranks; ctest looks for what is written.   mpi_fault <scenario>
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "laconic/comm/communicator.h"
#include "laconic/comm/transport/mpi.h"

namespace laconic {
namespace {

constexpr std::byte kGuard{0xA5};

absl::Status SendLength(Communicator& comm, size_t length) {
  const std::vector<std::byte> bytes(length);
  const Outgoing send{1, bytes};
  return comm.Exchange(std::span(&send, 1), {});
}

// Into the middle of a larger buffer: an MPI that writes past the end is caught.
absl::Status ReceiveLength(Communicator& comm, size_t length) {
  std::vector<std::byte> buffer(length + 8192, kGuard);
  const Incoming receive{1 - comm.rank(), std::span(buffer).first(length)};
  const absl::Status status = comm.Exchange({}, std::span(&receive, 1));
  if (!std::all_of(buffer.begin() + static_cast<ptrdiff_t>(length), buffer.end(),
                   [](std::byte b) { return b == kGuard; })) {
    fmt::print(stderr, "OVERRUN\n");
  }
  return status;
}

absl::Status RunScenario(Communicator& comm, std::string_view scenario, size_t sent, size_t expected) {
  if (scenario == "silent") return ReceiveLength(comm, 1);  // both: nobody speaks
  if (scenario == "abort") {
    if (comm.rank() == 0) comm.Abort(absl::DataLossError("a bad gradient"));
    return ReceiveLength(comm, 1);
  }
  if (comm.rank() == 1) return ReceiveLength(comm, expected);
  // The sender goes on waiting: Open MPI's mpirun may crash or hang when one rank aborts while another finalizes.
  const absl::Status status = SendLength(comm, sent);
  return status.ok() ? ReceiveLength(comm, 1) : status;
}

int Main(int argc, char** argv) {
  const auto environment = MpiEnvironment::Create(&argc, &argv);
  if (!environment.ok() || argc != 5) {
    fmt::print(stderr, "usage: mpi_fault silent|abort|length <sent bytes> <expected bytes> <piece bytes>\n");
    return EXIT_FAILURE;
  }
  auto transport = MakeMpiTransport({.max_piece_bytes = std::strtoull(argv[4], nullptr, 10)});
  if (!transport.ok()) return EXIT_FAILURE;
  Communicator comm(*std::move(transport), {.timeout = absl::Seconds(2)});
  comm.SetPhase({.name = argv[1], .step = 4, .tensor = "fc1.weight"});
  const absl::Status status =
      RunScenario(comm, argv[1], std::strtoull(argv[2], nullptr, 10), std::strtoull(argv[3], nullptr, 10));
  fmt::print(stderr, "{}\n", status.ToString());
  return status.ok() ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace laconic

int main(int argc, char** argv) { return laconic::Main(argc, argv); }
