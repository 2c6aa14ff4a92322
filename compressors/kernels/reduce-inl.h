// Reductions of kernels.h, line by line, for the kernels that reduce what they load or form.

#if defined(LACONIC_COMPRESSORS_KERNELS_REDUCE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACONIC_COMPRESSORS_KERNELS_REDUCE_INL_H_
#undef LACONIC_COMPRESSORS_KERNELS_REDUCE_INL_H_
#else
#define LACONIC_COMPRESSORS_KERNELS_REDUCE_INL_H_
#endif

#include <cmath>

#include "compressors/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace laconic::kernels::HWY_NAMESPACE {
#if !LACONIC_PORTABLE_TARGET

// A reduction takes lines, vector by vector (index: which of the line), then the elements after the last whole line, at
// most kLine - 1 of them, and gives its result. Constructors are written out, as implicit ones are compiled for the
// baseline.
struct NoReduction {
  HWY_INLINE void Add(size_t, FloatVector) {}
  HWY_INLINE void Add(std::span<const float>) {}
};

class AbsMaxReduction {
 public:
  HWY_INLINE AbsMaxReduction() : largest_(hn::Zero(Words())) {}
  HWY_INLINE void Add(size_t, FloatVector x) {
    // Magnitudes order as their bits do, infinity and NaN above all others.
    largest_ = hn::Max(largest_, hn::And(hn::BitCast(Words(), x), hn::Set(Words(), kMagnitudeBits)));
  }
  HWY_INLINE void Add(std::span<const float> rest) {
    rest_ = 0;
    for (const float value : rest) rest_ = std::max(rest_, std::bit_cast<uint32_t>(value) & kMagnitudeBits);
  }
  HWY_INLINE float Result() const {
    return std::bit_cast<float>(std::max(hn::GetLane(hn::MaxOfLanes(Words(), largest_)), rest_));
  }

 private:
  WordVector largest_;
  uint32_t rest_ = 0;
};

// Sums in sixteen doubles. Element says what of each x: Of in float, AddTo in double.
template <typename Element>
class Sum {
 public:
  HWY_INLINE Sum() {
    for (DoubleVector& partial : partials_) partial = hn::Zero(Doubles());
  }
  HWY_INLINE void Add(size_t index, FloatVector x) {
    const hn::Half<Floats> half;
    x = Element::Of(x);
    DoubleVector& low = partials_[2 * index];
    DoubleVector& high = partials_[2 * index + 1];
    low = Element::AddTo(low, hn::PromoteTo(Doubles(), hn::LowerHalf(half, x)));
    high = Element::AddTo(high, hn::PromoteTo(Doubles(), hn::UpperHalf(half, x)));
  }
  HWY_INLINE void Add(std::span<const float> rest) { rest_ = rest; }
  HWY_INLINE double Result() const {
    DoubleVector partials[2 * kVectors];
    if (rest_.empty()) {
      for (size_t k = 0; k < 2 * kVectors; ++k) partials[k] = partials_[k];
    } else {
      alignas(64) double sums[kLine];
      for (size_t k = 0; k < 2 * kVectors; ++k) hn::Store(partials_[k], Doubles(), sums + k * kLanes / 2);
      for (size_t i = 0; i < rest_.size(); ++i) sums[i] = Element::AddTo(sums[i], static_cast<double>(rest_[i]));
      for (size_t k = 0; k < 2 * kVectors; ++k) partials[k] = hn::Load(Doubles(), sums + k * kLanes / 2);
    }
    for (size_t step = kVectors; step > 0; step /= 2) {  // in vectors
      for (size_t j = 0; j < step; ++j) partials[j] = hn::Add(partials[j], partials[j + step]);
    }
    alignas(64) double lanes[kLanes / 2];
    hn::Store(partials[0], Doubles(), lanes);
    for (size_t step = kLanes / 4; step > 0; step /= 2) {
      for (size_t j = 0; j < step; ++j) lanes[j] += lanes[j + step];
    }
    return lanes[0];
  }

 private:
  DoubleVector partials_[2 * kVectors];
  std::span<const float> rest_;
};

struct Magnitude {
  static HWY_INLINE FloatVector Of(FloatVector x) { return hn::Abs(x); }
  static HWY_INLINE DoubleVector AddTo(DoubleVector sum, DoubleVector x) { return hn::Add(sum, x); }
  static HWY_INLINE double AddTo(double sum, double x) { return sum + std::fabs(x); }
};
struct Square {  // exact in double, so that a fused addition rounds alike
  static HWY_INLINE FloatVector Of(FloatVector x) { return x; }
  static HWY_INLINE DoubleVector AddTo(DoubleVector sum, DoubleVector x) { return hn::MulAdd(x, x, sum); }
  static HWY_INLINE double AddTo(double sum, double x) { return sum + x * x; }
};

class ZeroCount {
 public:
  HWY_INLINE void Add(size_t, FloatVector x) { zeros_ += hn::CountTrue(Floats(), hn::Eq(x, hn::Zero(Floats()))); }
  HWY_INLINE void Add(std::span<const float> rest) {
    for (const float value : rest) zeros_ += value == 0 ? 1 : 0;
  }
  HWY_INLINE size_t Result() const { return zeros_; }

 private:
  size_t zeros_ = 0;
};

#endif  // !LACONIC_PORTABLE_TARGET
}  // namespace laconic::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
