// Products of a whole matrix with thin factors (matrix.h) on vectors, compiled once for each instruction set
// (simd-inl.h says how).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compressors/kernels/matrix_simd.cc"  // this file, included again for each target
#include "hwy/foreach_target.h"
// Below foreach_target.h, which must come first.
#include "compressors/kernels/kernels.h"
#include "compressors/kernels/matrix.h"
#include "compressors/kernels/tiles-inl.h"
#include "laconic/base/scratch.h"

HWY_BEFORE_NAMESPACE();
namespace laconic::kernels::HWY_NAMESPACE {
#if LACONIC_MATRIX_ORACLE
using namespace scalar;
#else
namespace {

// partial[(r * K + k) * 16 + lane] += the terms of R rows x (from one to the next kTileCols floats) and K columns q
// (from one to the next q_stride floats), `count` of them, a multiple of 16.
template <size_t R, size_t K>
HWY_NOINLINE void AddDots(const float* HWY_RESTRICT x, const float* HWY_RESTRICT q, size_t q_stride, size_t count,
                          const NextTile& ahead, float* HWY_RESTRICT partial) {
  const TileFloats d;
  for (size_t lane = 0; lane < kDotLanes; lane += kWidth) {
    TileVector sums[R][K];
    for (size_t r = 0; r < R; ++r) {
      for (size_t k = 0; k < K; ++k) sums[r][k] = hn::Load(d, partial + (r * K + k) * kDotLanes + lane);
    }
    for (size_t j = lane; j < count; j += kDotLanes) {
      if (lane == 0) ahead.Prefetch(j);
      TileVector columns[K];
      for (size_t k = 0; k < K; ++k) columns[k] = hn::LoadU(d, q + k * q_stride + j);
      for (size_t r = 0; r < R; ++r) {
        const TileVector row = hn::Load(d, x + r * kTileCols + j);
        for (size_t k = 0; k < K; ++k) sums[r][k] = hn::Add(sums[r][k], hn::Mul(row, columns[k]));
      }
    }
    for (size_t r = 0; r < R; ++r) {
      for (size_t k = 0; k < K; ++k) hn::Store(sums[r][k], d, partial + (r * K + k) * kDotLanes + lane);
    }
  }
}

// As many rows at a time as the registers of the target hold sums of.
constexpr size_t kDotRows = HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64 ? 4 : 2;

// partial: kTileRows x K x 16 floats.
template <size_t K>
HWY_INLINE void AddTileDots(const float* x, size_t rows, const float* q, size_t q_stride, size_t count,
                            const NextTile& ahead, float* partial) {
  const NextTile nothing;
  size_t r = 0;
  for (; r + kDotRows <= rows; r += kDotRows) {
    AddDots<kDotRows, K>(x + r * kTileCols, q, q_stride, count, r == 0 ? ahead : nothing, partial + r * K * kDotLanes);
  }
  for (; r < rows; ++r) {
    AddDots<1, K>(x + r * kTileCols, q, q_stride, count, r == 0 ? ahead : nothing, partial + r * K * kDotLanes);
  }
}

HWY_INLINE float SumOfLanes(float* partial) {
  for (size_t half = kDotLanes / 2; half > 0; half /= 2) {
    for (size_t lane = 0; lane < half; ++lane) partial[lane] += partial[lane + half];
  }
  return partial[0];
}

}  // namespace

void MultiplyByFactor(const MatrixShape& shape, const Message& m, std::span<const float> q, Range rows,
                      std::span<float> formed, std::span<float> p) {
  const size_t cols = shape.cols;
  const bool streamed = shape.elements() >= kStreamedElements;
  const std::span<float> partial = Scratch<float>(ScratchUse::kMatrixC, kTileRows * shape.rank * kDotLanes);
  HWY_ALIGN float x[kTileRows * kTileCols];
  ForEachTile<kTileRows>(rows, {0, cols}, [&](const Tile& tile, const Tile& next) HWY_ATTR {
    const size_t whole = tile.cols / kDotLanes * kDotLanes;
    for (size_t r = 0; r < tile.rows; ++r) {
      kernels::FormRun(m, (tile.row + r) * cols + tile.col, std::span(x + r * kTileCols, tile.cols));
      // Zeros to the end of the last sixteen add nothing: no partial sum is ever -0.
      if (whole < tile.cols) std::fill(x + r * kTileCols + tile.cols, x + r * kTileCols + whole + kDotLanes, 0.0f);
    }
    NextTile ahead(next, cols);
    for (const std::span<const float> array : {m.gradient, m.momentum, m.shift, m.error}) ahead.Add(array);
    if (!streamed) ahead.Add(formed);
    if (tile.col == 0) std::fill(partial.begin(), partial.end(), 0.0f);
    ForEachChunk(shape.rank, [&](size_t k, auto chunk) HWY_ATTR {
      constexpr size_t K = chunk;
      float* const sums = partial.data() + k * kTileRows * kDotLanes;
      const float* const columns = q.data() + k * cols + tile.col;
      AddTileDots<K>(x, tile.rows, columns, cols, whole, ahead, sums);
      if (whole < tile.cols) {
        HWY_ALIGN float padded[K * kDotLanes] = {};
        for (size_t c = 0; c < K; ++c) {
          std::copy(columns + c * cols + whole, columns + c * cols + tile.cols, padded + c * kDotLanes);
        }
        AddTileDots<K>(x + whole, tile.rows, padded, kDotLanes, kDotLanes, NextTile(), sums);
      }
      if (tile.col + tile.cols < cols) return;
      for (size_t r = 0; r < tile.rows; ++r) {
        for (size_t c = 0; c < K; ++c) {
          p[(k + c) * shape.rows + tile.row + r] = SumOfLanes(sums + (r * K + c) * kDotLanes);
        }
      }
    });
    if (formed.empty()) return;
    for (size_t r = 0; r < tile.rows; ++r) {
      Write(x + r * kTileCols, tile.cols, streamed, formed.data() + (tile.row + r) * cols + tile.col);
    }
  });
  if (streamed) hwy::FlushStream();
}

// ---- Q = M^T P ----

namespace {

constexpr size_t kTransposeRows = 8;

// Adds the terms of R rows (x, from one to the next x_stride floats) to K columns of sums (from one to the next
// q_stride floats), `count` columns wide. factors: R x K.
template <size_t R, size_t K>
void AddRows(const float* HWY_RESTRICT x, size_t x_stride, const float* HWY_RESTRICT factors, size_t count,
             const NextTile& ahead, float* HWY_RESTRICT q, size_t q_stride) {
  const TileFloats d;
  constexpr size_t kVectors = 2;
  size_t j = 0;
  for (; j + kVectors * kWidth <= count; j += kVectors * kWidth) {
    for (size_t line = 0; line < kVectors * kWidth; line += kLineFloats) {
      if ((j + line) % kLineFloats == 0) ahead.Prefetch(j + line);
    }
    TileVector sums[K][kVectors];
    for (size_t k = 0; k < K; ++k) {
      for (size_t v = 0; v < kVectors; ++v) sums[k][v] = hn::LoadU(d, q + k * q_stride + j + v * kWidth);
    }
    for (size_t r = 0; r < R; ++r) {
      TileVector row[kVectors];
      for (size_t v = 0; v < kVectors; ++v) row[v] = hn::LoadU(d, x + r * x_stride + j + v * kWidth);
      for (size_t k = 0; k < K; ++k) {
        const TileVector factor = hn::Set(d, factors[r * K + k]);
        for (size_t v = 0; v < kVectors; ++v) sums[k][v] = hn::Add(sums[k][v], hn::Mul(row[v], factor));
      }
    }
    for (size_t k = 0; k < K; ++k) {
      for (size_t v = 0; v < kVectors; ++v) hn::StoreU(sums[k][v], d, q + k * q_stride + j + v * kWidth);
    }
  }
  for (; j < count; ++j) {
    for (size_t k = 0; k < K; ++k) {
      for (size_t r = 0; r < R; ++r) q[k * q_stride + j] += x[r * x_stride + j] * factors[r * K + k];
    }
  }
}

}  // namespace

void MultiplyTransposeByFactor(const MatrixShape& shape, std::span<const float> m, std::span<const float> p, Range cols,
                               std::span<float> q) {
  for (size_t k = 0; k < shape.rank; ++k) {
    std::fill(q.data() + k * shape.cols + cols.begin, q.data() + k * shape.cols + cols.end, 0.0f);
  }
  ForEachTile<kTransposeRows>({0, shape.rows}, cols, [&](const Tile& tile, const Tile& next) HWY_ATTR {
    NextTile ahead(next, shape.cols);
    ahead.Add(m);
    const float* const x = m.data() + tile.row * shape.cols + tile.col;
    ForEachChunk(shape.rank, [&](size_t k, auto chunk) HWY_ATTR {
      constexpr size_t K = chunk;
      float factors[kTransposeRows * K];
      for (size_t r = 0; r < tile.rows; ++r) {
        for (size_t c = 0; c < K; ++c) factors[r * K + c] = p[(k + c) * shape.rows + tile.row + r];
      }
      float* const sums = q.data() + k * shape.cols + tile.col;
      if (tile.rows == kTransposeRows) {
        AddRows<kTransposeRows, K>(x, shape.cols, factors, tile.cols, ahead, sums, shape.cols);
        return;
      }
      for (size_t r = 0; r < tile.rows; ++r) {
        AddRows<1, K>(x + r * shape.cols, 0, factors + r * K, tile.cols, ahead, sums, shape.cols);
      }
    });
  });
}

#endif  // LACONIC_MATRIX_ORACLE
}  // namespace laconic::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace laconic::kernels {

HWY_EXPORT(MultiplyByFactor);
void MultiplyByFactor(const MatrixShape& shape, const Message& m, std::span<const float> q, Range rows,
                      std::span<float> formed, std::span<float> p) {
  HWY_DYNAMIC_DISPATCH(MultiplyByFactor)(shape, m, q, rows, formed, p);
}

HWY_EXPORT(MultiplyTransposeByFactor);
void MultiplyTransposeByFactor(const MatrixShape& shape, std::span<const float> m, std::span<const float> p, Range cols,
                               std::span<float> q) {
  HWY_DYNAMIC_DISPATCH(MultiplyTransposeByFactor)(shape, m, p, cols, q);
}

}  // namespace laconic::kernels
#endif  // HWY_ONCE
