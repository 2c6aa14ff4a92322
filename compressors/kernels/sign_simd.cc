// The sign codec.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compressors/kernels/sign_simd.cc"
#include "hwy/foreach_target.h"
// Below foreach_target.h, which must come first.
#include "compressors/kernels/scalar.h"
#include "compressors/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace laconic::kernels::HWY_NAMESPACE {
#if LACONIC_PORTABLE_TARGET
using namespace scalar;
#else

void PackSigns(std::span<const float> x, std::span<std::byte> bits) {
  size_t i = 0;
  for (; i + kLine <= x.size(); i += kLine) {
    const uint16_t line =
        LineBits([&](size_t k) HWY_ATTR { return SignMask(hn::LoadU(Floats(), x.data() + i + k * kLanes)); });
    std::memcpy(bits.data() + i / 8, &line, sizeof(line));
  }
  if (i < x.size()) scalar::PackSigns(x.subspan(i), bits.subspan(i / 8));
}

void PackSignsAndSubtract(std::span<const float> x, float value, std::span<std::byte> bits, const Sink& sink) {
  const auto magnitude = hn::Set(Floats(), value);
  const size_t i = ForEachLine(sink, [&](size_t i, auto store) HWY_ATTR {
    const uint16_t line = LineBits([&](size_t k) HWY_ATTR {
      const auto element = hn::LoadU(Floats(), x.data() + i + k * kLanes);
      store(k, hn::Sub(element, hn::Or(magnitude, SignBits(element))));
      return SignMask(element);
    });
    std::memcpy(bits.data() + i / 8, &line, sizeof(line));
  });
  if (i < x.size()) scalar::PackSignsAndSubtract(x.subspan(i), value, bits.subspan(i / 8), RestOf(sink, i));
}

void PackSignsAndSubtractFromNonZeros(std::span<const float> x, float value, std::span<std::byte> bits,
                                      const Sink& sink) {
  const auto magnitude = hn::Set(Floats(), value);
  const size_t i = ForEachLine(sink, [&](size_t i, auto store) HWY_ATTR {
    const uint16_t line = LineBits([&](size_t k) HWY_ATTR {
      const auto element = hn::LoadU(Floats(), x.data() + i + k * kLanes);
      const auto term = hn::Or(magnitude, SignBits(element));
      const auto is_zero = hn::Eq(element, hn::Zero(Floats()));
      store(k, hn::Sub(element, hn::IfThenZeroElse(is_zero, term)));
      return SignMask(element);
    });
    std::memcpy(bits.data() + i / 8, &line, sizeof(line));
  });
  if (i < x.size()) scalar::PackSignsAndSubtractFromNonZeros(x.subspan(i), value, bits.subspan(i / 8), RestOf(sink, i));
}

void AddSigned(std::span<const std::byte> signs, float value, std::span<float> acc) {
  const auto plus = hn::Set(Floats(), value);
  const auto minus = hn::Set(Floats(), -value);
  size_t i = 0;
  for (; i + kLine <= acc.size(); i += kLine) {
    hwy::Prefetch(acc.data() + i + kFetchDistance);
    for (size_t k = 0; k < kVectors; ++k) {
      float* const element = acc.data() + i + k * kLanes;
      const auto term = hn::IfThenElse(LoadMask(signs.data() + i / 8, k), minus, plus);
      hn::StoreU(hn::Add(hn::LoadU(Floats(), element), term), Floats(), element);
    }
  }
  if (i < acc.size()) scalar::AddSigned(signs.subspan(i / 8), value, acc.subspan(i));
}

void AddSignedWhere(std::span<const std::byte> signs, std::span<const std::byte> non_zeros, float value,
                    std::span<float> acc) {
  const auto plus = hn::Set(Floats(), value);
  const auto minus = hn::Set(Floats(), -value);
  size_t i = 0;
  for (; i + kLine <= acc.size(); i += kLine) {
    for (size_t k = 0; k < kVectors; ++k) {
      float* const element = acc.data() + i + k * kLanes;
      const auto term = hn::IfThenElse(LoadMask(signs.data() + i / 8, k), minus, plus);
      const auto kept = hn::IfThenElseZero(LoadMask(non_zeros.data() + i / 8, k), term);
      hn::StoreU(hn::Add(hn::LoadU(Floats(), element), kept), Floats(), element);
    }
  }
  if (i < acc.size()) scalar::AddSignedWhere(signs.subspan(i / 8), non_zeros.subspan(i / 8), value, acc.subspan(i));
}

#endif  // LACONIC_PORTABLE_TARGET
}  // namespace laconic::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace laconic::kernels {

HWY_EXPORT(PackSigns);
void PackSigns(std::span<const float> x, std::span<std::byte> bits) { HWY_DYNAMIC_DISPATCH(PackSigns)(x, bits); }

HWY_EXPORT(PackSignsAndSubtract);
void PackSignsAndSubtract(std::span<const float> x, float value, std::span<std::byte> bits, const Sink& sink) {
  HWY_DYNAMIC_DISPATCH(PackSignsAndSubtract)(x, value, bits, sink);
}

HWY_EXPORT(PackSignsAndSubtractFromNonZeros);
void PackSignsAndSubtractFromNonZeros(std::span<const float> x, float value, std::span<std::byte> bits,
                                      const Sink& sink) {
  HWY_DYNAMIC_DISPATCH(PackSignsAndSubtractFromNonZeros)(x, value, bits, sink);
}

HWY_EXPORT(AddSigned);
void AddSigned(std::span<const std::byte> signs, float value, std::span<float> acc) {
  HWY_DYNAMIC_DISPATCH(AddSigned)(signs, value, acc);
}

HWY_EXPORT(AddSignedWhere);
void AddSignedWhere(std::span<const std::byte> signs, std::span<const std::byte> non_zeros, float value,
                    std::span<float> acc) {
  HWY_DYNAMIC_DISPATCH(AddSignedWhere)(signs, non_zeros, value, acc);
}

}  // namespace laconic::kernels
#endif  // HWY_ONCE
