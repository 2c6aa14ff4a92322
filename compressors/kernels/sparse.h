// The inner loops of the sparse codecs. As kernels.h: plain functions, run on the best instruction set here, and below
// them the obvious versions they are tested against.
//
// The key of a float is its bits without the sign: an integer that orders as the magnitude does, infinity above all
// numbers and NaN above infinity. Entries are values and their positions in a tensor, in two arrays, by position.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "compressors/kernels/kernels.h"

namespace laconic::kernels {

constexpr uint32_t kInfinityKey = 0x7f800000u;
constexpr uint32_t KeyOf(float x) { return std::bit_cast<uint32_t>(x) & 0x7fffffffu; }

// Where entries are written: room for as many as there may be.
struct EntriesOut {
  float* values;
  uint32_t* positions;
};

// Writes the entries (x_i, first + i) whose key reaches `threshold`, in order. Gives their number.
//   out: room for x.size() entries.
size_t CollectLarge(std::span<const float> x, uint32_t threshold, uint32_t first, EntriesOut out);

// The same, and sink.out_i = x_i, or 0 where it was collected: the residual.
size_t SplitLarge(std::span<const float> x, uint32_t threshold, uint32_t first, EntriesOut out, const Sink& sink);

// Copies the entries whose key reaches `threshold` to `kept` and the others to `dropped`, both in order. Gives the
// number of the first.
//   positions: values.size().   kept, dropped: room for values.size() entries; kept may lie at or before the entries.
size_t PartitionLarge(std::span<const float> values, std::span<const uint32_t> positions, uint32_t threshold,
                      EntriesOut kept, EntriesOut dropped);

// Writes the keys in [from, to) of x, in order, and gives their number and that of the keys from `to` on.
//   out: room for x.size() keys.
struct Band {
  size_t inside = 0;
  size_t above = 0;
};
Band CollectBand(std::span<const float> x, uint32_t from, uint32_t to, uint32_t* out);

// A generalized Feistel network on pairs (L, R) in Z_rows x Z_columns, the number L columns + R (permutation.h).
struct FeistelNetwork {
  static constexpr size_t kRounds = 8;
  uint32_t rows = 1;     // 1 .. 2^16
  uint32_t columns = 1;  // 1 .. 2^16
  std::array<uint32_t, kRounds> round_keys{};
};

// A finalizer of 32 bits, in which every bit of the input changes every bit of the output; a bijection (C. Wellons,
// "Hash Prospector", 2018: lowbias32).
constexpr uint32_t Mix(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

// images_j = where the network sends first + j.   first + images.size() <= rows columns <= 2^32.
void FeistelImages(const FeistelNetwork& network, uint32_t first, std::span<uint32_t> images);

namespace scalar {

size_t CollectLarge(std::span<const float> x, uint32_t threshold, uint32_t first, EntriesOut out);
size_t SplitLarge(std::span<const float> x, uint32_t threshold, uint32_t first, EntriesOut out, const Sink& sink);
size_t PartitionLarge(std::span<const float> values, std::span<const uint32_t> positions, uint32_t threshold,
                      EntriesOut kept, EntriesOut dropped);
Band CollectBand(std::span<const float> x, uint32_t from, uint32_t to, uint32_t* out);
void FeistelImages(const FeistelNetwork& network, uint32_t first, std::span<uint32_t> images);

}  // namespace scalar
}  // namespace laconic::kernels
