#include "laconic/comm/transport/in_process.h"

#include <fmt/core.h>

#include <condition_variable>
#include <cstring>
#include <list>
#include <mutex>
#include <thread>

#include "comm/transport/errors.h"
#include "comm/transport/meeting.h"
#include "laconic/base/status.h"
#include "laconic/comm/transport/shared_memory.h"

namespace laconic {
namespace {

// Messages that one rank has posted for another and that are not taken yet, in order. Keeps its memory.
class Channel {
 public:
  bool empty() const { return head_ == messages_.size(); }
  size_t size() const { return messages_.size() - head_; }
  std::span<const std::byte> front() const { return messages_[head_]; }
  void Push(std::span<const std::byte> message) { messages_.push_back(message); }
  void Pop() {
    if (++head_ == messages_.size()) Clear();
  }
  void Clear() {
    messages_.clear();
    head_ = 0;
  }

 private:
  std::vector<std::span<const std::byte>> messages_;
  size_t head_ = 0;
};

// One rank's part of the shared state.
struct End {
  std::condition_variable wake;
  absl::Status status;      // not OK: poisoned
  bool aborted = false;     // ... by Abort
  bool left = false;        // destroyed
  size_t sends_in_use = 0;  // messages of the current Exchange that no peer has finished copying
  bool gone() const { return left || !status.ok(); }
};

// What the ends of one group share. The mutex guards all of it and is not held while bytes are copied.
struct Group {
  explicit Group(int size) : ends(size), channels(static_cast<size_t>(size) * size), meetings(size) {}

  int size() const { return static_cast<int>(ends.size()); }
  Channel& channel(int from, int to) { return channels[static_cast<size_t>(from) * ends.size() + to]; }
  // Why nothing more will come from a rank that is gone().
  absl::Status GoneError(int rank) const;
  // Tells everybody that ends[rank] has become gone().
  void Announce(int rank);

  // A subgroup of which some members have not yet taken their end.
  struct Forming {
    std::vector<int> members;
    std::vector<bool> taken;
    size_t missing;
    std::shared_ptr<Group> group;
  };

  std::mutex mutex;
  std::vector<End> ends;
  std::vector<Channel> channels;
  internal::Meetings meetings;
  std::list<Forming> forming;
};

absl::Status Group::GoneError(int rank) const {
  const absl::Status& why = ends[rank].status;
  if (why.ok()) return absl::UnavailableError(fmt::format("rank {} has left the group", rank));
  const fmt::string_view reason(why.message().data(), why.message().size());
  if (ends[rank].aborted) return absl::UnavailableError(fmt::format("rank {} aborted: {}", rank, reason));
  if (absl::IsUnavailable(why)) return why;  // itself a victim: name the cause, not the chain
  return absl::UnavailableError(fmt::format("rank {} failed: {}", rank, reason));
}

void Group::Announce(int rank) {
  for (End& end : ends) end.wake.notify_all();
  for (Forming& subgroup : forming) {
    for (size_t i = 0; i < subgroup.members.size(); ++i) {
      if (subgroup.members[i] != rank || subgroup.taken[i]) continue;
      std::lock_guard lock(subgroup.group->mutex);
      subgroup.group->ends[i].left = true;
      subgroup.group->Announce(static_cast<int>(i));
    }
  }
}

void Poison(Group& group, int rank, const absl::Status& status) {
  if (!group.ends[rank].status.ok()) return;
  group.ends[rank].status = status;
  group.Announce(rank);
}

void Abort(Group& group, int rank, const absl::Status& why) {
  std::lock_guard lock(group.mutex);
  if (!group.ends[rank].status.ok()) return;
  group.ends[rank].aborted = true;
  Poison(group, rank, why.ok() ? absl::AbortedError("no reason given") : why);
}

class InProcessTransport final : public Transport, public SharedMemory {
 public:
  InProcessTransport(std::shared_ptr<Group> group, int rank) : group_(std::move(group)), rank_(rank) {}
  ~InProcessTransport() override;

  int rank() const override { return rank_; }
  int size() const override { return group_->size(); }
  absl::Status Exchange(std::span<const Outgoing> sends, std::span<const Incoming> receives,
                        const ExchangeOptions& options) override;
  void Abort(const absl::Status& why) noexcept override { laconic::Abort(*group_, rank_, why); }
  absl::StatusOr<std::unique_ptr<Transport>> Subgroup(std::span<const int> members) override;
  SharedMemory* shared_memory() override { return this; }
  absl::Status Meet(std::span<std::byte> own, size_t pieces, Work work, const ExchangeOptions& options) override;

 private:
  struct Copy {
    int from;
    std::span<const std::byte> source;
    std::byte* target;
  };

  // All below: with group_->mutex held.
  void Post(std::span<const Outgoing> sends);
  absl::Status Match(std::span<const Incoming> receives);  // moves what has arrived from unmatched_ to copies_
  void RunCopies(std::unique_lock<std::mutex>& lock);      // lets go of the mutex meanwhile
  absl::Status CheckMissingPeers(std::span<const Outgoing> sends, std::span<const Incoming> receives) const;
  std::vector<int> MissingPeers(std::span<const Outgoing> sends, std::span<const Incoming> receives) const;
  absl::Status Fail(const absl::Status& status, std::unique_lock<std::mutex>& lock);
  void WaitUntil(absl::Time deadline, std::unique_lock<std::mutex>& lock);
  // Whether the meeting can still take place. A peer that has lent another length is poisoned.
  absl::Status CheckMeeting(absl::Time start, absl::Time deadline);
  void WakeAll();
  End& self() const { return group_->ends[rank_]; }

  std::shared_ptr<Group> group_;
  int rank_;
  // Work memory of Exchange.
  std::vector<size_t> unmatched_;  // indices of receives, ascending
  std::vector<Copy> copies_;
  // Work memory of Meet.
  std::vector<int> missing_;
};

InProcessTransport::~InProcessTransport() {
  std::lock_guard lock(group_->mutex);
  self().left = true;
  group_->Announce(rank_);
}

absl::Status InProcessTransport::Exchange(std::span<const Outgoing> sends, std::span<const Incoming> receives,
                                          const ExchangeOptions& options) {
  const absl::Time start = absl::Now();
  std::unique_lock lock(group_->mutex);
  LACONIC_RETURN_IF_ERROR(self().status);
  if (absl::Status peers = internal::CheckPeers(*this, sends, receives); !peers.ok()) return Fail(peers, lock);

  Post(sends);
  unmatched_.clear();
  copies_.reserve(receives.size());  // not as many as happen to be ready: a later step must not allocate
  for (size_t i = 0; i < receives.size(); ++i) unmatched_.push_back(i);
  while (true) {
    if (!self().status.ok()) return Fail(self().status, lock);
    if (absl::Status match = Match(receives); !match.ok()) return Fail(match, lock);
    if (!copies_.empty()) {
      RunCopies(lock);
      continue;
    }
    if (unmatched_.empty() && self().sends_in_use == 0) return absl::OkStatus();
    if (absl::Status missing = CheckMissingPeers(sends, receives); !missing.ok()) return Fail(missing, lock);
    const absl::Time now = absl::Now();
    if (now >= options.deadline) {
      return Fail(internal::WaitedFor(now - start, options.deadline - start, MissingPeers(sends, receives)), lock);
    }
    WaitUntil(options.deadline, lock);
  }
}

void InProcessTransport::WaitUntil(absl::Time deadline, std::unique_lock<std::mutex>& lock) {
  if (deadline == absl::InfiniteFuture()) {
    self().wake.wait(lock);
  } else {
    self().wake.wait_until(lock, absl::ToChronoTime(deadline));
  }
}

void InProcessTransport::Post(std::span<const Outgoing> sends) {
  for (const Outgoing& send : sends) {
    group_->channel(rank_, send.to).Push(send.bytes);
    group_->ends[send.to].wake.notify_one();
  }
  self().sends_in_use = sends.size();
}

absl::Status InProcessTransport::Match(std::span<const Incoming> receives) {
  copies_.clear();
  size_t kept = 0;
  for (const size_t index : unmatched_) {
    const Incoming& receive = receives[index];
    Channel& channel = group_->channel(receive.from, rank_);
    if (channel.empty()) {
      unmatched_[kept++] = index;
      continue;
    }
    const std::span<const std::byte> message = channel.front();
    if (message.size() != receive.bytes.size()) {
      // What is in copies_ stays uncopied: the sender must not wait for it.
      for (const Copy& copy : copies_) --group_->ends[copy.from].sends_in_use;
      copies_.clear();
      Poison(*group_, receive.from, internal::LengthMismatchAtSender(rank_, message.size(), receive.bytes.size()));
      return internal::LengthMismatchAtReceiver(receive.from, message.size(), receive.bytes.size());
    }
    channel.Pop();
    copies_.push_back({receive.from, message, receive.bytes.data()});
  }
  unmatched_.resize(kept);
  return absl::OkStatus();
}

void InProcessTransport::RunCopies(std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  for (const Copy& copy : copies_) {
    if (!copy.source.empty()) std::memcpy(copy.target, copy.source.data(), copy.source.size());
  }
  lock.lock();
  for (const Copy& copy : copies_) {
    End& sender = group_->ends[copy.from];
    if (--sender.sends_in_use == 0) sender.wake.notify_one();
  }
}

absl::Status InProcessTransport::CheckMissingPeers(std::span<const Outgoing> sends,
                                                   std::span<const Incoming> receives) const {
  for (const size_t index : unmatched_) {
    if (const int from = receives[index].from; group_->ends[from].gone()) return group_->GoneError(from);
  }
  for (const Outgoing& send : sends) {
    if (group_->ends[send.to].gone() && !group_->channel(rank_, send.to).empty()) return group_->GoneError(send.to);
  }
  return absl::OkStatus();
}

std::vector<int> InProcessTransport::MissingPeers(std::span<const Outgoing> sends,
                                                  std::span<const Incoming> receives) const {
  std::vector<int> missing;
  for (const size_t index : unmatched_) missing.push_back(receives[index].from);
  for (const Outgoing& send : sends) {
    if (!group_->channel(rank_, send.to).empty()) missing.push_back(send.to);
  }
  return missing;
}

absl::Status InProcessTransport::Fail(const absl::Status& status, std::unique_lock<std::mutex>& lock) {
  Poison(*group_, rank_, status);
  for (int to = 0; to < size(); ++to) {
    Channel& channel = group_->channel(rank_, to);
    self().sends_in_use -= channel.size();
    channel.Clear();
  }
  // The caller's spans are free again only when no peer is copying from them; that needs no deadline.
  self().wake.wait(lock, [this] { return self().sends_in_use == 0; });
  return self().status;
}

absl::Status InProcessTransport::Meet(std::span<std::byte> own, size_t pieces, Work work,
                                      const ExchangeOptions& options) {
  const absl::Time start = absl::Now();
  std::unique_lock lock(group_->mutex);
  LACONIC_RETURN_IF_ERROR(self().status);
  internal::Meetings& meetings = group_->meetings;
  const uint64_t meeting = meetings.Arrive(rank_, own);
  while (!meetings.over(meeting)) {
    if (const std::optional<size_t> piece = meetings.TakePiece()) {
      lock.unlock();
      work(*piece, meetings.spans());
      lock.lock();
      if (meetings.FinishPiece()) WakeAll();
    } else if (meetings.begun()) {
      self().wake.wait(lock);
    } else if (absl::Status status = CheckMeeting(start, options.deadline); !status.ok()) {
      meetings.Withdraw(rank_);
      return Fail(status, lock);
    } else if (meetings.complete()) {
      meetings.Begin(pieces);
      if (pieces != 1) WakeAll();  // a single piece is done while the others sleep on: that makes short sums fast
    } else {
      WaitUntil(options.deadline, lock);
    }
  }
  return self().status;
}

absl::Status InProcessTransport::CheckMeeting(absl::Time start, absl::Time deadline) {
  LACONIC_RETURN_IF_ERROR(self().status);
  const internal::Meetings& meetings = group_->meetings;
  const size_t own_bytes = meetings.spans()[rank_].size();
  missing_.clear();
  missing_.reserve(size());  // as above
  for (int rank = 0; rank < size(); ++rank) {
    if (rank == rank_) continue;
    if (group_->ends[rank].gone()) return group_->GoneError(rank);
    if (!meetings.has_arrived(rank)) {
      missing_.push_back(rank);
    } else if (const size_t bytes = meetings.spans()[rank].size(); bytes != own_bytes) {
      Poison(*group_, rank, internal::LentLengthMismatch(rank_, own_bytes, bytes));
      return internal::LentLengthMismatch(rank, bytes, own_bytes);
    }
  }
  const absl::Time now = absl::Now();
  if (missing_.empty() || now < deadline) return absl::OkStatus();
  return internal::WaitedFor(now - start, deadline - start, missing_);
}

void InProcessTransport::WakeAll() {
  for (End& end : group_->ends) end.wake.notify_one();
}

absl::StatusOr<std::unique_ptr<Transport>> InProcessTransport::Subgroup(std::span<const int> members) {
  LACONIC_ASSIGN_OR_RETURN(const int new_rank, internal::CheckMembers(*this, members));
  std::lock_guard lock(group_->mutex);
  LACONIC_RETURN_IF_ERROR(self().status);

  const std::vector<int> wanted(members.begin(), members.end());
  auto& forming = group_->forming;
  auto subgroup = forming.begin();
  while (subgroup != forming.end() && (subgroup->members != wanted || subgroup->taken[new_rank])) ++subgroup;
  if (subgroup == forming.end()) {
    const int size = static_cast<int>(wanted.size());
    subgroup = forming.insert(forming.end(),
                              {wanted, std::vector<bool>(size, false), wanted.size(), std::make_shared<Group>(size)});
    for (int i = 0; i < size; ++i) subgroup->group->ends[i].left = group_->ends[wanted[i]].gone();
  }
  subgroup->taken[new_rank] = true;
  auto end = std::make_unique<InProcessTransport>(subgroup->group, new_rank);
  if (--subgroup->missing == 0) forming.erase(subgroup);
  return end;
}

std::vector<std::unique_ptr<Transport>> MakeEnds(const std::shared_ptr<Group>& group) {
  std::vector<std::unique_ptr<Transport>> ends;
  for (int rank = 0; rank < group->size(); ++rank) ends.push_back(std::make_unique<InProcessTransport>(group, rank));
  return ends;
}

}  // namespace

std::vector<std::unique_ptr<Transport>> MakeInProcessGroup(int ranks) {
  return MakeEnds(std::make_shared<Group>(ranks));
}

absl::Status RunInProcess(int ranks, const std::function<absl::Status(std::unique_ptr<Transport>)>& body) {
  const auto group = std::make_shared<Group>(ranks);
  std::vector<std::unique_ptr<Transport>> ends = MakeEnds(group);
  std::vector<absl::Status> results(ranks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      results[rank] = body(std::move(ends[rank]));
      if (!results[rank].ok()) Abort(*group, rank, results[rank]);
    });
  }
  for (std::thread& thread : threads) thread.join();

  absl::Status victim;
  for (int rank = 0; rank < ranks; ++rank) {
    if (results[rank].ok()) continue;
    const absl::Status named = Annotate(results[rank], fmt::format("rank {}", rank));
    if (!absl::IsUnavailable(named)) return named;
    if (victim.ok()) victim = named;
  }
  return victim;
}

}  // namespace laconic
