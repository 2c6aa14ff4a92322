// Arithmetic of low-rank approximations, with the same bits on every machine and for any number of threads: fixed
// order, each operation rounded. A factor is `rank` columns, one after another.
//
// No BLAS: its kernels differ between CPUs, and Debian's serial OpenBLAS hands two threads the same buffer when they
// call it at once (seen in tests/comm/strategy_test.cc: one wrong product in 150 processes).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "compressors/kernels/matrix.h"
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

// Multiplies each column by the power of two that brings its largest magnitude into [0.5, 1), so that repeated products
// neither overflow nor vanish. Directions stay as they are, bit for bit (short of denormals). Zero columns stay.
void ScaleColumns(std::span<float> factor, size_t rows);

// The kernels of the same names on all rows or columns, shared among the threads of the scope this thread is in
// (base/parallel.h).
void MultiplyByFactor(const kernels::MatrixShape& shape, const Message& m, std::span<const float> q,
                      std::span<float> formed, std::span<float> p);
void MultiplyTransposeByFactor(const kernels::MatrixShape& shape, std::span<const float> m, std::span<const float> p,
                               std::span<float> q);
void Product(const kernels::MatrixShape& shape, std::span<const float> p, std::span<const float> q, std::span<float> y);
void AddProduct(const kernels::MatrixShape& shape, std::span<const float> p, std::span<const float> q, float scale,
                std::span<float> acc);
void AddProductAndProduct(const kernels::MatrixShape& shape, std::span<const float> p, std::span<const float> q_acc,
                          float scale, std::span<const float> q_y, std::span<float> acc, std::span<float> y);

}  // namespace laconic::internal
