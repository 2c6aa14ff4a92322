// How kernels are compiled for every instruction set and chosen at run time (Highway), and what they share.
//
// To add a kernel:
//   1. declare it, with its definition to the last bit, in kernels.h (or a header of its own beside it);
//   2. write it the obvious way in namespace kernels::scalar, with the same signature: the oracle;
//   3. write it on vectors in a *_simd.cc between HWY_BEFORE_NAMESPACE and HWY_AFTER_NAMESPACE, in namespace
//      kernels::HWY_NAMESPACE; the oracle takes the elements left over after the last whole vector;
//   4. at the end of that file, under HWY_ONCE: HWY_EXPORT(Name), and the plain function that calls
//      HWY_DYNAMIC_DISPATCH(Name)(arguments);
//   5. hold it against the oracle on every target in tests/compressors/ (targets.h gives them).
// A *_simd.cc begins with HWY_TARGET_INCLUDE naming itself, then hwy/foreach_target.h, then this file. Its body is
// compiled once per target, so what it defines outside HWY_NAMESPACE must stand under HWY_ONCE. Only there and in the
// functions of that namespace may vectors appear; lambdas that hold them are marked HWY_ATTR.
// What must be the same bits on all machines uses no MulAdd: it rounds once on some targets and twice on others.

#if defined(LACONIC_COMPRESSORS_KERNELS_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACONIC_COMPRESSORS_KERNELS_SIMD_INL_H_
#undef LACONIC_COMPRESSORS_KERNELS_SIMD_INL_H_
#else
#define LACONIC_COMPRESSORS_KERNELS_SIMD_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "hwy/highway.h"

// The target that every machine of an architecture has, where that offers no vectors: its kernels are the oracle's,
// by `using namespace scalar`.
#undef LACONIC_PORTABLE_TARGET
#define LACONIC_PORTABLE_TARGET (HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR)

HWY_BEFORE_NAMESPACE();
namespace laconic::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

[[maybe_unused]] constexpr uint32_t kSignBit = 0x80000000u;
[[maybe_unused]] constexpr uint32_t kMagnitudeBits = 0x7fffffffu;

}  // namespace laconic::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
