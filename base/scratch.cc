#include "laconic/base/scratch.h"

#include <algorithm>
#include <array>
#include <memory>
#include <new>

namespace laconic {
namespace {

constexpr std::align_val_t kAlignment{64};

struct AlignedDelete {
  void operator()(std::byte* bytes) const { ::operator delete[](bytes, kAlignment); }
};

struct Buffer {
  std::unique_ptr<std::byte[], AlignedDelete> bytes;
  size_t capacity = 0;
};

}  // namespace

std::span<std::byte> ScratchBytes(ScratchUse use, size_t bytes) {
  thread_local std::array<Buffer, static_cast<size_t>(ScratchUse::kCount)> buffers;
  Buffer& buffer = buffers[static_cast<size_t>(use)];
  if (bytes > buffer.capacity || buffer.bytes == nullptr) {
    // Released first, so that the peak is one buffer. An eighth of headroom: slowly growing sizes do not reallocate
    // each time.
    buffer = {};
    const size_t capacity = std::max<size_t>(bytes + bytes / 8, 64);
    buffer.bytes.reset(static_cast<std::byte*>(::operator new[](capacity, kAlignment)));
    buffer.capacity = capacity;
  }
  return {buffer.bytes.get(), bytes};
}

}  // namespace laconic
