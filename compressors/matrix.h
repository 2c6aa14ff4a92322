// What is done to the thin factors of a low-rank approximation alone, with the same bits on every machine: fixed order,
// each operation rounded. A factor is `rank` columns, one after another. Products with whole matrices are in
// kernels/matrix.h.
//
// No BLAS: its kernels differ between CPUs, and Debian's serial OpenBLAS hands two threads the same buffer when they
// call it at once (seen in tests/comm/strategy_test.cc: one wrong product in 150 processes).
#pragma once

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

// Multiplies each column by the power of two that brings its largest magnitude into [0.5, 1), so that repeated products
// neither overflow nor vanish. Directions stay as they are, bit for bit (short of denormals). Zero columns stay.
void ScaleColumns(std::span<float> factor, size_t rows);

}  // namespace laconic::internal
