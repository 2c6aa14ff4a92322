// Ranks as MPI processes (Open MPI, MPICH; the MPI-3 C interface). Target laconic::comm_mpi.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "laconic/comm/transport/transport.h"

namespace laconic {

// Initialises MPI with MPI_THREAD_SERIALIZED unless the program has done so, and finalises it again in the destructor
// (only what it initialised, and not after an abort). Hold one in main(), outliving every transport. FailedPrecondition
// when the MPI at hand gives less than MPI_THREAD_SERIALIZED: the queue thread makes the calls.
class MpiEnvironment {
 public:
  static absl::StatusOr<std::unique_ptr<MpiEnvironment>> Create(int* argc, char*** argv);
  ~MpiEnvironment();
  MpiEnvironment(const MpiEnvironment&) = delete;
  MpiEnvironment& operator=(const MpiEnvironment&) = delete;

 private:
  explicit MpiEnvironment(bool owner) : owner_(owner) {}
  bool owner_;
};

struct MpiTransportOptions {
  // Messages are sent in pieces of at most this many bytes, since MPI counts are ints. At least 1. The same on all
  // ranks.
  size_t max_piece_bytes = size_t{1} << 30;
  // The same for ranks of different hosts (MPI_Get_processor_name); the smaller of the two counts. The default is just
  // below what Open MPI sends over TCP without asking the receiver first (btl_tcp_eager_limit 65536, header included):
  // the questions and answers about longer pieces queue behind the data of the other direction, which costs 10 to 25 %
  // of a 1 Gbit/s link (docs/benchmarks.md). A few pieces are under way to each rank at a time.
  size_t remote_piece_bytes = 60 << 10;
  // How an Exchange waits. kPoll keeps deadlines and length errors. kBlock leaves it to MPI_Waitall: no deadline, and
  // of lengths only what MPI itself notices; for an MPI that does not run in real time, such as a simulator's.
  enum class Wait { kPoll, kBlock };
  Wait wait = Wait::kPoll;
};

// What differs from other transports: MPI can neither tell a sender that its message had a wrong length (only the
// receiver gets DataLoss) nor take back a message. So after an error the spans of the failed Exchange must stay as they
// are until the end is aborted or destroyed, and both end the job: the destructor of a poisoned end calls Abort. A
// transport and its subgroups may be used from different threads at a time: they share a mutex around their MPI calls.

// A transport over a duplicate of MPI_COMM_WORLD. Collective over it.
absl::StatusOr<std::unique_ptr<Transport>> MakeMpiTransport(const MpiTransportOptions& options = {});
// The same over the communicator with this Fortran handle (MPI_Comm_c2f), for trainers that bring their own. Collective
// over it.
absl::StatusOr<std::unique_ptr<Transport>> MakeMpiTransportFromHandle(int fortran_handle,
                                                                      const MpiTransportOptions& options = {});

}  // namespace laconic
