// Columns in double precision (matrix.h) on vectors, compiled once for each instruction set (simd-inl.h says how).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compressors/kernels/columns_simd.cc"  // this file, included again for each target
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

using ColumnDoubles = hn::CappedTag<double, 8>;
constexpr size_t kDoubles = hn::MaxLanes(ColumnDoubles());

// The sum of term(i), a vector of the terms i .. i + kDoubles, for i < whole; then of rest(i), one term.
template <typename Term, typename Rest>
HWY_INLINE double SumInEight(size_t count, const Term& term, const Rest& rest) {
  const ColumnDoubles d;
  constexpr size_t kSums = 8 / kDoubles;
  hn::Vec<ColumnDoubles> sums[kSums];
  for (size_t v = 0; v < kSums; ++v) sums[v] = hn::Zero(d);
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (size_t v = 0; v < kSums; ++v) sums[v] = hn::Add(sums[v], term(i + v * kDoubles));
  }
  HWY_ALIGN double partial[8];
  for (size_t v = 0; v < kSums; ++v) hn::Store(sums[v], d, partial + v * kDoubles);
  for (size_t lane = 0; i + lane < count; ++lane) partial[lane] += rest(i + lane);
  return ((partial[0] + partial[4]) + (partial[1] + partial[5])) +
         ((partial[2] + partial[6]) + (partial[3] + partial[7]));
}

HWY_INLINE hn::Vec<ColumnDoubles> Widened(const float* x) {
  const ColumnDoubles d;
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<float, ColumnDoubles>(), x));
}

}  // namespace

double SquaredLength(std::span<const double> x) {
  const auto square = [&](size_t i) HWY_ATTR {
    const auto values = hn::LoadU(ColumnDoubles(), x.data() + i);
    return hn::Mul(values, values);
  };
  return SumInEight(x.size(), square, [&](size_t i) { return x[i] * x[i]; });
}

double Dot(std::span<const double> x, std::span<const float> y) {
  const auto product = [&](size_t i) HWY_ATTR {
    return hn::Mul(hn::LoadU(ColumnDoubles(), x.data() + i), Widened(y.data() + i));
  };
  return SumInEight(x.size(), product, [&](size_t i) { return x[i] * static_cast<double>(y[i]); });
}

void SubtractScaled(double factor, std::span<const float> y, std::span<double> x) {
  const ColumnDoubles d;
  const auto factors = hn::Set(d, factor);
  size_t i = 0;
  for (; i + kDoubles <= x.size(); i += kDoubles) {
    hn::StoreU(hn::Sub(hn::LoadU(d, x.data() + i), hn::Mul(factors, Widened(y.data() + i))), d, x.data() + i);
  }
  for (; i < x.size(); ++i) x[i] -= factor * static_cast<double>(y[i]);
}

#endif  // LACONIC_MATRIX_ORACLE
}  // namespace laconic::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace laconic::kernels {

HWY_EXPORT(SquaredLength);
double SquaredLength(std::span<const double> x) { return HWY_DYNAMIC_DISPATCH(SquaredLength)(x); }

HWY_EXPORT(Dot);
double Dot(std::span<const double> x, std::span<const float> y) { return HWY_DYNAMIC_DISPATCH(Dot)(x, y); }

HWY_EXPORT(SubtractScaled);
void SubtractScaled(double factor, std::span<const float> y, std::span<double> x) {
  HWY_DYNAMIC_DISPATCH(SubtractScaled)(factor, y, x);
}

}  // namespace laconic::kernels
#endif  // HWY_ONCE
