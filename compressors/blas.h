// The one place that calls a BLAS: the two products of a tensor's matrix view with a tall thin factor.
//
// A factor of `rank` columns is stored column after column. Products may differ in the last bits between CPUs (the
// library picks its kernels at run time), so they are used only where one rank computes and all others take its result.
// Thread-safe with an OpenBLAS that locks its buffers (Debian's serial build does; a test calls it from several
// threads).
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

namespace laconic::internal {

// The largest number of rows or columns the products take.
inline constexpr uint64_t kMaxMatrixSide = std::numeric_limits<int32_t>::max();

// P = M Q.   m: rows x cols, row-major.   q: rank columns of cols.   p: rank columns of rows, overwritten.
void MultiplyMatrixByFactor(std::span<const float> m, size_t rows, size_t cols, std::span<const float> q, size_t rank,
                            std::span<float> p);

// Q = M^T P, same layouts; q is overwritten.
void MultiplyTransposeByFactor(std::span<const float> m, size_t rows, size_t cols, std::span<const float> p,
                               size_t rank, std::span<float> q);

}  // namespace laconic::internal
