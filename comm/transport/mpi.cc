#include "laconic/comm/transport/mpi.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <vector>

#include "absl/functional/function_ref.h"
#include "comm/transport/backoff.h"
#include "comm/transport/errors.h"
#include "comm/transport/mpi_status.h"
#include "comm/transport/poison.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

constexpr int kTag = 0;

// To one rank: enough to keep a fast link busy while this rank does something else for a moment, and few enough that
// MPI, which copies short pieces, does not hold a long message twice.
constexpr size_t kMaxSendsUnderWay = 16;

using internal::Checked;

// A message of L bytes is cut into pieces of PieceBytes(peer) and a last one that is shorter, perhaps empty: so two
// messages of different lengths differ in a piece, and no mismatch goes unseen. A piece is received only after a
// matched probe has told its length: Open MPI 4.1 (vader, tcp) writes past the end of a posted receive when a longer
// message comes by rendezvous.
class MpiTransport final : public Transport {
 public:
  // Takes over `comm`.
  MpiTransport(MPI_Comm comm, std::vector<std::string> host_of, std::shared_ptr<std::mutex> mpi_mutex,
               const MpiTransportOptions& options);
  ~MpiTransport() override;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string host() const override { return host_of_[rank_]; }
  absl::Status Exchange(std::span<const Outgoing> sends, std::span<const Incoming> receives,
                        const ExchangeOptions& options) override;
  void Abort(const absl::Status& why) noexcept override;
  absl::StatusOr<std::unique_ptr<Transport>> Subgroup(std::span<const int> members) override;

 private:
  // A message of which some pieces have not been started; those of sends are only read.
  struct Message {
    int peer;
    std::span<std::byte> bytes;
    size_t started_bytes = 0;
    bool all_started = false;  // the short last piece too
  };
  struct Request {
    int peer;
    bool is_send;
  };

  size_t PieceBytes(int peer) const {
    return host_of_[peer] == host() ? options_.max_piece_bytes
                                    : std::min(options_.max_piece_bytes, options_.remote_piece_bytes);
  }
  std::span<std::byte> NextPiece(const Message& message) const {
    return message.bytes.subspan(message.started_bytes,
                                 std::min(PieceBytes(message.peer), message.bytes.size() - message.started_bytes));
  }
  void SetUp(std::span<const Outgoing> sends, std::span<const Incoming> receives);
  // Starts what can be started of each message, in order for each peer; gives how many pieces that was.
  absl::StatusOr<int> StartPieces(std::vector<Message>& messages,
                                  absl::FunctionRef<absl::StatusOr<bool>(Message&)> start);
  // Start the next piece of the message; false when its turn has not come.
  absl::StatusOr<bool> TrySend(Message& message);
  absl::StatusOr<bool> TryReceive(Message& message);
  MPI_Request* NewRequest(int peer, bool is_send);
  void PieceStarted(Message& message, size_t piece_bytes) const;
  // Moves everything on; gives how many pieces started or finished.
  absl::StatusOr<int> Progress();
  absl::StatusOr<int> FinishRequests();
  absl::Status WaitForAll();
  bool done() const { return outgoing_.empty() && incoming_.empty() && requests_under_way_ == 0; }
  std::vector<int> MissingPeers() const;

  MPI_Comm comm_;
  const std::shared_ptr<std::mutex> mpi_mutex_;  // held during every call into MPI, for MPI_THREAD_SERIALIZED
  const MpiTransportOptions options_;
  int rank_ = 0;
  int size_ = 1;
  const std::vector<std::string> host_of_;  // of each rank
  internal::Poison poison_;
  // The Exchange under way; memory is reused. handles_[i] is what requests_[i] is known by, and MPI_REQUEST_NULL once
  // finished, when its place is in free_.
  std::vector<Message> outgoing_, incoming_;
  std::vector<MPI_Request> handles_;
  std::vector<Request> requests_;
  std::vector<int> free_;
  std::vector<int> finished_;
  std::vector<MPI_Status> statuses_;
  size_t requests_under_way_ = 0;
  std::vector<size_t> sends_under_way_;    // to each rank
  std::vector<uint64_t> waiting_in_pass_;  // of each rank: the last pass in which a message of it could not go on
  uint64_t pass_ = 0;
};

MpiTransport::MpiTransport(MPI_Comm comm, std::vector<std::string> host_of, std::shared_ptr<std::mutex> mpi_mutex,
                           const MpiTransportOptions& options)
    : comm_(comm), mpi_mutex_(std::move(mpi_mutex)), options_(options), host_of_(std::move(host_of)) {
  std::lock_guard lock(*mpi_mutex_);
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(comm_, &rank_);
  MPI_Comm_size(comm_, &size_);
  sends_under_way_.assign(size_, 0);
  waiting_in_pass_.assign(size_, 0);
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
  SetUp(sends, receives);
  if (options_.wait == MpiTransportOptions::Wait::kBlock) {
    const absl::Status waited = WaitForAll();
    return waited.ok() ? waited : poison_.Set(waited);
  }
  internal::Backoff backoff;
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

void MpiTransport::SetUp(std::span<const Outgoing> sends, std::span<const Incoming> receives) {
  outgoing_.clear();
  incoming_.clear();
  handles_.clear();
  requests_.clear();
  free_.clear();
  requests_under_way_ = 0;
  for (const Outgoing& send : sends) {
    sends_under_way_[send.to] = 0;
    outgoing_.push_back({send.to, {const_cast<std::byte*>(send.bytes.data()), send.bytes.size()}});
  }
  for (const Incoming& receive : receives) incoming_.push_back({receive.from, receive.bytes});
}

absl::StatusOr<int> MpiTransport::Progress() {
  std::lock_guard lock(*mpi_mutex_);
  LACONIC_ASSIGN_OR_RETURN(const int sent, StartPieces(outgoing_, [this](Message& m) { return TrySend(m); }));
  LACONIC_ASSIGN_OR_RETURN(const int arrived, StartPieces(incoming_, [this](Message& m) { return TryReceive(m); }));
  LACONIC_ASSIGN_OR_RETURN(const int finished, FinishRequests());
  return sent + arrived + finished;
}

absl::StatusOr<int> MpiTransport::StartPieces(std::vector<Message>& messages,
                                              absl::FunctionRef<absl::StatusOr<bool>(Message&)> start) {
  ++pass_;
  int pieces = 0;
  size_t kept = 0;
  for (Message& message : messages) {
    while (!message.all_started && waiting_in_pass_[message.peer] != pass_) {
      LACONIC_ASSIGN_OR_RETURN(const bool started, start(message));
      pieces += started;
      if (!started) waiting_in_pass_[message.peer] = pass_;  // messages behind it must wait their turn
    }
    if (!message.all_started) messages[kept++] = message;
  }
  messages.resize(kept);
  return pieces;
}

absl::StatusOr<bool> MpiTransport::TrySend(Message& message) {
  if (sends_under_way_[message.peer] == kMaxSendsUnderWay) return false;
  const std::span<const std::byte> piece = NextPiece(message);
  const int code = MPI_Isend(piece.data(), static_cast<int>(piece.size()), MPI_BYTE, message.peer, kTag, comm_,
                             NewRequest(message.peer, /*is_send=*/true));
  LACONIC_RETURN_IF_ERROR(Checked("MPI_Isend", code));
  PieceStarted(message, piece.size());
  return true;
}

absl::StatusOr<bool> MpiTransport::TryReceive(Message& message) {
  int found = 0, count = 0;
  MPI_Message handle = MPI_MESSAGE_NULL;
  MPI_Status status;
  LACONIC_RETURN_IF_ERROR(Checked("MPI_Improbe", MPI_Improbe(message.peer, kTag, comm_, &found, &handle, &status)));
  if (!found) return false;
  LACONIC_RETURN_IF_ERROR(Checked("MPI_Get_count", MPI_Get_count(&status, MPI_BYTE, &count)));
  const size_t longest = PieceBytes(message.peer);
  if (count < 0 || static_cast<size_t>(count) > longest) {
    return absl::DataLossError(fmt::format("rank {} sends in pieces longer than {} bytes", message.peer, longest));
  }
  const size_t arrived_bytes = static_cast<size_t>(count);
  const std::span<std::byte> piece = NextPiece(message);
  if (arrived_bytes != piece.size()) {
    // A short piece ends its message, so its whole length is known.
    if (arrived_bytes < longest) {
      return internal::LengthMismatchAtReceiver(message.peer, message.started_bytes + arrived_bytes,
                                                message.bytes.size());
    }
    return absl::DataLossError(fmt::format("the message from rank {} is longer than the {} bytes this rank expects",
                                           message.peer, message.bytes.size()));
  }
  const int code = MPI_Imrecv(piece.data(), count, MPI_BYTE, &handle, NewRequest(message.peer, /*is_send=*/false));
  LACONIC_RETURN_IF_ERROR(Checked("MPI_Imrecv", code));
  PieceStarted(message, piece.size());
  return true;
}

MPI_Request* MpiTransport::NewRequest(int peer, bool is_send) {
  if (free_.empty()) {
    free_.push_back(static_cast<int>(handles_.size()));
    handles_.push_back(MPI_REQUEST_NULL);
    requests_.push_back({});
  }
  const int place = free_.back();
  free_.pop_back();
  requests_[place] = {peer, is_send};
  sends_under_way_[peer] += is_send;
  ++requests_under_way_;
  return &handles_[place];
}

void MpiTransport::PieceStarted(Message& message, size_t piece_bytes) const {
  message.started_bytes += piece_bytes;
  message.all_started = piece_bytes < PieceBytes(message.peer);
}

absl::StatusOr<int> MpiTransport::FinishRequests() {
  if (requests_under_way_ == 0) return 0;
  finished_.resize(handles_.size());
  statuses_.resize(handles_.size());
  int count = 0;
  const int code =
      MPI_Testsome(static_cast<int>(handles_.size()), handles_.data(), &count, finished_.data(), statuses_.data());
  if (code == MPI_ERR_IN_STATUS) {
    for (int i = 0; i < count; ++i) LACONIC_RETURN_IF_ERROR(Checked("message", statuses_[i].MPI_ERROR));
  }
  LACONIC_RETURN_IF_ERROR(Checked("MPI_Testsome", code));
  for (int i = 0; i < count; ++i) {
    const Request& request = requests_[finished_[i]];
    sends_under_way_[request.peer] -= request.is_send;
    free_.push_back(finished_[i]);
  }
  requests_under_way_ -= count;
  return count;
}

absl::Status MpiTransport::WaitForAll() {
  std::lock_guard lock(*mpi_mutex_);
  for (Message& message : incoming_) {
    while (!message.all_started) {
      const std::span<std::byte> piece = NextPiece(message);
      const int code = MPI_Irecv(piece.data(), static_cast<int>(piece.size()), MPI_BYTE, message.peer, kTag, comm_,
                                 NewRequest(message.peer, /*is_send=*/false));
      LACONIC_RETURN_IF_ERROR(Checked("MPI_Irecv", code));
      PieceStarted(message, piece.size());
    }
  }
  for (Message& message : outgoing_) {
    while (!message.all_started) {
      sends_under_way_[message.peer] = 0;  // no window: MPI_Waitall cannot start more
      LACONIC_RETURN_IF_ERROR(TrySend(message).status());
    }
  }
  return Checked("MPI_Waitall", MPI_Waitall(static_cast<int>(handles_.size()), handles_.data(), MPI_STATUSES_IGNORE));
}

std::vector<int> MpiTransport::MissingPeers() const {
  std::vector<int> missing;
  for (const Message& message : outgoing_) missing.push_back(message.peer);
  for (const Message& message : incoming_) missing.push_back(message.peer);
  for (size_t i = 0; i < handles_.size(); ++i) {
    if (handles_[i] != MPI_REQUEST_NULL) missing.push_back(requests_[i].peer);
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
  std::vector<std::string> host_of;
  for (const int member : members) host_of.push_back(host_of_[member]);
  return std::make_unique<MpiTransport>(comm, std::move(host_of), mpi_mutex_, options_);
}

// The processor name of each rank. Collective.
absl::StatusOr<std::vector<std::string>> GatherHosts(MPI_Comm comm) {
  int size = 0, length = 0;
  MPI_Comm_size(comm, &size);
  std::array<char, MPI_MAX_PROCESSOR_NAME> own{};
  MPI_Get_processor_name(own.data(), &length);
  std::vector<std::array<char, MPI_MAX_PROCESSOR_NAME>> all(size);
  LACONIC_RETURN_IF_ERROR(Checked(
      "MPI_Allgather", MPI_Allgather(own.data(), own.size(), MPI_CHAR, all.data(), own.size(), MPI_CHAR, comm)));
  std::vector<std::string> names;
  for (const auto& name : all) names.emplace_back(name.data(), strnlen(name.data(), name.size()));
  return names;
}

absl::Status CheckPieceBytes(const char* name, size_t bytes) {
  constexpr size_t kMost = size_t{1} << 30;
  if (bytes >= 1 && bytes <= kMost) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{} {} is not in 1 to {}", name, bytes, kMost));
}

absl::StatusOr<std::unique_ptr<Transport>> MakeFromComm(MPI_Comm given, const MpiTransportOptions& options) {
  LACONIC_RETURN_IF_ERROR(CheckPieceBytes("max_piece_bytes", options.max_piece_bytes));
  LACONIC_RETURN_IF_ERROR(CheckPieceBytes("remote_piece_bytes", options.remote_piece_bytes));
  int initialized = 0;
  MPI_Initialized(&initialized);
  if (!initialized) return absl::FailedPreconditionError("MPI is not initialised: create an MpiEnvironment first");
  if (given == MPI_COMM_NULL) return absl::InvalidArgumentError("the communicator is MPI_COMM_NULL");
  MPI_Comm comm = MPI_COMM_NULL;
  LACONIC_RETURN_IF_ERROR(Checked("MPI_Comm_dup", MPI_Comm_dup(given, &comm)));
  LACONIC_ASSIGN_OR_RETURN(std::vector<std::string> host_of, GatherHosts(comm));
  return std::make_unique<MpiTransport>(comm, std::move(host_of), std::make_shared<std::mutex>(), options);
}

}  // namespace

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
