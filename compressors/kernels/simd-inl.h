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
#include <cstring>
#include <span>

#include "compressors/kernels/kernels.h"
#include "hwy/cache_control.h"
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

#if !LACONIC_PORTABLE_TARGET

// Loops go by lines of 16 floats (64 bytes, one cache line where arrays are aligned): 1, 2 or 4 vectors each. So every
// target adds the same elements to the same partial sums.
constexpr size_t kLine = 16;
using Floats = hn::CappedTag<float, kLine>;
using Words = hn::RebindToUnsigned<Floats>;
using Doubles = hn::Repartition<double, Floats>;
using FloatVector = hn::Vec<Floats>;
using WordVector = hn::Vec<Words>;
using DoubleVector = hn::Vec<Doubles>;
constexpr size_t kLanes = hn::MaxLanes(Floats());
constexpr size_t kVectors = kLine / kLanes;  // in a line

// How far ahead of what it reads a loop over large arrays fetches: enough to keep memory busy, near enough to stay in
// L1. Past the end of an array a fetch does nothing.
constexpr size_t kFetchDistance = 64;

// Fetches what is to be fetched beside line i / kLine.
HWY_INLINE void FetchLine(const Ahead& ahead, size_t i) {
  const size_t element = i >> ahead.shift;
  if (element % kLine != 0 || element >= ahead.elements) return;
  for (size_t k = 0; k < ahead.count; ++k) hwy::Prefetch(ahead.streams[k] + element);
}

// Calls line(i, store) for each whole line i of a run, which hands its vectors to store(k, vector), and gives the
// number of elements done. What lies ahead is fetched on the way.
template <bool kPastCache, typename Line>
HWY_INLINE size_t ForEachLineTo(const Sink& sink, Line line) {
  const Ahead ahead = sink.ahead;  // a copy that no store can change
  float* const out = sink.out.data();
  const size_t elements = sink.out.size();
  size_t i = 0;
  for (; i + kLine <= elements; i += kLine) {
    FetchLine(ahead, i);
    line(i, [&](size_t k, FloatVector x) HWY_ATTR {
      float* const to = out + i + k * kLanes;
      if constexpr (kPastCache) {
        hn::Stream(x, Floats(), to);
      } else {
        hn::StoreU(x, Floats(), to);
      }
    });
  }
  return i;
}

template <typename Line>
HWY_INLINE size_t ForEachLine(const Sink& sink, Line line) {
  const bool whole_lines = reinterpret_cast<uintptr_t>(sink.out.data()) % (kLine * sizeof(float)) == 0;
  if (sink.past_cache && whole_lines) return ForEachLineTo<true>(sink, line);
  return ForEachLineTo<false>(sink, line);
}

// The same sink for what is left from element i on.
HWY_INLINE Sink RestOf(const Sink& sink, size_t i) {
  return {.out = sink.out.subspan(i), .past_cache = false, .ahead = {}};
}

// The same for residuals: where the sink is empty, line still runs, and what it stores goes nowhere.
template <typename Line>
HWY_INLINE size_t ForEachLineOf(std::span<const float> x, const Sink& sink, Line line) {
  if (!sink.out.empty()) return ForEachLine(sink, line);
  const Ahead ahead = sink.ahead;
  size_t i = 0;
  for (; i + kLine <= x.size(); i += kLine) {
    FetchLine(ahead, i);
    line(i, [](size_t, FloatVector) {});
  }
  return i;
}

// What is left of the sink after `done` elements; empty if it was.
HWY_INLINE Sink LeftOf(const Sink& sink, size_t done) { return sink.out.empty() ? Sink{} : RestOf(sink, done); }

HWY_INLINE FloatVector SignBits(FloatVector x) { return hn::And(x, hn::BitCast(Floats(), hn::Set(Words(), kSignBit))); }

// Where the sign bit is set.
HWY_INLINE hn::Mask<Floats> SignMask(FloatVector x) {
  const hn::RebindToSigned<Floats> signed_words;
  return hn::RebindMask(Floats(), hn::Lt(hn::BitCast(signed_words, x), hn::Zero(signed_words)));
}

// Bit j: mask j % kLanes of vector j / kLanes of a line, mask(vector).
template <typename Mask>
HWY_INLINE uint16_t LineBits(Mask mask) {
  uint64_t bits = 0;
  for (size_t k = 0; k < kVectors; ++k) {
    uint8_t bytes[8] = {};
    hn::StoreMaskBits(Floats(), mask(k), bytes);
    uint16_t vector_bits;
    std::memcpy(&vector_bits, bytes, sizeof(vector_bits));
    bits |= uint64_t{vector_bits} << (k * kLanes);
  }
  return static_cast<uint16_t>(bits);
}

// The inverse: vector `index` of the line whose sixteen bits begin at `bits`.
HWY_INLINE hn::Mask<Floats> LoadMask(const std::byte* bits, size_t index) {
  uint8_t bytes[8] = {};
  std::memcpy(bytes, bits, kLine / 8);
  if constexpr (kLanes == 4) {
    bytes[0] = static_cast<uint8_t>(bytes[index / 2] >> (4 * (index % 2)));
  } else if constexpr (kLanes == 8) {
    bytes[0] = bytes[index];
  }
  return hn::LoadMaskBits(Floats(), bytes);
}

#endif  // !LACONIC_PORTABLE_TARGET

}  // namespace laconic::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
