// Randomised Hadamard transforms. A run is walked over two or three times: first in groups that fit in the registers,
// for the strides inside a group, then over a few vectors that lie apart, for as many longer strides at once. Every
// element sees the butterflies of the definition in their order, so the bits are the oracle's.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compressors/kernels/hadamard_simd.cc"
#include "hwy/foreach_target.h"
// Below foreach_target.h, which must come first.
#include "compressors/kernels/rotation_scalar.h"
#include "compressors/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace laconic::kernels::HWY_NAMESPACE {
#if LACONIC_PORTABLE_TARGET
using namespace scalar;
#else

// What x is multiplied by on its way in.
struct Factors {
  float up = 1, steps = 1;
};
struct NoFactors {};

// Flips the signs of the vector at element i of x.
class Signs {
 public:
  HWY_INLINE explicit Signs(std::span<const uint32_t> signs)
      : signs_(signs.data()), to_top_(hn::Sub(hn::Set(Words(), 31), hn::Iota(Words(), 0))) {}
  HWY_INLINE FloatVector Flip(FloatVector x, size_t i) const {
    const uint32_t bits = signs_[i / 32] >> (i % 32);
    if constexpr (kLanes == 16) {
      uint8_t bytes[8];  // as many as LoadMaskBits may read
      std::memcpy(bytes, &bits, sizeof(bits));
      return hn::IfThenElse(hn::LoadMaskBits(Floats(), bytes), hn::Neg(x), x);
    } else {
      const auto flips = hn::And(hn::Shl(hn::Set(Words(), bits), to_top_), hn::Set(Words(), kSignBit));
      return hn::Xor(x, hn::BitCast(Floats(), flips));
    }
  }

 private:
  const uint32_t* signs_;
  WordVector to_top_;
};

// Butterflies of lanes of one vector, kStride apart.
template <size_t kStride>
class LaneButterfly {
 public:
  HWY_INLINE LaneButterfly() {
    const hn::RebindToSigned<Floats> integers;
    const auto lanes = hn::Iota(Words(), 0);
    const auto stride = hn::Set(Words(), static_cast<uint32_t>(kStride));
    partner_ = hn::IndicesFromVec(Floats(), hn::BitCast(integers, hn::Xor(lanes, stride)));
    const auto is_second = hn::Eq(hn::And(lanes, stride), stride);
    weight_ = hn::IfThenElse(hn::RebindMask(Floats(), is_second), hn::Set(Floats(), -1.0f), hn::Set(Floats(), 1.0f));
  }
  // x_j + x_{j+stride} and x_j - x_{j+stride}, as the partner and x times 1 or -1: exact, fused or not.
  HWY_INLINE FloatVector operator()(FloatVector x) const {
    return hn::MulAdd(x, weight_, hn::TableLookupLanes(x, partner_));
  }

 private:
  decltype(hn::IndicesFromVec(Floats(), hn::Zero(hn::RebindToSigned<Floats>()))) partner_;
  FloatVector weight_;
};

// All strides inside a vector.
class LaneButterflies {
 public:
  HWY_INLINE LaneButterflies() {}  // written out, as an implicit one is compiled for the baseline
  HWY_INLINE FloatVector operator()(FloatVector x) const {
    x = by_2_(by_1_(x));
    if constexpr (kLanes >= 8) x = by_4_(x);
    if constexpr (kLanes >= 16) x = by_8_(x);
    return x;
  }

 private:
  LaneButterfly<1> by_1_;
  LaneButterfly<2> by_2_;
  LaneButterfly<kLanes >= 8 ? 4 : 1> by_4_;
  LaneButterfly<kLanes >= 16 ? 8 : 1> by_8_;
};

// Butterflies of vectors 1, 2, 4, ... apart.
template <size_t kCount>
HWY_INLINE void Butterflies(FloatVector (&x)[kCount]) {
  for (size_t h = 1; h < kCount; h *= 2) {
    for (size_t j = 0; j < kCount; ++j) {
      if ((j & h) != 0) continue;
      const FloatVector sum = hn::Add(x[j], x[j + h]);
      x[j + h] = hn::Sub(x[j], x[j + h]);
      x[j] = sum;
    }
  }
}

// The strides inside groups of kCount vectors, from `from` to `to`, which may be the same.
template <size_t kCount, bool kFlipBefore, bool kFlipAfter, typename InputFactors>
HWY_INLINE void RotateGroups(const float* from, size_t size, InputFactors factors, const Signs& signs, float* to) {
  const LaneButterflies inside;
  for (size_t i = 0; i < size; i += kCount * kLanes) {
    FloatVector x[kCount];
    for (size_t k = 0; k < kCount; ++k) {
      x[k] = hn::LoadU(Floats(), from + i + k * kLanes);
      if constexpr (std::is_same_v<InputFactors, Factors>) {
        x[k] = hn::Mul(hn::Mul(x[k], hn::Set(Floats(), factors.up)), hn::Set(Floats(), factors.steps));
      }
      if constexpr (kFlipBefore) x[k] = signs.Flip(x[k], i + k * kLanes);
      x[k] = inside(x[k]);
    }
    Butterflies(x);
    for (size_t k = 0; k < kCount; ++k) {
      if constexpr (kFlipAfter) x[k] = signs.Flip(x[k], i + k * kLanes);
      hn::StoreU(x[k], Floats(), to + i + k * kLanes);
    }
  }
}

// The strides h, 2 h, ... kCount h / 2.
template <size_t kCount, bool kFlipAfter>
HWY_INLINE void RotateApart(size_t h, const Signs& signs, std::span<float> x) {
  for (size_t block = 0; block < x.size(); block += kCount * h) {
    for (size_t j = block; j < block + h; j += kLanes) {
      FloatVector vectors[kCount];
      for (size_t k = 0; k < kCount; ++k) vectors[k] = hn::LoadU(Floats(), x.data() + j + k * h);
      Butterflies(vectors);
      for (size_t k = 0; k < kCount; ++k) {
        if constexpr (kFlipAfter) vectors[k] = signs.Flip(vectors[k], j + k * h);
        hn::StoreU(vectors[k], Floats(), x.data() + j + k * h);
      }
    }
  }
}

// Vectors in registers at once. With 16 of them, though there are 32 registers, compilers spill.
constexpr size_t kHeld = 8;
constexpr size_t kSmallGroup = kMinRotation / kLanes;  // of the smallest transform
constexpr size_t kGroup = std::max<size_t>(kHeld, kSmallGroup);

template <bool kFlipBefore, bool kFlipAfter, typename InputFactors>
HWY_INLINE void Transform(const float* from, InputFactors factors, std::span<const uint32_t> sign_bits,
                          std::span<float> to) {
  const Signs signs(sign_bits);
  const size_t size = to.size();
  size_t done = kSmallGroup * kLanes;  // the first stride that is left to do
  if (size == done) {
    return RotateGroups<kSmallGroup, kFlipBefore, kFlipAfter>(from, size, factors, signs, to.data());
  }
  if (size <= kGroup * kLanes) {
    RotateGroups<kSmallGroup, kFlipBefore, false>(from, size, factors, signs, to.data());
  } else {
    RotateGroups<kGroup, kFlipBefore, false>(from, size, factors, signs, to.data());
    done = kGroup * kLanes;
  }
  for (; size / done > kHeld; done *= 4) RotateApart<4, false>(done, signs, to);
  switch (size / done) {
    case 2:
      return RotateApart<2, kFlipAfter>(done, signs, to);
    case 4:
      return RotateApart<4, kFlipAfter>(done, signs, to);
    default:
      return RotateApart<kHeld, kFlipAfter>(done, signs, to);
  }
}

void ScaleAndRotate(std::span<const float> x, float up, float steps, std::span<const uint32_t> signs,
                    std::span<float> out) {
  Transform<true, false>(x.data(), Factors{up, steps}, signs, out);
}

void Rotate(std::span<const uint32_t> signs, std::span<float> x) {
  Transform<true, false>(x.data(), NoFactors(), signs, x);
}

void RotateBack(std::span<const uint32_t> signs, std::span<float> x) {
  Transform<false, true>(x.data(), NoFactors(), signs, x);
}

#endif  // LACONIC_PORTABLE_TARGET
}  // namespace laconic::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace laconic::kernels {

HWY_EXPORT(ScaleAndRotate);
void ScaleAndRotate(std::span<const float> x, float up, float steps, std::span<const uint32_t> signs,
                    std::span<float> out) {
  HWY_DYNAMIC_DISPATCH(ScaleAndRotate)(x, up, steps, signs, out);
}

HWY_EXPORT(Rotate);
void Rotate(std::span<const uint32_t> signs, std::span<float> x) { HWY_DYNAMIC_DISPATCH(Rotate)(signs, x); }

HWY_EXPORT(RotateBack);
void RotateBack(std::span<const uint32_t> signs, std::span<float> x) { HWY_DYNAMIC_DISPATCH(RotateBack)(signs, x); }

}  // namespace laconic::kernels
#endif  // HWY_ONCE
