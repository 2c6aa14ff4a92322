#include "compressors/topk_select.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>

#include "compressors/checks.h"
#include "laconic/base/scratch.h"

namespace laconic::internal {
namespace {

// |x| as an integer that orders like |x|: the bits of x without the sign. Signed, because SSE2 compares signed integers
// only.
using Key = int32_t;
constexpr Key kInfinity = 0x7f800000;  // and NaN above it
inline Key KeyOf(float x) { return static_cast<Key>(std::bit_cast<uint32_t>(x) & 0x7fffffffu); }

// The k largest keys are those above `key` and `ties` of those equal to it.
struct Threshold {
  Key key = 0;
  uint64_t ties = 0;
};

// The 31 bits of a key, from the top: 11 + 10 + 10.
constexpr int kTopBits = 11;
constexpr int kLowBits = 10;
using Histogram = std::array<uint64_t, 1 << kTopBits>;

// Counts keys by the `bits` bits above `shift`, among those whose higher bits equal `prefix`.
void CountKeys(std::span<const float> x, int shift, int bits, Key prefix, Histogram& histogram) {
  // Neighbours often fall into one bin, and an increment waits for the one before it; four tables take turns. They
  // count in 32 bits and are emptied before they can overflow.
  constexpr size_t kTables = 4;
  constexpr size_t kRun = size_t{1} << 31;
  const Key mask = (Key{1} << bits) - 1;
  histogram.fill(0);
  for (size_t first = 0; first < x.size(); first += kRun) {
    const std::span<const float> run = x.subspan(first, std::min(kRun, x.size() - first));
    std::array<std::array<uint32_t, 1 << kTopBits>, kTables> tables{};
    const auto count = [&](size_t table, float value) {
      const Key key = KeyOf(value) >> shift;
      tables[table][static_cast<size_t>(key & mask)] += (key >> bits) == prefix;
    };
    size_t i = 0;
    for (; i + kTables <= run.size(); i += kTables) {
      for (size_t table = 0; table < kTables; ++table) count(table, run[i + table]);
    }
    for (; i < run.size(); ++i) count(0, run[i]);
    for (const auto& table : tables) {
      for (size_t bin = 0; bin < table.size(); ++bin) histogram[bin] += table[bin];
    }
  }
}

// 1 <= k <= x.size(). Three passes over x.
Threshold FindThreshold(std::span<const float> x, uint64_t k) {
  assert(k >= 1 && k <= x.size());
  Histogram histogram;
  Key prefix = 0;
  for (int shift = 2 * kLowBits; shift >= 0; shift -= kLowBits) {
    const int bits = shift == 2 * kLowBits ? kTopBits : kLowBits;
    CountKeys(x, shift, bits, prefix, histogram);
    Key bin = (Key{1} << bits) - 1;
    for (; histogram[static_cast<size_t>(bin)] < k; --bin) k -= histogram[static_cast<size_t>(bin)];
    prefix = (prefix << bits) | bin;
  }
  return {prefix, k};
}

// Gathers, in ascending order, the indices of all keys above the threshold and of the first `ties` equal to it, until
// `out` is full. Gives their number.
size_t Gather(std::span<const float> x, Threshold threshold, std::span<uint64_t> out) {
  constexpr size_t kBlock = 16;  // mostly none of a block is gathered, and to see that takes a few vector instructions
  size_t count = 0;
  for (size_t first = 0; first < x.size() && count < out.size(); first += kBlock) {
    const size_t size = std::min(kBlock, x.size() - first);
    if (size == kBlock) {
      Key any = 0;
      for (size_t j = 0; j < kBlock; ++j) any |= KeyOf(x[first + j]) >= threshold.key ? -1 : 0;
      if (any == 0) continue;
    }
    for (size_t j = 0; j < size && count < out.size(); ++j) {
      const Key key = KeyOf(x[first + j]);
      const bool tie = key == threshold.key && threshold.ties > 0;
      out[count] = first + j;
      count += key > threshold.key || tie;
      threshold.ties -= tie;
    }
  }
  return count;
}

// A threshold that about k of x, and seldom fewer, reach; 0 where sampling does not pay.
Key GuessThreshold(std::span<const float> x, uint64_t k) {
  constexpr size_t kSamples = 16384;
  if (x.size() < 2 * kSamples || k > x.size() / 4) return 0;
  const std::span<float> sample = Scratch<float>(ScratchUse::kValues, kSamples);
  const size_t stride = x.size() / kSamples;
  uint64_t mix = 0;
  for (size_t j = 0; j < kSamples; ++j) {
    mix += 0x9e3779b97f4a7c15u;  // one entry of each stride, at places that no period of the data can follow
    sample[j] = x[j * stride + static_cast<size_t>((mix >> 32) * stride >> 32)];
  }
  // The number of samples among the top k is binomial with mean n p; four standard deviations more, so that too few is
  // rare.
  const double mean = static_cast<double>(k) / static_cast<double>(x.size()) * kSamples;
  return FindThreshold(sample, static_cast<uint64_t>(mean + 4 * std::sqrt(mean) + 4)).key;
}

// The selection from the candidates that reach a guessed threshold; false if they were too few or too many.
bool SelectFromCandidates(std::span<const float> x, std::span<uint64_t> indices) {
  const uint64_t k = indices.size();
  const Key guess = GuessThreshold(x, k);
  if (guess == 0) return false;
  const size_t capacity = std::min<size_t>(x.size(), 3 * k + x.size() / 512);  // well above what GuessThreshold aims at
  const std::span<uint64_t> candidates = Scratch<uint64_t>(ScratchUse::kBits, capacity);
  const size_t count = Gather(x, {guess, std::numeric_limits<uint64_t>::max()}, candidates);
  if (count < k || count == capacity) return false;

  const std::span<float> values = Scratch<float>(ScratchUse::kValues, count);
  for (size_t j = 0; j < count; ++j) values[j] = x[candidates[j]];
  Threshold threshold = FindThreshold(values, k);
  for (size_t j = 0, selected = 0; selected < k; ++j) {
    const Key key = KeyOf(values[j]);
    const bool tie = key == threshold.key && threshold.ties > 0;
    indices[selected] = candidates[j];
    selected += key > threshold.key || tie;
    threshold.ties -= tie;
  }
  return true;
}

}  // namespace

absl::Status SelectTopK(std::span<const float> x, std::span<uint64_t> indices) {
  assert(indices.size() <= x.size());
  if (indices.empty() || indices.size() == x.size()) {
    std::iota(indices.begin(), indices.end(), uint64_t{0});
    return CheckFinite("topk", x);
  }
  if (!SelectFromCandidates(x, indices)) Gather(x, FindThreshold(x, indices.size()), indices);
  // Keys that are not finite are the largest, so if x holds one, one is selected.
  const bool finite = std::all_of(indices.begin(), indices.end(), [&](uint64_t i) { return KeyOf(x[i]) < kInfinity; });
  return finite ? absl::OkStatus() : CheckFinite("topk", x);
}

}  // namespace laconic::internal
