// Products of thin factors with each other (matrix.h) on vectors, compiled once for each instruction set (simd-inl.h
// says how).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compressors/kernels/factors_simd.cc"  // this file, included again for each target
#include "hwy/foreach_target.h"
// Below foreach_target.h, which must come first.
#include "compressors/kernels/matrix.h"
#include "compressors/kernels/tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace laconic::kernels::HWY_NAMESPACE {
#if LACONIC_MATRIX_ORACLE
using namespace scalar;
#else
namespace {

// y = or += (kMore) the K terms of R rows of a tile, which in y are kTileCols floats apart.   factors: R x K.
template <size_t R, size_t K, bool kMore>
HWY_NOINLINE void RowsProduct(const float* HWY_RESTRICT factors, const float* HWY_RESTRICT q, size_t q_stride,
                              size_t count, const NextTile& ahead, float* HWY_RESTRICT y) {
  const TileFloats d;
  size_t j = 0;
  for (; j + kLineFloats <= count; j += kLineFloats) {
    ahead.Prefetch(j);
    for (size_t i = j; i < j + kLineFloats; i += kWidth) {
      TileVector columns[K];
      for (size_t k = 0; k < K; ++k) columns[k] = hn::LoadU(d, q + k * q_stride + i);
      for (size_t r = 0; r < R; ++r) {
        float* const out = y + r * kTileCols + i;
        TileVector sum = hn::Mul(hn::Set(d, factors[r * K]), columns[0]);
        if constexpr (kMore) sum = hn::Add(hn::Load(d, out), sum);
        for (size_t k = 1; k < K; ++k) sum = hn::Add(sum, hn::Mul(hn::Set(d, factors[r * K + k]), columns[k]));
        hn::Store(sum, d, out);
      }
    }
  }
  for (; j < count; ++j) {
    for (size_t r = 0; r < R; ++r) {
      float sum = factors[r * K] * q[j];
      if constexpr (kMore) sum = y[r * kTileCols + j] + sum;
      for (size_t k = 1; k < K; ++k) sum += factors[r * K + k] * q[k * q_stride + j];
      y[r * kTileCols + j] = sum;
    }
  }
}

template <size_t K, bool kMore>
void ChunkProduct(const float* factors, const float* q, size_t q_stride, const Tile& tile, const NextTile& ahead,
                  float* y) {
  if (tile.rows == kTileRows) return RowsProduct<kTileRows, K, kMore>(factors, q, q_stride, tile.cols, ahead, y);
  for (size_t r = 0; r < tile.rows; ++r) {
    RowsProduct<1, K, kMore>(factors + r * K, q, q_stride, tile.cols, NextTile(), y + r * kTileCols);
  }
}

// y = the tile of P Q^T, rows kTileCols floats apart.
HWY_INLINE void ProductOfTile(const MatrixShape& shape, const float* p, const float* q, const Tile& tile,
                              const NextTile& ahead, float* y) {
  ForEachChunk(shape.rank, [&](size_t k, auto chunk) HWY_ATTR {
    constexpr size_t K = chunk;
    float factors[kTileRows * K];
    for (size_t r = 0; r < tile.rows; ++r) {
      for (size_t c = 0; c < K; ++c) factors[r * K + c] = p[(k + c) * shape.rows + tile.row + r];
    }
    const float* const columns = q + k * shape.cols + tile.col;
    const auto product = k == 0 ? ChunkProduct<K, false> : ChunkProduct<K, true>;
    product(factors, columns, shape.cols, tile, ahead, y);
  });
}

HWY_INLINE void AddScaled(const float* HWY_RESTRICT y, float scale, size_t count, float* HWY_RESTRICT acc) {
  const TileFloats d;
  const TileVector factor = hn::Set(d, scale);
  size_t j = 0;
  for (; j + kWidth <= count; j += kWidth) {
    hn::StoreU(hn::Add(hn::LoadU(d, acc + j), hn::Mul(factor, hn::Load(d, y + j))), d, acc + j);
  }
  for (; j < count; ++j) acc[j] += scale * y[j];
}

// Both parts of AddProductAndProduct, each only where its target is not empty.
HWY_INLINE void Reconstruct(const MatrixShape& shape, const float* p, const float* q_acc, float scale, const float* q_y,
                            Range rows, std::span<float> acc, std::span<float> y) {
  const bool streamed = !y.empty() && shape.elements() >= kStreamedElements;
  HWY_ALIGN float product[kTileRows * kTileCols];
  ForEachTile<kTileRows>(rows, {0, shape.cols}, [&](const Tile& tile, const Tile& next) HWY_ATTR {
    const size_t offset = tile.row * shape.cols + tile.col;
    NextTile ahead(next, shape.cols);
    ahead.Add(acc);
    if (!streamed) ahead.Add(y);
    if (!y.empty()) {
      ProductOfTile(shape, p, q_y, tile, ahead, product);
      for (size_t r = 0; r < tile.rows; ++r) {
        Write(product + r * kTileCols, tile.cols, streamed, y.data() + offset + r * shape.cols);
      }
    }
    if (!acc.empty()) {
      ProductOfTile(shape, p, q_acc, tile, y.empty() ? ahead : NextTile(), product);
      for (size_t r = 0; r < tile.rows; ++r) {
        AddScaled(product + r * kTileCols, scale, tile.cols, acc.data() + offset + r * shape.cols);
      }
    }
  });
  if (streamed) hwy::FlushStream();
}

}  // namespace

void Product(const MatrixShape& shape, std::span<const float> p, std::span<const float> q, Range rows,
             std::span<float> y) {
  Reconstruct(shape, p.data(), nullptr, 0, q.data(), rows, {}, y);
}

void AddProduct(const MatrixShape& shape, std::span<const float> p, std::span<const float> q, float scale, Range rows,
                std::span<float> acc) {
  Reconstruct(shape, p.data(), q.data(), scale, nullptr, rows, acc, {});
}

void AddProductAndProduct(const MatrixShape& shape, std::span<const float> p, std::span<const float> q_acc, float scale,
                          std::span<const float> q_y, Range rows, std::span<float> acc, std::span<float> y) {
  Reconstruct(shape, p.data(), q_acc.data(), scale, q_y.data(), rows, acc, y);
}

#endif  // LACONIC_MATRIX_ORACLE
}  // namespace laconic::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace laconic::kernels {

HWY_EXPORT(Product);
void Product(const MatrixShape& shape, std::span<const float> p, std::span<const float> q, Range rows,
             std::span<float> y) {
  HWY_DYNAMIC_DISPATCH(Product)(shape, p, q, rows, y);
}

HWY_EXPORT(AddProduct);
void AddProduct(const MatrixShape& shape, std::span<const float> p, std::span<const float> q, float scale, Range rows,
                std::span<float> acc) {
  HWY_DYNAMIC_DISPATCH(AddProduct)(shape, p, q, scale, rows, acc);
}

HWY_EXPORT(AddProductAndProduct);
void AddProductAndProduct(const MatrixShape& shape, std::span<const float> p, std::span<const float> q_acc, float scale,
                          std::span<const float> q_y, Range rows, std::span<float> acc, std::span<float> y) {
  HWY_DYNAMIC_DISPATCH(AddProductAndProduct)(shape, p, q_acc, scale, q_y, rows, acc, y);
}

}  // namespace laconic::kernels
#endif  // HWY_ONCE
