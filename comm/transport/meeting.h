// Who has come to a SharedMemory::Meet, and which of its pieces are done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace laconic::internal {

// The meetings of one group, one after the other. Not thread-safe; but spans() stays as it is from Begin to the end of
// that meeting, and may be read meanwhile without a lock.
class Meetings {
 public:
  explicit Meetings(int ranks) : spans_(ranks), arrived_(ranks, false) {}

  // The rank lends `own` to the next meeting, whose number is returned.
  uint64_t Arrive(int rank, std::span<std::byte> own) {
    spans_[rank] = own;
    arrived_[rank] = true;
    ++arrivals_;
    return current_;
  }
  // The rank takes its span back from a meeting that has not begun.
  void Withdraw(int rank) {
    arrived_[rank] = false;
    --arrivals_;
  }
  bool has_arrived(int rank) const { return arrived_[rank]; }
  bool complete() const { return arrivals_ == spans_.size(); }
  std::span<const std::span<std::byte>> spans() const { return spans_; }

  // When complete().
  void Begin(size_t pieces) {
    begun_ = true;
    pieces_ = pieces;
    taken_ = finished_ = 0;
    if (pieces_ == 0) End();
  }
  bool begun() const { return begun_; }
  bool over(uint64_t meeting) const { return meeting != current_; }

  // A piece that nobody has taken yet.
  std::optional<size_t> TakePiece() {
    if (!begun_ || taken_ == pieces_) return std::nullopt;
    return taken_++;
  }
  // True when it was the last one: the meeting is over.
  bool FinishPiece() {
    if (++finished_ < pieces_) return false;
    End();
    return true;
  }

 private:
  void End() {
    begun_ = false;
    arrived_.assign(arrived_.size(), false);
    arrivals_ = 0;
    ++current_;
  }

  std::vector<std::span<std::byte>> spans_;  // of each rank
  std::vector<bool> arrived_;
  size_t arrivals_ = 0;
  uint64_t current_ = 0;  // number of the meeting that gathers or is under way
  bool begun_ = false;
  size_t pieces_ = 0, taken_ = 0, finished_ = 0;
};

}  // namespace laconic::internal
