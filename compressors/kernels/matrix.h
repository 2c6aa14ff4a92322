// Products of a matrix with the thin factors of low-rank codecs, and sums of such factors' products: the passes over
// memory that the low-rank codec consists of. Rules are those of kernels.h: matrix_scalar.cc is the oracle, and every
// target gives its bits, however the rows or columns are cut into ranges.
//
// A factor is `rank` columns, one after another: P has columns of `rows` floats, Q of `cols`. A matrix is row-major.
// No two spans of one call overlap, unless it says so.
#pragma once

#include <cstddef>
#include <span>

#include "laconic/compressors/message.h"

namespace laconic::kernels {

struct MatrixShape {
  size_t rows = 0;
  size_t cols = 0;
  size_t rank = 0;

  size_t elements() const { return rows * cols; }
};

// Rows or columns [begin, end): what a call computes, so that threads can share a matrix.
struct Range {
  size_t begin = 0;
  size_t end = 0;
};

inline constexpr size_t kDotLanes = 16;

// P = M Q and the message on the way, in one pass: M(i, j) = m_{i cols + j}.
//   P_k[i] = sum over j of M(i, j) Q_k[j]: element j goes, in order, to partial sum j % 16 (from +0); then the upper
//   half of the partial sums is added to the lower half until one is left (8 + 8, 4 + 4, 2 + 2, 1 + 1).
//   formed: elements() floats, where M is left; or empty.   q: rank x cols.   p: rank x rows.
// Only `rows` of formed and p are written. Reads m once, writes M once; Q stays in the second-level cache.
void MultiplyByFactor(const MatrixShape& shape, const Message& m, std::span<const float> q, Range rows,
                      std::span<float> formed, std::span<float> p);

// Q = M^T P, Q_k[j] = sum over i of M(i, j) P_k[i], from +0 in the order of i.
//   m: elements() floats.   p: rank x rows.   q: rank x cols, of which only `cols` are written. Reads m once.
void MultiplyTransposeByFactor(const MatrixShape& shape, std::span<const float> m, std::span<const float> p, Range cols,
                               std::span<float> q);

// Below, Y = P Q^T: Y(i, j) = (P_0[i] Q_0[j] + P_1[i] Q_1[j]) + ..., each operation rounded, in the order of k.

// y = Y.   y: elements() floats, of which `rows` are written.
void Product(const MatrixShape& shape, std::span<const float> p, std::span<const float> q, Range rows,
             std::span<float> y);

// acc += scale * Y.
void AddProduct(const MatrixShape& shape, std::span<const float> p, std::span<const float> q, float scale, Range rows,
                std::span<float> acc);

// Both in one pass: acc += scale * P Q_acc^T and y = P Q_y^T.
void AddProductAndProduct(const MatrixShape& shape, std::span<const float> p, std::span<const float> q_acc, float scale,
                          std::span<const float> q_y, Range rows, std::span<float> acc, std::span<float> y);

// ---- Columns in double precision, for Gram-Schmidt ----

// Sums in the order that kernels.h gives for sums in double: element i goes to partial sum i % 8, then
// ((0+4) + (1+5)) + ((2+6) + (3+7)).
double SquaredLength(std::span<const double> x);
double Dot(std::span<const double> x, std::span<const float> y);

// x_i -= factor * y_i.
void SubtractScaled(double factor, std::span<const float> y, std::span<double> x);

namespace scalar {

void MultiplyByFactor(const MatrixShape& shape, const Message& m, std::span<const float> q, Range rows,
                      std::span<float> formed, std::span<float> p);
void MultiplyTransposeByFactor(const MatrixShape& shape, std::span<const float> m, std::span<const float> p, Range cols,
                               std::span<float> q);
void Product(const MatrixShape& shape, std::span<const float> p, std::span<const float> q, Range rows,
             std::span<float> y);
void AddProduct(const MatrixShape& shape, std::span<const float> p, std::span<const float> q, float scale, Range rows,
                std::span<float> acc);
void AddProductAndProduct(const MatrixShape& shape, std::span<const float> p, std::span<const float> q_acc, float scale,
                          std::span<const float> q_y, Range rows, std::span<float> acc, std::span<float> y);
double SquaredLength(std::span<const double> x);
double Dot(std::span<const double> x, std::span<const float> y);
void SubtractScaled(double factor, std::span<const float> y, std::span<double> x);

}  // namespace scalar
}  // namespace laconic::kernels
