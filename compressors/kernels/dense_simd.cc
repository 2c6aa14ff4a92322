// The kernels of kernels.h on vectors, compiled once for each instruction set (simd-inl.h says how).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compressors/kernels/dense_simd.cc"  // this file, included again for each target
#include "hwy/foreach_target.h"
// Below foreach_target.h, which must come first.
#include "compressors/kernels/reduce-inl.h"
#include "compressors/kernels/scalar.h"

HWY_BEFORE_NAMESPACE();
namespace laconic::kernels::HWY_NAMESPACE {
#if LACONIC_PORTABLE_TARGET
using namespace scalar;
#else

template <typename Reduction>
HWY_INLINE auto Reduce(std::span<const float> x) {
  Reduction reduction;
  size_t i = 0;
  for (; i + kLine <= x.size(); i += kLine) {
    for (size_t k = 0; k < kVectors; ++k) reduction.Add(k, hn::LoadU(Floats(), x.data() + i + k * kLanes));
  }
  reduction.Add(x.subspan(i));
  return reduction.Result();
}

float AbsMax(std::span<const float> x) { return Reduce<AbsMaxReduction>(x); }
double SumAbs(std::span<const float> x) { return Reduce<Sum<Magnitude> >(x); }
double SumSquares(std::span<const float> x) { return Reduce<Sum<Square> >(x); }
size_t CountZeros(std::span<const float> x) { return Reduce<ZeroCount>(x); }

size_t FirstNonFinite(std::span<const float> x) {
  constexpr size_t kChunk = 512;  // their largest magnitude is looked at once
  size_t i = 0;
  while (i + kChunk <= x.size() && std::isfinite(AbsMax(x.subspan(i, kChunk)))) i += kChunk;
  return i + scalar::FirstNonFinite(x.subspan(i));
}

void ScaleAdd(std::span<const float> y, float scale, std::span<float> acc) {
  const auto factor = hn::Set(Floats(), scale);
  size_t i = 0;
  for (; i + kLine <= acc.size(); i += kLine) {
    hwy::Prefetch(acc.data() + i + 4 * kFetchDistance);
    for (size_t j = i; j < i + kLine; j += kLanes) {
      const auto product = hn::Mul(factor, hn::LoadU(Floats(), y.data() + j));
      hn::StoreU(hn::Add(hn::LoadU(Floats(), acc.data() + j), product), Floats(), acc.data() + j);
    }
  }
  if (i < y.size()) scalar::ScaleAdd(y.subspan(i), scale, acc.subspan(i));
}

#endif  // LACONIC_PORTABLE_TARGET
}  // namespace laconic::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace laconic::kernels {

HWY_EXPORT(FirstNonFinite);
size_t FirstNonFinite(std::span<const float> x) { return HWY_DYNAMIC_DISPATCH(FirstNonFinite)(x); }

HWY_EXPORT(AbsMax);
float AbsMax(std::span<const float> x) { return HWY_DYNAMIC_DISPATCH(AbsMax)(x); }

HWY_EXPORT(SumAbs);
double SumAbs(std::span<const float> x) { return HWY_DYNAMIC_DISPATCH(SumAbs)(x); }

HWY_EXPORT(SumSquares);
double SumSquares(std::span<const float> x) { return HWY_DYNAMIC_DISPATCH(SumSquares)(x); }

HWY_EXPORT(CountZeros);
size_t CountZeros(std::span<const float> x) { return HWY_DYNAMIC_DISPATCH(CountZeros)(x); }

HWY_EXPORT(ScaleAdd);
void ScaleAdd(std::span<const float> y, float scale, std::span<float> acc) {
  return HWY_DYNAMIC_DISPATCH(ScaleAdd)(y, scale, acc);
}

}  // namespace laconic::kernels
#endif  // HWY_ONCE
