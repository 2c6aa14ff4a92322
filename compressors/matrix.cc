#include "compressors/matrix.h"

#include <algorithm>
#include <cmath>

#include "compressors/kernels/kernels.h"
#include "laconic/base/parallel.h"
#include "laconic/base/scratch.h"

namespace laconic::internal {
namespace {

// What is left of a column after its projection on the others is rounding noise below this share of its length: the
// products that gave the column carry about 2^-24 sqrt(cols) of it.
constexpr double kDependent = 1e-6;

// Makes `column` a unit vector orthogonal to the unit vectors before it (`earlier`: whole columns of the same length);
// false, with `column` as it was, if nothing but noise would be left.
bool OrthonormalizeColumn(std::span<const float> earlier, std::span<float> column, std::span<double> work) {
  const size_t rows = column.size();
  std::copy(column.begin(), column.end(), work.begin());
  const double length_before = std::sqrt(kernels::SquaredLength(work));
  for (int pass = 0; pass < 2; ++pass) {
    for (size_t start = 0; start < earlier.size(); start += rows) {
      const std::span<const float> unit = earlier.subspan(start, rows);
      kernels::SubtractScaled(kernels::Dot(work, unit), unit, work);
    }
  }
  const double length = std::sqrt(kernels::SquaredLength(work));
  if (length <= kDependent * length_before) return false;
  for (size_t i = 0; i < rows; ++i) column[i] = static_cast<float>(work[i] / length);
  return true;
}

// Calls body(rows) for the rows of a matrix in pieces of about 2^17 elements, in which waking a thread is lost.
template <typename Body>
void ForRows(const kernels::MatrixShape& shape, const Body& body) {
  constexpr size_t kPieceElements = size_t{1} << 17;
  constexpr size_t kRows = 4;  // kernels take as many at a time
  const size_t grain = (kPieceElements / std::max<size_t>(shape.cols, 1) + kRows) / kRows * kRows;
  ParallelFor(shape.rows, grain, [&](size_t begin, size_t end) { body(kernels::Range{begin, end}); });
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
    const float largest = kernels::AbsMax(column);
    if (largest == 0) continue;
    int exponent = 0;
    std::frexp(largest, &exponent);
    const double scale = std::ldexp(1.0, -exponent);
    for (float& value : column) value = static_cast<float>(static_cast<double>(value) * scale);
  }
}

void MultiplyByFactor(const kernels::MatrixShape& shape, const Message& m, std::span<const float> q,
                      std::span<float> formed, std::span<float> p) {
  ForRows(shape, [&](kernels::Range rows) { kernels::MultiplyByFactor(shape, m, q, rows, formed, p); });
}

void MultiplyTransposeByFactor(const kernels::MatrixShape& shape, std::span<const float> m, std::span<const float> p,
                               std::span<float> q) {
  constexpr size_t kGrain = 256;  // columns: threads share the rows, so that no sum is cut
  ParallelFor(shape.cols, kGrain, [&](size_t begin, size_t end) {
    kernels::MultiplyTransposeByFactor(shape, m, p, {begin, end}, q);
  });
}

void Product(const kernels::MatrixShape& shape, std::span<const float> p, std::span<const float> q,
             std::span<float> y) {
  ForRows(shape, [&](kernels::Range rows) { kernels::Product(shape, p, q, rows, y); });
}

void AddProduct(const kernels::MatrixShape& shape, std::span<const float> p, std::span<const float> q, float scale,
                std::span<float> acc) {
  ForRows(shape, [&](kernels::Range rows) { kernels::AddProduct(shape, p, q, scale, rows, acc); });
}

void AddProductAndProduct(const kernels::MatrixShape& shape, std::span<const float> p, std::span<const float> q_acc,
                          float scale, std::span<const float> q_y, std::span<float> acc, std::span<float> y) {
  ForRows(shape,
          [&](kernels::Range rows) { kernels::AddProductAndProduct(shape, p, q_acc, scale, q_y, rows, acc, y); });
}

}  // namespace laconic::internal
