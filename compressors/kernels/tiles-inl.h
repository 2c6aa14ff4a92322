// How the kernels of matrix.h walk a matrix: in tiles of a few rows and kTileCols columns. A tile and its part of the
// factors stay in the first-level cache, and while one is computed the next is prefetched: these kernels wait for
// memory, not for arithmetic. Large results are written past the caches, because nobody reads them before they would be
// evicted. For *_simd.cc only; included once per target, like simd-inl.h.

#if defined(LACONIC_COMPRESSORS_KERNELS_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACONIC_COMPRESSORS_KERNELS_TILES_INL_H_
#undef LACONIC_COMPRESSORS_KERNELS_TILES_INL_H_
#else
#define LACONIC_COMPRESSORS_KERNELS_TILES_INL_H_
#endif

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "compressors/kernels/matrix.h"
#include "compressors/kernels/simd-inl.h"
#include "hwy/cache_control.h"

// Where the matrix kernels are the oracle's: without vectors, and with scalable ones, which cannot stand in arrays.
#undef LACONIC_MATRIX_ORACLE
#define LACONIC_MATRIX_ORACLE (LACONIC_PORTABLE_TARGET || HWY_HAVE_SCALABLE)

HWY_BEFORE_NAMESPACE();
namespace laconic::kernels::HWY_NAMESPACE {
#if !LACONIC_MATRIX_ORACLE
namespace {

// Vectors of at most 16 floats: one sixteenth of a row's columns is one partial sum, whatever the width.
using TileFloats = hn::CappedTag<float, kDotLanes>;
using TileVector = hn::Vec<TileFloats>;
constexpr size_t kWidth = hn::MaxLanes(TileFloats());

// Measured on 4096 x 4096: 128 or 512 columns are 5 to 10 % slower, prefetching a whole tile at once 10 %.
constexpr size_t kTileCols = 256;
constexpr size_t kTileRows = 4;
constexpr size_t kLineFloats = 16;
// Results from 4 MiB on are written past the caches: they would only evict what is still to be read.
constexpr size_t kStreamedElements = size_t{1} << 20;

HWY_INLINE void PrefetchLine(uintptr_t address) { __builtin_prefetch(reinterpret_cast<const void*>(address), 0, 2); }

// Calls chunk(k, std::integral_constant<size_t, K>) for columns [k, k + K) of a factor, K being 4, 2 or 1.
template <typename Chunk>
HWY_INLINE void ForEachChunk(size_t rank, const Chunk& chunk) {
  size_t k = 0;
  for (; k + 4 <= rank; k += 4) chunk(k, std::integral_constant<size_t, 4>());
  if (k + 2 <= rank) {
    chunk(k, std::integral_constant<size_t, 2>());
    k += 2;
  }
  if (k < rank) chunk(k, std::integral_constant<size_t, 1>());
}

// A tile of the matrix: rows [row, row + rows), columns [col, col + cols).
struct Tile {
  size_t row, rows, col, cols;
};

// Calls tile(this one, the next one) over the range's rows, tile after tile of kRows rows; the last has no next: 0
// rows.
template <size_t kRows, typename Body>
HWY_INLINE void ForEachTile(Range rows, Range cols, const Body& body) {
  const auto tile_at = [&](size_t row, size_t col) {
    return Tile{row, std::min(kRows, rows.end - row), col, std::min(kTileCols, cols.end - col)};
  };
  if (cols.begin >= cols.end) return;
  for (size_t row = rows.begin; row < rows.end; row += kRows) {
    for (size_t col = cols.begin; col < cols.end; col += kTileCols) {
      Tile next{};
      if (col + kTileCols < cols.end) {
        next = tile_at(row, col + kTileCols);
      } else if (row + kRows < rows.end) {
        next = tile_at(row + kRows, cols.begin);
      }
      body(tile_at(row, col), next);
    }
  }
}

// A tile in up to five arrays, to be prefetched a line at a time. A fetch beyond the tile does no harm, and one beyond
// the array nothing; hence addresses, not pointers.
class NextTile {
 public:
  NextTile() = default;
  NextTile(const Tile& next, size_t cols) : tile_(next), row_bytes_(cols * sizeof(float)) {}

  void Add(std::span<const float> array) {
    if (array.empty()) return;
    const auto begin = reinterpret_cast<uintptr_t>(array.data()) + tile_.col * sizeof(float);
    for (size_t r = 0; r < tile_.rows; r += kTileRows) groups_[count_++] = begin + (tile_.row + r) * row_bytes_;
  }

  // Column `col` of all rows.
  HWY_INLINE void Prefetch(size_t col) const {
    for (size_t group = 0; group < count_; ++group) {
      for (size_t r = 0; r < kTileRows; ++r) PrefetchLine(groups_[group] + r * row_bytes_ + col * sizeof(float));
    }
  }

 private:
  Tile tile_{};
  size_t row_bytes_ = 0;
  size_t count_ = 0;
  uintptr_t groups_[5] = {};  // of kTileRows rows each
};

// Copies `count` floats, past the caches where `streamed`.
HWY_INLINE void Write(const float* HWY_RESTRICT from, size_t count, bool streamed, float* HWY_RESTRICT to) {
  if (!streamed) {
    std::memcpy(to, from, count * sizeof(float));
    return;
  }
  const TileFloats d;
  const size_t misaligned = reinterpret_cast<uintptr_t>(to) / sizeof(float) % kLineFloats;
  size_t i = 0;
  if (misaligned != 0) {
    for (; i < std::min(count, kLineFloats - misaligned); ++i) to[i] = from[i];
  }
  for (; i + kLineFloats <= count; i += kLineFloats) {
    for (size_t j = 0; j < kLineFloats; j += kWidth) hn::Stream(hn::LoadU(d, from + i + j), d, to + i + j);
  }
  for (; i < count; ++i) to[i] = from[i];
}

}  // namespace
#endif  // !LACONIC_MATRIX_ORACLE
}  // namespace laconic::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
