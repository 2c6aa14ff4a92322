// Work memory for codecs, which are const and may run on any thread: buffers that belong to the calling thread, grow to
// the largest size ever asked for and are reused, so that a step allocates nothing once every size has been seen.
#pragma once

#include <cstddef>
#include <span>

namespace laconic {

// What a scratch buffer is for. Two uses that are alive at the same time on one thread need two names here.
enum class ScratchUse { kIndices, kValues, kBits, kMatrixA, kMatrixB, kMatrixC, kStage, kCount };

// At least `bytes` bytes, 64-byte aligned, contents unspecified; valid until the next call with the same use on this
// thread. Throws std::bad_alloc like operator new.
std::span<std::byte> ScratchBytes(ScratchUse use, size_t bytes);

// `count` objects of trivially copyable T in that memory.
template <typename T>
std::span<T> Scratch(ScratchUse use, size_t count) {
  return {reinterpret_cast<T*>(ScratchBytes(use, count * sizeof(T)).data()), count};
}

// Work memory for code that may meet itself again further in, such as a codec that wraps codecs: leases that are alive
// at the same time on one thread do not overlap, whoever holds them. Lives on the stack; ended in reverse order.
class ScratchLease {
 public:
  // At least `bytes` bytes, 64-byte aligned, contents unspecified. Throws std::bad_alloc like operator new.
  explicit ScratchLease(size_t bytes);
  ~ScratchLease();
  ScratchLease(const ScratchLease&) = delete;
  ScratchLease& operator=(const ScratchLease&) = delete;

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

// `count` objects of trivially copyable T under a lease.
template <typename T>
class LeasedScratch {
 public:
  explicit LeasedScratch(size_t count) : lease_(count * sizeof(T)), count_(count) {}
  std::span<T> span() const { return {reinterpret_cast<T*>(lease_.bytes().data()), count_}; }

 private:
  ScratchLease lease_;
  size_t count_;
};

}  // namespace laconic
