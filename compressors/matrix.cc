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

}  // namespace

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
