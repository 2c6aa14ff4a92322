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

// A message of L bytes is cut into pieces of max_piece_bytes and a last one that is shorter, perhaps empty: so two
// messages of different lengths differ in a piece, and no mismatch goes unseen. A piece is received only after a
// matched probe has told its length: Open MPI 4.1 (vader, tcp) writes past the end of a posted receive when a longer
// message comes by rendezvous.
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
  // A part of a message that is still to come.
  struct Piece {
    int from;
    std::span<std::byte> bytes;
    size_t offset;
    size_t message_bytes;
  };

  absl::Status StartSends(std::span<const Outgoing> sends);
  void ExpectPieces(std::span<const Incoming> receives);
  // Moves everything on and takes off what has arrived or finished; gives how much that was.
  absl::StatusOr<int> Progress();
  absl::StatusOr<int> MatchArrivals();
  absl::StatusOr<bool> TryReceive(const Piece& piece);
  absl::StatusOr<int> FinishRequests();
  absl::Status WaitForAll();
  bool done() const { return expected_.empty() && requests_under_way_ == 0; }
  std::vector<int> MissingPeers() const;

  MPI_Comm comm_;
  const std::shared_ptr<std::mutex> mpi_mutex_;  // held during every call into MPI, for MPI_THREAD_SERIALIZED
  const MpiTransportOptions options_;
  int rank_ = 0;
  int size_ = 1;
  std::string host_;
  internal::Poison poison_;
  // The Exchange under way; memory is reused. requests_[i] is with peers_[i], and MPI_REQUEST_NULL once finished.
  std::vector<Piece> expected_;
  std::vector<MPI_Request> requests_;
  std::vector<int> peers_;
  std::vector<int> finished_;
  std::vector<MPI_Status> statuses_;
  size_t requests_under_way_ = 0;
  std::vector<uint64_t>
      silent_in_pass_;  // of each rank: the last pass over expected_ in which nothing was there from it
  uint64_t pass_ = 0;
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
  silent_in_pass_.assign(size_, 0);
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
  if (absl::Status peers = internal::CheckPeers(*this, sends, receives); !peers.ok()) return poison_.Set(peers);

  const absl::Time start = absl::Now();
  if (absl::Status started = StartSends(sends); !started.ok()) return poison_.Set(started);
  ExpectPieces(receives);
  if (options_.wait == MpiTransportOptions::Wait::kBlock) {
    const absl::Status waited = WaitForAll();
    return waited.ok() ? waited : poison_.Set(waited);
  }
  Backoff backoff;
  while (true) {
    const absl::StatusOr<int> progress = Progress();
    if (!progress.ok()) return poison_.Set(progress.status());
    if (done()) return absl::OkStatus();
    if (*progress > 0) {
      backoff.Reset();
      continue;
    }
    LACONIC_RETURN_IF_ERROR(poison_.status());
    if (const absl::Time now = absl::Now(); now >= options.deadline) {
      return poison_.Set(internal::WaitedFor(now - start, options.deadline - start, MissingPeers()));
    }
    backoff.Wait();
  }
}

absl::Status MpiTransport::StartSends(std::span<const Outgoing> sends) {
  std::lock_guard lock(*mpi_mutex_);
  requests_.clear();
  peers_.clear();
  requests_under_way_ = 0;
  for (const Outgoing& send : sends) {
    for (size_t offset = 0; offset <= send.bytes.size(); offset += options_.max_piece_bytes) {
      const size_t bytes = std::min(options_.max_piece_bytes, send.bytes.size() - offset);
      peers_.push_back(send.to);
      const int code = MPI_Isend(send.bytes.data() + offset, static_cast<int>(bytes), MPI_BYTE, send.to, kTag, comm_,
                                 &requests_.emplace_back(MPI_REQUEST_NULL));
      LACONIC_RETURN_IF_ERROR(Checked("MPI_Isend", code));
      ++requests_under_way_;
    }
  }
  return absl::OkStatus();
}

void MpiTransport::ExpectPieces(std::span<const Incoming> receives) {
  expected_.clear();
  for (const Incoming& receive : receives) {
    const size_t length = receive.bytes.size();
    for (size_t offset = 0; offset <= length; offset += options_.max_piece_bytes) {
      const size_t bytes = std::min(options_.max_piece_bytes, length - offset);
      expected_.push_back({receive.from, receive.bytes.subspan(offset, bytes), offset, length});
    }
  }
}

absl::StatusOr<int> MpiTransport::Progress() {
  std::lock_guard lock(*mpi_mutex_);
  LACONIC_ASSIGN_OR_RETURN(const int arrived, MatchArrivals());
  LACONIC_ASSIGN_OR_RETURN(const int finished, FinishRequests());
  return arrived + finished;
}

absl::StatusOr<int> MpiTransport::MatchArrivals() {
  ++pass_;
  size_t kept = 0;
  const size_t before = expected_.size();
  for (const Piece& piece : expected_) {
    if (silent_in_pass_[piece.from] != pass_) {
      LACONIC_ASSIGN_OR_RETURN(const bool received, TryReceive(piece));
      if (received) continue;
      silent_in_pass_[piece.from] = pass_;  // its later pieces must wait their turn
    }
    expected_[kept++] = piece;
  }
  expected_.resize(kept);
  return static_cast<int>(before - kept);
}

absl::StatusOr<bool> MpiTransport::TryReceive(const Piece& piece) {
  int found = 0, count = 0;
  MPI_Message message = MPI_MESSAGE_NULL;
  MPI_Status status;
  LACONIC_RETURN_IF_ERROR(Checked("MPI_Improbe", MPI_Improbe(piece.from, kTag, comm_, &found, &message, &status)));
  if (!found) return false;
  LACONIC_RETURN_IF_ERROR(Checked("MPI_Get_count", MPI_Get_count(&status, MPI_BYTE, &count)));
  if (count < 0 || static_cast<size_t>(count) > options_.max_piece_bytes) {
    return absl::DataLossError(
        fmt::format("rank {} sends in pieces longer than {} bytes", piece.from, options_.max_piece_bytes));
  }
  const size_t arrived_bytes = static_cast<size_t>(count);
  if (arrived_bytes != piece.bytes.size()) {
    // A short piece ends its message, so its whole length is known.
    if (arrived_bytes < options_.max_piece_bytes) {
      return internal::LengthMismatchAtReceiver(piece.from, piece.offset + arrived_bytes, piece.message_bytes);
    }
    return absl::DataLossError(fmt::format("the message from rank {} is longer than the {} bytes this rank expects",
                                           piece.from, piece.message_bytes));
  }
  peers_.push_back(piece.from);
  const int code = MPI_Imrecv(piece.bytes.data(), count, MPI_BYTE, &message, &requests_.emplace_back(MPI_REQUEST_NULL));
  LACONIC_RETURN_IF_ERROR(Checked("MPI_Imrecv", code));
  ++requests_under_way_;
  return true;
}

absl::StatusOr<int> MpiTransport::FinishRequests() {
  if (requests_under_way_ == 0) return 0;
  finished_.resize(requests_.size());
  statuses_.resize(requests_.size());
  int count = 0;
  const int code =
      MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &count, finished_.data(), statuses_.data());
  if (code == MPI_ERR_IN_STATUS) {
    for (int i = 0; i < count; ++i) LACONIC_RETURN_IF_ERROR(Checked("message", statuses_[i].MPI_ERROR));
  }
  LACONIC_RETURN_IF_ERROR(Checked("MPI_Testsome", code));
  requests_under_way_ -= count;
  return count;
}

absl::Status MpiTransport::WaitForAll() {
  std::lock_guard lock(*mpi_mutex_);
  for (const Piece& piece : expected_) {
    const int code = MPI_Irecv(piece.bytes.data(), static_cast<int>(piece.bytes.size()), MPI_BYTE, piece.from, kTag,
                               comm_, &requests_.emplace_back(MPI_REQUEST_NULL));
    LACONIC_RETURN_IF_ERROR(Checked("MPI_Irecv", code));
  }
  expected_.clear();
  return Checked("MPI_Waitall", MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE));
}

std::vector<int> MpiTransport::MissingPeers() const {
  std::vector<int> missing;
  for (const Piece& piece : expected_) missing.push_back(piece.from);
  for (size_t i = 0; i < requests_.size(); ++i) {
    if (requests_[i] != MPI_REQUEST_NULL) missing.push_back(peers_[i]);
  }
  return missing;
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
