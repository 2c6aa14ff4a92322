#include "laconic/comm/transport/mpi.h"

#include <fmt/core.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include "comm/transport/errors.h"
#include "comm/transport/mpi_c.h"
#include "comm/transport/poison.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

constexpr int kTag = 0;

std::string ErrorText(int code) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  return std::string(text, length);
}

absl::Status Checked(const char* call, int code) {
  if (code == MPI_SUCCESS) return absl::OkStatus();
  return absl::InternalError(fmt::format("{}: {}", call, ErrorText(code)));
}

// What to do when nothing has happened: the first polls give the core to other ranks, which may outnumber the cores;
// later ones sleep, up to 100 us.
class Backoff {
 public:
  void Reset() { idle_polls_ = 0; }
  void Wait() {
    ++idle_polls_;
    if (idle_polls_ <= kYields) {
      sched_yield();
    } else {
      const int sleeps = idle_polls_ - kYields;
      std::this_thread::sleep_for(std::chrono::microseconds(std::min(100, 10 * sleeps)));
    }
  }

 private:
  static constexpr int kYields = 2000;
  int idle_polls_ = 0;
};

class MpiTransport final : public Transport {
 public:
  // Takes over `comm`.
  MpiTransport(MPI_Comm comm, std::shared_ptr<std::mutex> mpi_mutex, const MpiTransportOptions& options);
  ~MpiTransport() override;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string host() const override { return host_; }
  absl::Status Exchange(std::span<const Outgoing> sends, std::span<const Incoming> receives,
                        const ExchangeOptions& options) override;
  void Abort(const absl::Status& why) noexcept override;
  absl::StatusOr<std::unique_ptr<Transport>> Subgroup(std::span<const int> members) override;

 private:
  // A part of a message under way. A message of L bytes is cut into pieces of max_piece_bytes and a last one that is
  // shorter, perhaps empty: so two messages of different lengths differ in a piece, and no mismatch goes unseen.
  struct Piece {
    int peer;
    bool incoming;
    size_t bytes;
    size_t message_bytes;
    size_t offset;
  };

  absl::Status Post(std::span<const Outgoing> sends, std::span<const Incoming> receives);
  absl::Status PostReceives(const Incoming& receive);
  absl::Status PostSends(const Outgoing& send);
  // Moves everything on and takes off what has finished; gives how much that was.
  absl::StatusOr<int> Progress();
  absl::Status CheckArrival(const Piece& piece, const MPI_Status& status, int error) const;
  std::vector<int> PeersUnderWay() const;
  // Takes back the receives that no message has met yet. The rest stays with MPI until the job ends.
  absl::Status Fail(const absl::Status& status);

  MPI_Comm comm_;
  const std::shared_ptr<std::mutex> mpi_mutex_;  // held during every call into MPI, for MPI_THREAD_SERIALIZED
  const MpiTransportOptions options_;
  int rank_ = 0;
  int size_ = 1;
  std::string host_;
  internal::Poison poison_;
  // The Exchange under way; memory is reused. requests_[i] belongs to pieces_[i] and is MPI_REQUEST_NULL once finished.
  std::vector<Piece> pieces_;
  std::vector<MPI_Request> requests_;
  std::vector<int> finished_;
  std::vector<MPI_Status> statuses_;
  size_t under_way_ = 0;
};

MpiTransport::MpiTransport(MPI_Comm comm, std::shared_ptr<std::mutex> mpi_mutex, const MpiTransportOptions& options)
    : comm_(comm), mpi_mutex_(std::move(mpi_mutex)), options_(options) {
  std::lock_guard lock(*mpi_mutex_);
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(comm_, &rank_);
  MPI_Comm_size(comm_, &size_);
  char name[MPI_MAX_PROCESSOR_NAME];
  int length = 0;
  MPI_Get_processor_name(name, &length);
  host_.assign(name, length);
}

MpiTransport::~MpiTransport() {
  if (const absl::Status status = poison_.status(); !status.ok()) Abort(status);
  std::lock_guard lock(*mpi_mutex_);
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (!finalized) MPI_Comm_free(&comm_);
}

absl::Status MpiTransport::Exchange(std::span<const Outgoing> sends, std::span<const Incoming> receives,
                                    const ExchangeOptions& options) {
  LACONIC_RETURN_IF_ERROR(poison_.status());
  if (absl::Status peers = internal::CheckPeers(*this, sends, receives); !peers.ok()) return Fail(peers);

  const absl::Time start = absl::Now();
  if (absl::Status posted = Post(sends, receives); !posted.ok()) return Fail(posted);
  Backoff backoff;
  while (true) {
    const absl::StatusOr<int> progress = Progress();
    if (!progress.ok()) return Fail(progress.status());
    if (under_way_ == 0) return absl::OkStatus();
    if (*progress > 0) {
      backoff.Reset();
      continue;
    }
    if (absl::Status poison = poison_.status(); !poison.ok()) return Fail(poison);
    if (const absl::Time now = absl::Now(); now >= options.deadline) {
      return Fail(internal::WaitedFor(now - start, options.deadline - start, PeersUnderWay()));
    }
    backoff.Wait();
  }
}

absl::Status MpiTransport::Post(std::span<const Outgoing> sends, std::span<const Incoming> receives) {
  pieces_.clear();
  requests_.clear();
  under_way_ = 0;
  std::lock_guard lock(*mpi_mutex_);
  for (const Incoming& receive : receives) LACONIC_RETURN_IF_ERROR(PostReceives(receive));
  for (const Outgoing& send : sends) LACONIC_RETURN_IF_ERROR(PostSends(send));
  finished_.resize(requests_.size());
  statuses_.resize(requests_.size());
  return absl::OkStatus();
}

absl::Status MpiTransport::PostReceives(const Incoming& receive) {
  const size_t length = receive.bytes.size();
  for (size_t begin = 0; begin <= length; begin += options_.max_piece_bytes) {
    const size_t bytes = std::min(options_.max_piece_bytes, length - begin);
    pieces_.push_back({receive.from, true, bytes, length, begin});
    const int code = MPI_Irecv(receive.bytes.data() + begin, static_cast<int>(bytes), MPI_BYTE, receive.from, kTag,
                               comm_, &requests_.emplace_back(MPI_REQUEST_NULL));
    LACONIC_RETURN_IF_ERROR(Checked("MPI_Irecv", code));
    ++under_way_;
  }
  return absl::OkStatus();
}

absl::Status MpiTransport::PostSends(const Outgoing& send) {
  const size_t length = send.bytes.size();
  for (size_t begin = 0; begin <= length; begin += options_.max_piece_bytes) {
    const size_t bytes = std::min(options_.max_piece_bytes, length - begin);
    pieces_.push_back({send.to, false, bytes, length, begin});
    const int code = MPI_Isend(send.bytes.data() + begin, static_cast<int>(bytes), MPI_BYTE, send.to, kTag, comm_,
                               &requests_.emplace_back(MPI_REQUEST_NULL));
    LACONIC_RETURN_IF_ERROR(Checked("MPI_Isend", code));
    ++under_way_;
  }
  return absl::OkStatus();
}

absl::StatusOr<int> MpiTransport::Progress() {
  std::lock_guard lock(*mpi_mutex_);
  int count = 0;
  const int code =
      MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &count, finished_.data(), statuses_.data());
  if (code != MPI_SUCCESS && code != MPI_ERR_IN_STATUS) return Checked("MPI_Testsome", code);
  if (count == MPI_UNDEFINED) count = 0;  // nothing was under way
  under_way_ -= count;
  for (int i = 0; i < count; ++i) {
    const int error = code == MPI_SUCCESS ? MPI_SUCCESS : statuses_[i].MPI_ERROR;
    LACONIC_RETURN_IF_ERROR(CheckArrival(pieces_[finished_[i]], statuses_[i], error));
  }
  return count;
}

absl::Status MpiTransport::CheckArrival(const Piece& piece, const MPI_Status& status, int error) const {
  if (!piece.incoming) return Checked("MPI_Isend", error);
  int error_class = MPI_SUCCESS;
  if (error != MPI_SUCCESS) MPI_Error_class(error, &error_class);
  if (error_class != MPI_SUCCESS && error_class != MPI_ERR_TRUNCATE) return Checked("MPI_Irecv", error);

  int count = 0;
  MPI_Get_count(&status, MPI_BYTE, &count);
  if (error_class == MPI_SUCCESS && count != MPI_UNDEFINED && static_cast<size_t>(count) == piece.bytes) {
    return absl::OkStatus();
  }
  // A short piece ends its message and so tells how long that was; a long one may go on in further pieces. An MPI may
  // report a long one as cut to the space there was.
  const bool known = count != MPI_UNDEFINED && static_cast<size_t>(count) < options_.max_piece_bytes &&
                     static_cast<size_t>(count) != piece.bytes;
  if (known) return internal::LengthMismatchAtReceiver(piece.peer, piece.offset + count, piece.message_bytes);
  return absl::DataLossError(fmt::format("the message from rank {} is longer than the {} bytes this rank expects",
                                         piece.peer, piece.message_bytes));
}

std::vector<int> MpiTransport::PeersUnderWay() const {
  std::vector<int> peers;
  for (size_t i = 0; i < requests_.size(); ++i) {
    if (requests_[i] != MPI_REQUEST_NULL) peers.push_back(pieces_[i].peer);
  }
  return peers;
}

absl::Status MpiTransport::Fail(const absl::Status& status) {
  std::lock_guard lock(*mpi_mutex_);
  for (size_t i = 0; i < requests_.size(); ++i) {
    if (pieces_[i].incoming && requests_[i] != MPI_REQUEST_NULL) MPI_Cancel(&requests_[i]);
  }
  for (MPI_Request& request : requests_) {
    int done = 0;
    if (request != MPI_REQUEST_NULL) MPI_Test(&request, &done, MPI_STATUS_IGNORE);
  }
  return poison_.Set(status);
}

void MpiTransport::Abort(const absl::Status& why) noexcept {
  const absl::Status reason = poison_.Set(why);
  const absl::string_view message = reason.message();
  std::fprintf(stderr, "laconic: rank %d ends the job: %.*s\n", rank_, static_cast<int>(message.size()),
               message.data());
  std::fflush(stderr);
  std::lock_guard lock(*mpi_mutex_);
  MPI_Abort(comm_, EXIT_FAILURE);
  std::_Exit(EXIT_FAILURE);
}

absl::StatusOr<std::unique_ptr<Transport>> MpiTransport::Subgroup(std::span<const int> members) {
  LACONIC_RETURN_IF_ERROR(poison_.status());
  LACONIC_RETURN_IF_ERROR(internal::CheckMembers(*this, members).status());
  MPI_Group all = MPI_GROUP_NULL, chosen = MPI_GROUP_NULL;
  MPI_Comm comm = MPI_COMM_NULL;
  {
    std::lock_guard lock(*mpi_mutex_);
    LACONIC_RETURN_IF_ERROR(Checked("MPI_Comm_group", MPI_Comm_group(comm_, &all)));
    absl::Status made =
        Checked("MPI_Group_incl", MPI_Group_incl(all, static_cast<int>(members.size()), members.data(), &chosen));
    if (made.ok()) made = Checked("MPI_Comm_create_group", MPI_Comm_create_group(comm_, chosen, kTag, &comm));
    if (chosen != MPI_GROUP_NULL) MPI_Group_free(&chosen);
    MPI_Group_free(&all);
    LACONIC_RETURN_IF_ERROR(made);
  }
  return std::make_unique<MpiTransport>(comm, mpi_mutex_, options_);
}

absl::StatusOr<std::unique_ptr<Transport>> MakeFromComm(MPI_Comm given, const MpiTransportOptions& options) {
  constexpr size_t kMaxPieceBytes = size_t{1} << 30;
  if (options.max_piece_bytes < 1 || options.max_piece_bytes > kMaxPieceBytes) {
    return absl::InvalidArgumentError(
        fmt::format("max_piece_bytes {} is not in 1 to {}", options.max_piece_bytes, kMaxPieceBytes));
  }
  int initialized = 0;
  MPI_Initialized(&initialized);
  if (!initialized) return absl::FailedPreconditionError("MPI is not initialised: create an MpiEnvironment first");
  if (given == MPI_COMM_NULL) return absl::InvalidArgumentError("the communicator is MPI_COMM_NULL");
  MPI_Comm comm = MPI_COMM_NULL;
  LACONIC_RETURN_IF_ERROR(Checked("MPI_Comm_dup", MPI_Comm_dup(given, &comm)));
  return std::make_unique<MpiTransport>(comm, std::make_shared<std::mutex>(), options);
}

}  // namespace

absl::StatusOr<std::unique_ptr<MpiEnvironment>> MpiEnvironment::Create(int* argc, char*** argv) {
  int initialized = 0, provided = MPI_THREAD_SINGLE;
  MPI_Initialized(&initialized);
  const absl::Status ready =
      initialized ? Checked("MPI_Query_thread", MPI_Query_thread(&provided))
                  : Checked("MPI_Init_thread", MPI_Init_thread(argc, argv, MPI_THREAD_SERIALIZED, &provided));
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

absl::StatusOr<std::unique_ptr<Transport>> MakeMpiTransport(const MpiTransportOptions& options) {
  return MakeFromComm(MPI_COMM_WORLD, options);
}

absl::StatusOr<std::unique_ptr<Transport>> MakeMpiTransportFromHandle(int fortran_handle,
                                                                      const MpiTransportOptions& options) {
  int initialized = 0;
  MPI_Initialized(&initialized);
  if (!initialized) return absl::FailedPreconditionError("MPI is not initialised: create an MpiEnvironment first");
  return MakeFromComm(MPI_Comm_f2c(fortran_handle), options);
}

}  // namespace laconic
