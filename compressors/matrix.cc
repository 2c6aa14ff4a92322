#include "compressors/matrix.h"

#include <algorithm>
#include <cmath>

#include "compressors/kernels/kernels.h"
#include "compressors/kernels/matrix.h"
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

}  // namespace laconic::internal
