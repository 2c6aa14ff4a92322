#include "compressors/threshold.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>

#include "compressors/kernels/sparse.h"
#include "laconic/base/scratch.h"

namespace laconic::internal {
namespace {

using kernels::KeyOf;

constexpr uint32_t kAboveAllKeys = 0x80000000u;
constexpr int kBinBits = 11;
using Histogram = std::array<uint32_t, 1 << kBinBits>;

// How many keys lie in each bin of 2^shift keys from `least` on.
Histogram CountKeys(std::span<const uint32_t> keys, uint32_t least, int shift) {
  // Neighbours often fall into one bin, and an increment waits for the one before it: four tables take turns.
  std::array<Histogram, 4> tables{};
  size_t i = 0;
  for (; i + 4 <= keys.size(); i += 4) {
    for (size_t table = 0; table < 4; ++table) ++tables[table][(keys[i + table] - least) >> shift];
  }
  for (; i < keys.size(); ++i) ++tables[0][(keys[i] - least) >> shift];
  for (size_t bin = 0; bin < tables[0].size(); ++bin) {
    tables[0][bin] += tables[1][bin] + tables[2][bin] + tables[3][bin];
  }
  return tables[0];
}

// The threshold of the k largest keys, 1 <= k <= keys.size(): a radix select that follows one bin, for at most three
// rounds. Reorders the keys.
Threshold RadixSelect(std::span<uint32_t> keys, uint64_t k) {
  assert(k >= 1 && k <= keys.size());
  for (;;) {
    const auto [least, largest] = std::minmax_element(keys.begin(), keys.end());
    const uint32_t base = *least;
    const uint32_t range = *largest - base;
    const int shift = std::max(0, static_cast<int>(std::bit_width(range)) - kBinBits);
    const Histogram histogram = CountKeys(keys, base, shift);
    uint32_t bin = range >> shift;
    for (; histogram[bin] < k; --bin) k -= histogram[bin];
    if (shift == 0) return {base + bin, k, histogram[bin]};
    size_t size = 0;
    for (size_t i = 0; i < keys.size(); ++i) {
      const uint32_t key = keys[i];
      keys[size] = key;
      size += (key - base) >> shift == bin;
    }
    keys = keys.first(size);
  }
}

// The same of few keys, for which histograms would cost more: by bisection, whose passes are short and take no
// branches.
Threshold Bisect(std::span<const uint32_t> keys, uint64_t k) {
  const auto above = [&](uint32_t bound) {  // keys and bounds fit 31 bits
    uint32_t count = 0;
    for (const uint32_t key : keys) count += static_cast<int32_t>(key) > static_cast<int32_t>(bound);
    return count;
  };
  uint32_t low = 0, high = kAboveAllKeys - 1;  // fewer than k lie above high, and k or more above low, or low is 0
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    const uint32_t count = above(middle);
    (count >= k ? low : high) = middle;
    if (count == k) break;
  }
  uint32_t least = kAboveAllKeys - 1;  // of those above low: the threshold, unless too few are left
  for (const uint32_t key : keys) least = std::min(least, key > low ? key : kAboveAllKeys - 1);
  if (above(low) < k) least = low;
  const uint64_t more = above(least);
  return {least, k - more, static_cast<uint64_t>(std::count(keys.begin(), keys.end(), least))};
}

}  // namespace

// Many values are first cut to a narrow band around the threshold, which a sample gives (Floyd and Rivest 1975).
Threshold FindThreshold(std::span<const float> values, uint64_t k) {
  constexpr size_t kSamples = 4096;
  constexpr size_t kFew = 1024;
  const std::span<uint32_t> keys = Scratch<uint32_t>(ScratchUse::kBits, values.size());
  if (values.size() >= 4 * kSamples) {
    const size_t stride = values.size() / kSamples;
    for (size_t j = 0; j < kSamples; ++j) keys[j] = KeyOf(values[j * stride]);
    const std::span<uint32_t> sample = keys.first(kSamples);
    // The rank of the threshold in the sample is binomial: four standard deviations to both sides.
    const double share = static_cast<double>(k) / static_cast<double>(values.size());
    const double mean = share * kSamples;
    const double spread = 4 * std::sqrt(mean * (1 - share)) + 1;
    const auto high_rank = static_cast<uint64_t>(std::max(mean - spread, 0.0));
    const auto low_rank = static_cast<uint64_t>(std::min(mean + spread + 1, kSamples + 1.0));
    const uint32_t to = high_rank == 0 ? kAboveAllKeys : RadixSelect(sample, high_rank).key + 1;
    for (size_t j = 0; j < kSamples; ++j) keys[j] = KeyOf(values[j * stride]);
    const uint32_t from = low_rank > kSamples ? 0 : RadixSelect(sample, low_rank).key;
    const kernels::Band band = kernels::CollectBand(values, from, to, keys.data());
    if (band.above < k && k <= band.above + band.inside) return RadixSelect(keys.first(band.inside), k - band.above);
  }
  for (size_t i = 0; i < values.size(); ++i) keys[i] = KeyOf(values[i]);
  return keys.size() <= kFew ? Bisect(keys, k) : RadixSelect(keys, k);
}

}  // namespace laconic::internal
