// One pass over a message and its residual: a run at a time is formed in a buffer that stays in the L1 cache, encoded
// there, turned into the residual there and stored, while the next run is fetched. Twice as fast as passes over memory,
// for which the message would have to be written and read again.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "compressors/kernels/kernels.h"
#include "laconic/compressors/message.h"

namespace laconic::internal {

// One thread at a time; several may work on runs of one message. An encoder that needs a number of a whole block first
// (its scale) forms the block as one run where it fits in one, else twice.
class MessageRuns {
 public:
  static constexpr size_t kMax = kernels::kMaxRun;  // elements of a run, at most
  static constexpr size_t kUsual = 512;             // what memory likes best: a run and its successor take half of L1

  // residual: as long as the message, or empty where nobody asks for it.
  MessageRuns(const Message& message, std::span<float> residual)
      : message_(message), residual_(residual), past_cache_(residual.size_bytes() >= kPastCacheBytes) {}
  ~MessageRuns() {
    if (past_cache_) kernels::FinishStores();
  }
  MessageRuns(const MessageRuns&) = delete;
  MessageRuns& operator=(const MessageRuns&) = delete;

  const Message& message() const { return message_; }
  bool leaves_residual() const { return !residual_.empty(); }
  // The elements of a first run after which runs of kUsual begin where the residual's cache lines do: only whole lines
  // can be written around the cache.
  size_t FirstCount() const {
    constexpr size_t kLineBytes = 64;
    return std::min(message_.size(),
                    kUsual - reinterpret_cast<uintptr_t>(residual_.data()) % kLineBytes / sizeof(float));
  }

  // Elements [first, first + count) of the message, count <= kMax; valid until the next call. The caller may change
  // them.
  std::span<float> Form(size_t first, size_t count) {
    const std::span<float> run = Run(first, count);
    kernels::FormRun(message_, first, run);
    return run;
  }
  // The same, with what is known of the run as soon as it is formed.
  std::span<float> Form(size_t first, size_t count, float& abs_max) {
    const std::span<float> run = Run(first, count);
    abs_max = kernels::FormRunAbsMax(message_, first, run);
    return run;
  }
  std::span<float> Form(size_t first, size_t count, kernels::Magnitudes& magnitudes) {
    const std::span<float> run = Run(first, count);
    magnitudes = kernels::FormRunMagnitudes(message_, first, run);
    return run;
  }
  std::span<float> FormSumSquares(size_t first, size_t count, double& sum_squares) {
    const std::span<float> run = Run(first, count);
    sum_squares = kernels::FormRunSumSquares(message_, first, run);
    return run;
  }
  // The run formed last.
  std::span<float> current() { return std::span(buffer_).first(count_); }

  // Where the residual goes, of the run formed last or of elements [begin, begin + count) of it; empty where nobody
  // asks.
  kernels::Sink sink() const { return sink(0, count_); }
  kernels::Sink sink(size_t begin, size_t count) const;
  // The run formed last was turned into its residual: stores it.
  void Leave() {
    if (leaves_residual()) kernels::StoreRun(current(), sink());
  }
  // The same of elements from `first` on that lie elsewhere; there must be a residual.
  void Leave(size_t first, std::span<const float> values) {
    kernels::StoreRun(values, {.out = residual_.subspan(first, values.size()), .past_cache = past_cache_, .ahead = {}});
  }

 private:
  // Above this many bytes a residual would not be found in the cache when it is read next, one step later.
  static constexpr size_t kPastCacheBytes = size_t{4} << 20;

  std::span<float> Run(size_t first, size_t count) {
    first_ = first;
    count_ = count;
    return std::span(buffer_).first(count);
  }

  const Message& message_;
  const std::span<float> residual_;
  const bool past_cache_;
  size_t first_ = 0, count_ = 0;  // of the run formed last
  alignas(64) std::array<float, kMax> buffer_;
};

// Calls visit(first element, elements) for the runs of a block: one where it fits, else usual ones.
template <typename Visit>
void ForEachRun(size_t first, size_t elements, Visit visit) {
  const size_t length = elements <= MessageRuns::kMax ? elements : MessageRuns::kUsual;
  for (size_t i = 0; i < elements; i += length) visit(first + i, std::min(length, elements - i));
}

// The larger of two magnitudes. A NaN counts as larger than all, so that none is lost in any order of comparing.
template <std::floating_point T>
T LargerMagnitude(T a, T b) {
  return a > b || std::isnan(a) ? a : b;
}

// Elements that make a piece of work for a thread, for codecs without blocks; a multiple of runs.
inline constexpr size_t kGrain = size_t{1} << 18;

// max |m_i|; not finite exactly if some m_i is not.
float LargestMagnitude(const Message& message);

// InvalidArgument "sign: element 7 of 100 is nan": the first element of the message that is not finite. OK if there is
// none.
absl::Status CheckFinite(std::string_view codec, const Message& message);

}  // namespace laconic::internal
