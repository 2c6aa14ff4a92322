// Arithmetic on the thin factors of a low-rank approximation, with the same bits on every machine: fixed order, each
// operation rounded. A factor is `rank` columns, one after another.
//
// No BLAS: its kernels differ between CPUs, and Debian's serial OpenBLAS hands two threads the same buffer when they
// call it at once (seen in tests/comm/strategy_test.cc: one wrong product in 150 processes).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "laconic/base/rng.h"

namespace laconic::internal {

// out[i]: a nearly normal number, mean 0 and variance 2/3, from block `first_block` + i of `rng`. The sum of eight
// uniform 16-bit integers, because exact normals need a logarithm, whose last bits differ between machines.
void FillNearlyNormal(const CounterRng& rng, uint64_t first_block, std::span<float> out);

// Makes the columns of `factor` orthonormal in place: modified Gram-Schmidt in double precision, each column twice
// (Giraud, Langou and Rozloznik 2005: twice is enough), rounded to float at its end. O(rows rank^2).
//   factor: rank columns of `rows` finite floats, rank <= rows.
// A column that depends on those before it (a zero one included) is replaced by a direction drawn from `rng`, blocks
// `first_block` onwards (at most rows * rank of them) and orthonormal to the others: a projection on more directions is
// never worse.
void Orthonormalize(std::span<float> factor, size_t rows, const CounterRng& rng, uint64_t first_block);

// P = M Q, each element summed in eight lanes along the row.
//   m: rows x cols, row-major.   q: rank columns of cols.   p: rank columns of rows, overwritten.
void MultiplyMatrixByFactor(std::span<const float> m, size_t rows, size_t cols, std::span<const float> q, size_t rank,
                            std::span<float> p);

// Q = M^T P, each element summed down the column, four rows at a time. Same layouts; q is overwritten.
void MultiplyTransposeByFactor(std::span<const float> m, size_t rows, size_t cols, std::span<const float> p,
                               size_t rank, std::span<float> q);

// Multiplies each column by the power of two that brings its largest magnitude into [0.5, 1), so that repeated products
// neither overflow nor vanish. Directions stay as they are, bit for bit (short of denormals). Zero columns stay.
void ScaleColumns(std::span<float> factor, size_t rows);

// A low-rank matrix P Q^T.
struct LowRankFactors {
  size_t rows = 0;
  size_t cols = 0;
  size_t rank = 0;
  std::span<const float> p;  // rank columns of `rows`
  std::span<const float> q;  // rank columns of `cols`
};

inline constexpr size_t kProductTile = 256;  // floats; a tile and its part of Q stay in the first-level cache

// tile[t] = sum over k of P(row, k) Q(first_col + t, k), from +0 in the order of k.
void ProductTile(const LowRankFactors& factors, size_t row, size_t first_col, std::span<float> tile);

// Calls sink(offset, tile) for all of P Q^T in row-major order, `offset` being the first element's position.
template <typename Sink>
void ForEachProductTile(const LowRankFactors& factors, Sink&& sink) {
  std::array<float, kProductTile> buffer;
  for (size_t row = 0; row < factors.rows; ++row) {
    for (size_t col = 0; col < factors.cols; col += kProductTile) {
      const std::span<float> tile = std::span(buffer).first(std::min(kProductTile, factors.cols - col));
      ProductTile(factors, row, col, tile);
      sink(row * factors.cols + col, std::span<const float>(tile));
    }
  }
}

}  // namespace laconic::internal
