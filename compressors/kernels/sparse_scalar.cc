#include "compressors/kernels/sparse.h"

namespace laconic::kernels::scalar {
namespace {

// value + floor(bound Mix(half + key) / 2^32) mod bound, for value < bound.
uint32_t AddRound(uint32_t value, uint32_t half, uint32_t key, uint32_t bound) {
  const auto shift = static_cast<uint32_t>((uint64_t{Mix(half + key)} * bound) >> 32);
  const uint32_t sum = value + shift;
  return sum >= bound ? sum - bound : sum;
}

}  // namespace

// The loops write an entry before they know whether it counts: faster than to ask.
size_t CollectLarge(std::span<const float> x, uint32_t threshold, uint32_t first, EntriesOut out) {
  size_t count = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    out.values[count] = x[i];
    out.positions[count] = first + static_cast<uint32_t>(i);
    count += KeyOf(x[i]) >= threshold;
  }
  return count;
}

size_t SplitLarge(std::span<const float> x, uint32_t threshold, uint32_t first, EntriesOut out, const Sink& sink) {
  for (size_t i = 0; i < x.size(); ++i) sink.out[i] = KeyOf(x[i]) >= threshold ? 0.0f : x[i];
  return scalar::CollectLarge(x, threshold, first, out);
}

size_t PartitionLarge(std::span<const float> values, std::span<const uint32_t> positions, uint32_t threshold,
                      EntriesOut kept, EntriesOut dropped) {
  size_t count = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const float value = values[i];
    const uint32_t position = positions[i];
    kept.values[count] = value;
    kept.positions[count] = position;
    dropped.values[i - count] = value;
    dropped.positions[i - count] = position;
    count += KeyOf(value) >= threshold;
  }
  return count;
}

Band CollectBand(std::span<const float> x, uint32_t from, uint32_t to, uint32_t* out) {
  Band band;
  for (const float value : x) {
    const uint32_t key = KeyOf(value);
    out[band.inside] = key;
    band.inside += key >= from && key < to;
    band.above += key >= to;
  }
  return band;
}

void FeistelImages(const FeistelNetwork& network, uint32_t first, std::span<uint32_t> images) {
  for (size_t j = 0; j < images.size(); ++j) {
    const uint32_t number = first + static_cast<uint32_t>(j);
    uint32_t left = number / network.columns;
    uint32_t right = number % network.columns;
    for (size_t round = 0; round < FeistelNetwork::kRounds; round += 2) {
      left = AddRound(left, right, network.round_keys[round], network.rows);
      right = AddRound(right, left, network.round_keys[round + 1], network.columns);
    }
    images[j] = left * network.columns + right;
  }
}

}  // namespace laconic::kernels::scalar
