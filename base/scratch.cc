#include "laconic/base/scratch.h"

#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <vector>

namespace laconic {
namespace {

constexpr std::align_val_t kAlignment{64};

struct AlignedDelete {
  void operator()(std::byte* bytes) const { ::operator delete[](bytes, kAlignment); }
};

// Grows to the largest size ever asked for.
class Buffer {
 public:
  std::span<std::byte> AtLeast(size_t bytes) {
    if (bytes > capacity_ || bytes_ == nullptr) {
      // Released first, so that the peak is one buffer. An eighth of headroom: slowly growing sizes do not reallocate
      // each time.
      bytes_.reset();
      capacity_ = 0;
      const size_t capacity = std::max<size_t>(bytes + bytes / 8, 64);
      bytes_.reset(static_cast<std::byte*>(::operator new[](capacity, kAlignment)));
      capacity_ = capacity;
    }
    return {bytes_.get(), bytes};
  }

 private:
  std::unique_ptr<std::byte[], AlignedDelete> bytes_;
  size_t capacity_ = 0;
};

// This thread's leases: the i-th that is alive has the i-th buffer.
struct Leases {
  std::vector<Buffer> buffers;
  size_t alive = 0;
};

Leases& ThreadLeases() {
  thread_local Leases leases;
  return leases;
}

}  // namespace

std::span<std::byte> ScratchBytes(ScratchUse use, size_t bytes) {
  thread_local std::array<Buffer, static_cast<size_t>(ScratchUse::kCount)> buffers;
  return buffers[static_cast<size_t>(use)].AtLeast(bytes);
}

ScratchLease::ScratchLease(size_t bytes) {
  Leases& leases = ThreadLeases();
  if (leases.alive == leases.buffers.size()) leases.buffers.emplace_back();
  bytes_ = leases.buffers[leases.alive].AtLeast(bytes);
  ++leases.alive;
}

ScratchLease::~ScratchLease() { --ThreadLeases().alive; }

}  // namespace laconic
