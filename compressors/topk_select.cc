#include "compressors/topk_select.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <cmath>

#include "compressors/kernels/kernels.h"
#include "compressors/kernels/sparse.h"
#include "compressors/message_runs.h"
#include "compressors/sparsity.h"
#include "compressors/threshold.h"
#include "laconic/base/parallel.h"
#include "laconic/base/scratch.h"

namespace laconic::internal {
namespace {

using kernels::EntriesOut;
using kernels::KeyOf;
using kernels::kInfinityKey;

constexpr size_t kRun = MessageRuns::kUsual;

// ---- Guesses ----

void Fetch(const Message& message, size_t i) {
  for (const std::span<const float> part : {message.gradient, message.momentum, message.shift, message.error}) {
    if (!part.empty()) __builtin_prefetch(&part[i]);
  }
}

// A threshold that slightly more than k of the message, and seldom fewer, reach; 0 where a sample would not tell.
uint32_t GuessThreshold(const Message& message, uint64_t k) {
  constexpr size_t kMostSamples = 16384;
  constexpr size_t kElementsPerSample = 64;
  constexpr size_t kGroup = 4;  // neighbours: what costs is to fetch a cache line
  const size_t groups = std::min(kMostSamples, message.size() / kElementsPerSample) / kGroup;
  // The number of samples among the top k is binomial with mean n p; four standard deviations more, so that too few is
  // rare.
  const double mean =
      static_cast<double>(k) / static_cast<double>(message.size()) * static_cast<double>(groups * kGroup);
  const auto rank = static_cast<uint64_t>(mean + 4 * std::sqrt(mean) + 4);
  if (rank >= groups * kGroup) return 0;
  const std::span<float> sample = Scratch<float>(ScratchUse::kValues, groups * kGroup);
  const uint64_t stride = message.size() / groups;
  // One group of each stride, at places that no period of the data can follow.
  const auto place = [=](uint64_t j) {
    return j * stride + ((j * 0x9e3779b97f4a7c15u >> 32) * (stride - kGroup + 1) >> 32);
  };
  constexpr size_t kFetchAhead = 16;
  for (size_t j = 0; j < groups + kFetchAhead; ++j) {
    if (j < groups) Fetch(message, place(j));
    if (j >= kFetchAhead) message.Form(place(j - kFetchAhead), sample.subspan((j - kFetchAhead) * kGroup, kGroup));
  }
  return std::min(FindThreshold(sample, rank).key, kInfinityKey);
}

// ---- Candidates ----

// The entries seen so far that may be among the top k. One thread at a time.
class Candidates {
  static constexpr size_t kFetchAhead = 64;  // entries

 public:
  // residual: empty, or where the candidates left 0 and the others are put back.
  Candidates(uint64_t k, size_t elements, uint32_t threshold, std::span<float> residual)
      : k_(static_cast<size_t>(k)), threshold_(threshold), residual_(residual) {
    constexpr size_t kSlack = size_t{1} << 16;
    const size_t capacity = std::min(elements, 2 * k_ + kSlack) + kRun;
    values_ = Scratch<float>(ScratchUse::kValues, capacity);
    positions_ = Scratch<uint32_t>(ScratchUse::kIndices, capacity);
    Scratch<uint32_t>(ScratchUse::kBits, capacity);  // the most FindThreshold will want: a later step must not allocate
  }

  size_t size() const { return size_; }
  uint32_t threshold() const { return threshold_; }

  size_t capacity() const { return values_.size(); }

  // Where at least kRun more can be written.
  EntriesOut Room() {
    if (values_.size() - size_ < kRun) Narrow();
    __builtin_prefetch(values_.data() + size_ + kFetchAhead, 1);
    __builtin_prefetch(positions_.data() + size_ + kFetchAhead, 1);
    return Room(size_);
  }
  static constexpr bool full() { return false; }
  void Add(size_t count) { size_ += count; }

  // Others may write candidates, too: at place i and behind. Join makes the first sizes[p] at p * share those there
  // are.
  EntriesOut Room(size_t place) { return {values_.data() + place, positions_.data() + place}; }
  void Join(size_t share, std::span<const uint32_t> sizes) {
    size_ = 0;
    for (size_t p = 0; p < sizes.size(); ++p) {
      std::copy_n(values_.data() + p * share, sizes[p], values_.data() + size_);
      std::copy_n(positions_.data() + p * share, sizes[p], positions_.data() + size_);
      size_ += sizes[p];
    }
  }

  // Keeps the best k of what there is, which is more.
  void Narrow() {
    const Threshold exact = FindThreshold(values_.first(size_), std::max<size_t>(k_, 1));
    const size_t end = size_;
    const size_t after_ties = EndOfTies(exact);
    size_ = 0;
    Keep(0, after_ties, exact.key);
    Keep(after_ties, end, exact.key + 1);
    threshold_ = exact.key + 1;  // whoever comes later and ties comes after them
  }

  Entries entries() const { return {values_.first(size_), positions_.first(size_)}; }

 private:
  // The end of the part of the candidates whose ties still count.
  size_t EndOfTies(const Threshold& exact) const {
    if (exact.ties == exact.equal) return size_;
    uint64_t ties = exact.ties;
    size_t i = 0;
    for (; ties > 0; ++i) ties -= KeyOf(values_[i]) == exact.key;
    return i;
  }

  // Moves those of [first, last) that reach `threshold` behind the size_ kept already, and puts back the others.
  void Keep(size_t first, size_t last, uint32_t threshold) {
    constexpr size_t kChunk = 1024;
    std::array<float, kChunk> values;
    std::array<uint32_t, kChunk> positions;
    for (; first < last; first += kChunk) {
      const size_t count = std::min(kChunk, last - first);
      const size_t kept = kernels::PartitionLarge(values_.subspan(first, count), positions_.subspan(first, count),
                                                  threshold, {values_.data() + size_, positions_.data() + size_},
                                                  {values.data(), positions.data()});
      size_ += kept;
      if (!residual_.empty())
        ScatterEntries({std::span(values).first(count - kept), std::span(positions).first(count - kept)}, residual_);
    }
  }

  size_t k_;
  uint32_t threshold_;
  std::span<float> residual_;
  std::span<float> values_;
  std::span<uint32_t> positions_;
  size_t size_ = 0;
};

// A share of the room, for one piece of the message. One thread at a time.
class Share {
 public:
  Share(EntriesOut out, size_t capacity, uint32_t threshold) : out_(out), capacity_(capacity), threshold_(threshold) {}

  size_t size() const { return size_; }
  uint32_t threshold() const { return threshold_; }
  bool full() const { return capacity_ - size_ < kRun; }
  EntriesOut Room() const { return {out_.values + size_, out_.positions + size_}; }
  void Add(size_t count) { size_ += count; }

 private:
  EntriesOut out_;
  size_t capacity_;
  uint32_t threshold_;
  size_t size_ = 0;
};

// Forms elements [begin, end) of the message run by run and gives `candidates` those that reach their threshold, until
// they are full.
template <typename Collector>
void CollectRange(const Message& whole, std::span<float> whole_residual, size_t begin, size_t end,
                  Collector& candidates) {
  const Message message = whole.Slice(begin, end - begin);
  const std::span<float> residual =
      whole_residual.empty() ? whole_residual : whole_residual.subspan(begin, end - begin);
  MessageRuns runs(message, residual);
  size_t size = runs.FirstCount();
  for (size_t first = 0; first < message.size() && !candidates.full();
       first += size, size = std::min(kRun, message.size() - first)) {
    const EntriesOut room = candidates.Room();
    const auto position = static_cast<uint32_t>(begin + first);
    if (residual.empty() && message.plain()) {
      candidates.Add(
          kernels::CollectLarge(message.gradient.subspan(first, size), candidates.threshold(), position, room));
      continue;
    }
    const std::span<const float> run = runs.Form(first, size);
    candidates.Add(residual.empty() ? kernels::CollectLarge(run, candidates.threshold(), position, room)
                                    : kernels::SplitLarge(run, candidates.threshold(), position, room, runs.sink()));
  }
}

// The whole message: in pieces on the threads of the scope, where there are any and each finds as many candidates as
// its share of the room holds.
void CollectCandidates(const Message& message, std::span<float> residual, Candidates& candidates) {
  constexpr size_t kPiece = size_t{1} << 20;  // elements
  const size_t pieces = (message.size() + kPiece - 1) / kPiece;
  const std::span<uint32_t> sizes = Scratch<uint32_t>(ScratchUse::kBits, pieces);
  const size_t share = candidates.capacity() / std::max<size_t>(pieces, 1);
  bool whole = false;
  std::atomic<bool> full = false;
  ParallelFor(message.size(), kPiece, [&](size_t begin, size_t end) {
    if (end - begin == message.size()) {
      whole = true;
      return CollectRange(message, residual, begin, end, candidates);
    }
    const size_t piece = begin / kPiece;
    Share some(candidates.Room(piece * share), share, candidates.threshold());
    CollectRange(message, residual, begin, end, some);
    sizes[piece] = static_cast<uint32_t>(some.size());
    if (some.full()) full = true;
  });
  if (full) return CollectRange(message, residual, 0, message.size(), candidates);
  if (!whole) candidates.Join(share, sizes);
}

}  // namespace

void ScatterEntries(const Entries& entries, std::span<float> y) {
  constexpr size_t kAhead = 64;  // entries whose cache lines are on their way
  const size_t count = entries.values.size();
  for (size_t j = 0; j < count; ++j) {
    __builtin_prefetch(&y[entries.positions[std::min(j + kAhead, count - 1)]], 1);
    y[entries.positions[j]] = entries.values[j];
  }
}

absl::StatusOr<Entries> SelectTopK(const Message& message, uint64_t k, std::span<float> residual) {
  return SelectTopKFrom(k == 0 ? 0 : GuessThreshold(message, k), message, k, residual);
}

absl::StatusOr<Entries> SelectTopKFrom(uint32_t guess, const Message& message, uint64_t k, std::span<float> residual) {
  assert(k <= message.size() && message.size() <= kMaxSparseElements);
  assert(residual.empty() || residual.size() == message.size());
  if (k == 0) guess = kInfinityKey;  // then only what is not finite is looked for
  for (;; guess = 0) {
    Candidates candidates(k, message.size(), guess, residual);
    CollectCandidates(message, residual, candidates);
    if (candidates.size() < k) continue;
    if (candidates.size() > k) candidates.Narrow();
    // Keys that are not finite are the largest: if there is one, one was a candidate, and one is left.
    const Entries entries = candidates.entries();
    if (std::isfinite(kernels::AbsMax(entries.values))) return entries;
    return CheckFinite("topk", message);
  }
}

}  // namespace laconic::internal
