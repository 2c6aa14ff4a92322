#include "compressors/chunk_select.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

#include "compressors/kernels/kernels.h"
#include "compressors/kernels/sparse.h"
#include "compressors/message_runs.h"
#include "compressors/threshold.h"
#include "laconic/base/parallel.h"
#include "laconic/base/scratch.h"

namespace laconic::internal {
namespace {

using kernels::KeyOf;

static_assert(kMaxChunk <= MessageRuns::kMax);

// Selects from one chunk after another. One thread at a time.
class ChunkSelector {
 public:
  ChunkSelector() { Scratch<uint32_t>(ScratchUse::kBits, kMaxChunk); }  // the most FindThreshold will want

  // Forms the chunk of the message that begins at `first`, run by run, and collects what reaches the guess meanwhile:
  // so the next run is fetched while this one is looked through. Gives the chunk.
  std::span<float> Form(MessageRuns& runs, size_t first, size_t elements, uint32_t position) {
    size_ = 0;
    for (size_t at = 0; at < elements; at += MessageRuns::kUsual) {
      const size_t count = std::min(MessageRuns::kUsual, elements - at);
      const std::span<const float> run = runs.Form(first + at, count);
      kernels::Sink sink = runs.sink();
      sink.out = std::span(chunk_).subspan(at, count);
      sink.past_cache = false;
      size_ += kernels::SplitLarge(run, guess_, position + static_cast<uint32_t>(at), Room(), sink);
    }
    for (size_t j = 0; j < size_; ++j) chunk_[positions_[j] - position] = values_[j];
    return std::span(chunk_).first(elements);
  }
  // The same of a chunk that lies in memory as it is.
  void Take(std::span<const float> chunk, uint32_t position) {
    size_ = 0;
    Collect(chunk, position);
  }

  // The k largest of the chunk formed or taken last, in order.   1 <= k <= chunk.size().
  Entries Select(std::span<const float> chunk, uint32_t position, size_t k) {
    constexpr uint32_t kStep = 1u << 22;  // of keys: half a factor of two
    for (uint32_t step = kStep; size_ < k && guess_ > 1; step *= 2) {
      guess_ = guess_ > step ? guess_ - step : 1;
      Collect(chunk, position);
    }
    Threshold limit{.key = 0, .ties = k - size_};  // fewer than k are not zero
    if (size_ < k) {
      guess_ = 0;
      Collect(chunk, position);
    } else {
      limit = FindThreshold(std::span(values_).first(size_), k);
    }
    Keep(limit);
    constexpr uint32_t kMargin = 3u << 19;  // 9 to 19 % of a magnitude: the next chunk's threshold is seldom lower
    guess_ = std::max(limit.key, kMargin + 1) - kMargin;
    return {std::span(values_).first(k), std::span(positions_).first(k)};
  }

 private:
  kernels::EntriesOut Room() { return {values_.data() + size_, positions_.data() + size_}; }
  void Collect(std::span<const float> chunk, uint32_t position) {
    size_ = 0;
    size_ = kernels::CollectLarge(chunk, guess_, position, Room());
  }

  // Moves to the front those of the candidates that reach the limit.
  void Keep(Threshold limit) {
    size_t kept = 0;
    for (size_t j = 0; j < size_; ++j) {
      const uint32_t key = KeyOf(values_[j]);
      values_[kept] = values_[j];
      positions_[kept] = positions_[j];
      const bool tie = key == limit.key && limit.ties > 0;
      limit.ties -= tie;
      kept += tie || key > limit.key;
    }
  }

  uint32_t guess_ = 1;  // the key that candidates must reach
  size_t size_ = 0;     // candidates
  std::array<float, kMaxChunk> values_;
  std::array<uint32_t, kMaxChunk> positions_;
  alignas(64) std::array<float, kMaxChunk> chunk_;
};

}  // namespace

uint64_t KeptOfChunks(const Sparsity& sparsity, uint64_t chunk, uint64_t elements) {
  return elements / chunk * sparsity.Kept(chunk) + sparsity.Kept(elements % chunk);
}

absl::StatusOr<Entries> SelectFromChunks(const Message& message, const Sparsity& sparsity, uint64_t chunk,
                                         std::span<float> residual) {
  assert(chunk >= 1 && chunk <= kMaxChunk && message.size() <= kMaxSparseElements);
  assert(residual.empty() || residual.size() == message.size());
  const size_t kept = sparsity.Kept(chunk);
  if (kept == 0) return SelectTopK(message, 0, residual);
  const size_t total = KeptOfChunks(sparsity, chunk, message.size());
  const Entries entries{Scratch<float>(ScratchUse::kValues, total), Scratch<uint32_t>(ScratchUse::kIndices, total)};

  const bool as_it_is = residual.empty() && message.plain();
  ParallelFor(message.size(), std::max<size_t>(1, kGrain / chunk) * chunk, [&](size_t begin, size_t end) {
    const Message part = message.Slice(begin, end - begin);
    MessageRuns runs(part, residual.empty() ? residual : residual.subspan(begin, end - begin));
    ChunkSelector selector;
    for (size_t first = begin; first < end; first += chunk) {
      const size_t elements = std::min<size_t>(chunk, end - first);
      const auto position = static_cast<uint32_t>(first);
      std::span<float> formed;
      if (as_it_is) {
        selector.Take(message.gradient.subspan(first, elements), position);
      } else {
        formed = selector.Form(runs, first - begin, elements, position);
      }
      const std::span<const float> values = as_it_is ? message.gradient.subspan(first, elements) : formed;
      const Entries selected = selector.Select(values, position, sparsity.Kept(elements));
      const size_t place = first / chunk * kept;
      std::copy(selected.values.begin(), selected.values.end(), entries.values.begin() + place);
      std::copy(selected.positions.begin(), selected.positions.end(), entries.positions.begin() + place);
      if (residual.empty()) continue;
      for (const uint32_t chosen : selected.positions) formed[chosen - first] = 0;
      runs.Leave(first - begin, formed);
    }
  });
  // Keys that are not finite are the largest: if there is one, one was selected.
  if (std::isfinite(kernels::AbsMax(entries.values))) return entries;
  return CheckFinite("topk", message);
}

}  // namespace laconic::internal
