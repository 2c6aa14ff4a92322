#include "compressors/matrix.h"

#include <cmath>

#include "laconic/base/scratch.h"

namespace laconic::internal {
namespace {

// What is left of a column after its projection on the others is rounding noise below this share of its length: the
// products that gave the column carry about 2^-24 sqrt(cols) of it.
constexpr double kDependent = 1e-6;

// Sums term(i) for i < count in eight lanes, so that the order is fixed and a compiler can still vectorise it.
template <typename Term>
double SumInLanes(size_t count, Term term) {
  constexpr size_t kLanes = 8;
  double lanes[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  }
  for (size_t lane = 0; i + lane < count; ++lane) lanes[lane] += term(i + lane);
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

double Length(std::span<const double> v) {
  return std::sqrt(SumInLanes(v.size(), [&](size_t i) { return v[i] * v[i]; }));
}

// Makes `column` a unit vector orthogonal to the unit vectors before it (`earlier`: whole columns of the same length);
// false, with `column` as it was, if nothing but noise would be left.
bool OrthonormalizeColumn(std::span<const float> earlier, std::span<float> column, std::span<double> work) {
  const size_t rows = column.size();
  std::copy(column.begin(), column.end(), work.begin());
  const double length_before = Length(work);
  for (int pass = 0; pass < 2; ++pass) {
    for (size_t start = 0; start < earlier.size(); start += rows) {
      const std::span<const float> unit = earlier.subspan(start, rows);
      const double along = SumInLanes(rows, [&](size_t i) { return work[i] * static_cast<double>(unit[i]); });
      for (size_t i = 0; i < rows; ++i) work[i] -= along * static_cast<double>(unit[i]);
    }
  }
  const double length = Length(work);
  if (length <= kDependent * length_before) return false;
  for (size_t i = 0; i < rows; ++i) column[i] = static_cast<float>(work[i] / length);
  return true;
}

// out[k] = row . columns[k] for K columns at once, so that the row is loaded once.
template <size_t K>
void RowTimesColumns(std::span<const float> row, const float* columns, float* out, size_t out_stride) {
  constexpr size_t kLanes = 8;
  const size_t cols = row.size();
  float lanes[K][kLanes] = {};
  size_t j = 0;
  for (; j + kLanes <= cols; j += kLanes) {
    for (size_t k = 0; k < K; ++k) {
      for (size_t lane = 0; lane < kLanes; ++lane) lanes[k][lane] += row[j + lane] * columns[k * cols + j + lane];
    }
  }
  for (size_t k = 0; k < K; ++k) {
    for (size_t lane = 0; j + lane < cols; ++lane) lanes[k][lane] += row[j + lane] * columns[k * cols + j + lane];
    const float* l = lanes[k];
    out[k * out_stride] = ((l[0] + l[1]) + (l[2] + l[3])) + ((l[4] + l[5]) + (l[6] + l[7]));
  }
}

}  // namespace

void MultiplyMatrixByFactor(std::span<const float> m, size_t rows, size_t cols, std::span<const float> q, size_t rank,
                            std::span<float> p) {
  for (size_t i = 0; i < rows; ++i) {
    const std::span<const float> row = m.subspan(i * cols, cols);
    size_t k = 0;
    for (; k + 2 <= rank; k += 2) RowTimesColumns<2>(row, q.data() + k * cols, p.data() + k * rows + i, rows);
    if (k < rank) RowTimesColumns<1>(row, q.data() + k * cols, p.data() + k * rows + i, rows);
  }
}

void MultiplyTransposeByFactor(std::span<const float> m, size_t rows, size_t cols, std::span<const float> p,
                               size_t rank, std::span<float> q) {
  std::fill_n(q.begin(), rank * cols, 0.0f);
  size_t i = 0;
  for (; i + 4 <= rows; i += 4) {
    const float *m0 = m.data() + i * cols, *m1 = m0 + cols, *m2 = m1 + cols, *m3 = m2 + cols;
    for (size_t k = 0; k < rank; ++k) {
      const float* pk = p.data() + k * rows + i;
      const float p0 = pk[0], p1 = pk[1], p2 = pk[2], p3 = pk[3];
      float* __restrict qk = q.data() + k * cols;
      for (size_t j = 0; j < cols; ++j) qk[j] += ((m0[j] * p0 + m1[j] * p1) + m2[j] * p2) + m3[j] * p3;
    }
  }
  for (; i < rows; ++i) {
    for (size_t k = 0; k < rank; ++k) {
      const float pki = p[k * rows + i];
      for (size_t j = 0; j < cols; ++j) q[k * cols + j] += m[i * cols + j] * pki;
    }
  }
}

void FillNearlyNormal(const CounterRng& rng, uint64_t first_block, std::span<float> out) {
  constexpr int64_t kMean = 8 * 0xffff / 2;
  for (size_t i = 0; i < out.size(); ++i) {
    int64_t sum = 0;
    for (const uint32_t word : rng.Block(first_block + i)) sum += (word & 0xffff) + (word >> 16);
    out[i] = static_cast<float>(sum - kMean) * 0x1p-16f;
  }
}

void Orthonormalize(std::span<float> factor, size_t rows, const CounterRng& rng, uint64_t first_block) {
  const std::span<double> work = Scratch<double>(ScratchUse::kMatrixC, rows);
  for (size_t start = 0; start < factor.size(); start += rows) {
    const std::span<const float> earlier = factor.first(start);
    const std::span<float> column = factor.subspan(start, rows);
    if (OrthonormalizeColumn(earlier, column, work)) continue;
    FillNearlyNormal(rng, first_block + start, column);
    // A random direction in the span of `earlier`, which no draw ever was, leaves a column that contributes nothing.
    if (!OrthonormalizeColumn(earlier, column, work)) std::fill(column.begin(), column.end(), 0.0f);
  }
}

void ScaleColumns(std::span<float> factor, size_t rows) {
  for (size_t start = 0; start < factor.size(); start += rows) {
    const std::span<float> column = factor.subspan(start, rows);
    float largest = 0;
    for (const float value : column) largest = std::max(largest, std::abs(value));
    if (largest == 0) continue;
    int exponent = 0;
    std::frexp(largest, &exponent);
    const double scale = std::ldexp(1.0, -exponent);
    for (float& value : column) value = static_cast<float>(static_cast<double>(value) * scale);
  }
}

void ProductTile(const LowRankFactors& factors, size_t row, size_t first_col, std::span<float> tile) {
  const size_t count = tile.size();
  float* const y = tile.data();
  const float* p = factors.p.data() + row;
  const float* q = factors.q.data() + first_col;
  std::fill_n(y, count, 0.0f);
  size_t k = 0;
  // Four terms a pass; the sum is still taken one term after the other.
  for (; k + 4 <= factors.rank; k += 4) {
    const float p0 = p[0], p1 = p[factors.rows], p2 = p[2 * factors.rows], p3 = p[3 * factors.rows];
    const float *q0 = q, *q1 = q + factors.cols, *q2 = q + 2 * factors.cols, *q3 = q + 3 * factors.cols;
    for (size_t t = 0; t < count; ++t) y[t] = (((y[t] + p0 * q0[t]) + p1 * q1[t]) + p2 * q2[t]) + p3 * q3[t];
    p += 4 * factors.rows;
    q += 4 * factors.cols;
  }
  for (; k < factors.rank; ++k, p += factors.rows, q += factors.cols) {
    const float pk = *p;
    for (size_t t = 0; t < count; ++t) y[t] += pk * q[t];
  }
}

}  // namespace laconic::internal
