// Work memory for codecs, which are const and may run on any thread: buffers that belong to the calling thread, grow to
// the largest size ever asked for and are reused, so that a step allocates nothing once every size has been seen.
#pragma once

#include <cstddef>
#include <span>

namespace laconic {

// What a scratch buffer is for. Two uses that are alive at the same time on one thread need two names here.
enum class ScratchUse { kIndices, kValues, kDecode, kBits, kMatrixA, kMatrixB, kMatrixC, kStage, kCount };

// At least `bytes` bytes, 64-byte aligned, contents unspecified; valid until the next call with the same use on this
// thread. Throws std::bad_alloc like operator new.
std::span<std::byte> ScratchBytes(ScratchUse use, size_t bytes);

// `count` objects of trivially copyable T in that memory.
template <typename T>
std::span<T> Scratch(ScratchUse use, size_t count) {
  return {reinterpret_cast<T*>(ScratchBytes(use, count * sizeof(T)).data()), count};
}

}  // namespace laconic
