// Runs of a message: formed, reduced on the way, stored.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compressors/kernels/message_simd.cc"
#include "hwy/foreach_target.h"
// Below foreach_target.h, which must come first.
#include "compressors/kernels/reduce-inl.h"
#include "compressors/kernels/scalar.h"

HWY_BEFORE_NAMESPACE();
namespace laconic::kernels::HWY_NAMESPACE {
#if LACONIC_PORTABLE_TARGET
using namespace scalar;
#else

template <bool kMomentum, bool kShift, bool kError, typename Reduction>
HWY_INLINE void Form(const Message& message, size_t first, std::span<float> out, Reduction& reduction) {
  const Floats d;
  const float* g = message.gradient.data() + first;
  const float* v = kMomentum ? message.momentum.data() + first : nullptr;
  const float* h = kShift ? message.shift.data() + first : nullptr;
  const float* e = kError ? message.error.data() + first : nullptr;
  const auto momentum_weight = hn::Set(d, message.momentum_weight);
  const auto gradient_weight = hn::Set(d, message.gradient_weight);
  const auto error_weight = hn::Set(d, message.error_weight);
  const auto kappa = hn::Set(d, message.kappa);
  float* const y = out.data();
  size_t i = 0;
  for (; i + kLine <= out.size(); i += kLine) {
    hwy::Prefetch(g + i + kFetchDistance);
    if (kMomentum) hwy::Prefetch(v + i + kFetchDistance);
    if (kShift) hwy::Prefetch(h + i + kFetchDistance);
    if (kError) hwy::Prefetch(e + i + kFetchDistance);
    for (size_t k = 0; k < kVectors; ++k) {
      const size_t j = i + k * kLanes;
      auto u = hn::LoadU(d, g + j);
      if (kMomentum) u = hn::Add(hn::Mul(momentum_weight, hn::LoadU(d, v + j)), hn::Mul(gradient_weight, u));
      if (kShift) u = hn::Sub(u, hn::LoadU(d, h + j));
      if (kError) u = hn::Add(u, hn::Mul(error_weight, hn::LoadU(d, e + j)));
      u = hn::Mul(kappa, u);
      hn::StoreU(u, d, y + j);
      reduction.Add(k, u);
    }
  }
  if (i < out.size()) scalar::FormRun(message, first + i, out.subspan(i));
  reduction.Add(std::span<const float>(out.subspan(i)));
}

template <bool kMomentum, bool kShift, typename Reduction>
HWY_INLINE void Form(const Message& message, size_t first, std::span<float> out, Reduction& reduction) {
  if (message.error.empty()) {
    Form<kMomentum, kShift, false>(message, first, out, reduction);
  } else {
    Form<kMomentum, kShift, true>(message, first, out, reduction);
  }
}

template <typename Reduction>
HWY_INLINE void Form(const Message& message, size_t first, std::span<float> out, Reduction& reduction) {
  if (!message.momentum.empty()) {
    if (message.shift.empty()) return Form<true, false>(message, first, out, reduction);
    return Form<true, true>(message, first, out, reduction);
  }
  if (message.shift.empty()) return Form<false, false>(message, first, out, reduction);
  return Form<false, true>(message, first, out, reduction);
}

void FormRun(const Message& message, size_t first, std::span<float> out) {
  NoReduction none;
  Form(message, first, out, none);
}

float FormRunAbsMax(const Message& message, size_t first, std::span<float> out) {
  AbsMaxReduction largest;
  Form(message, first, out, largest);
  return largest.Result();
}

double FormRunSumSquares(const Message& message, size_t first, std::span<float> out) {
  Sum<Square> sum;
  Form(message, first, out, sum);
  return sum.Result();
}

struct MagnitudesReduction {
  HWY_INLINE MagnitudesReduction() {}
  HWY_INLINE void Add(size_t index, FloatVector x) {
    sum.Add(index, x);
    zeros.Add(index, x);
  }
  HWY_INLINE void Add(std::span<const float> rest) {
    sum.Add(rest);
    zeros.Add(rest);
  }
  Sum<Magnitude> sum;
  ZeroCount zeros;
};

Magnitudes FormRunMagnitudes(const Message& message, size_t first, std::span<float> out) {
  MagnitudesReduction magnitudes;
  Form(message, first, out, magnitudes);
  return {.sum = magnitudes.sum.Result(), .zeros = magnitudes.zeros.Result()};
}

void StoreRun(std::span<const float> run, const Sink& sink) {
  const size_t i = ForEachLine(sink, [&](size_t i, auto store) HWY_ATTR {
    for (size_t k = 0; k < kVectors; ++k) store(k, hn::LoadU(Floats(), run.data() + i + k * kLanes));
  });
  if (i < run.size()) scalar::StoreRun(run.subspan(i), RestOf(sink, i));
}

void FinishStores() { hwy::FlushStream(); }

#endif  // LACONIC_PORTABLE_TARGET
}  // namespace laconic::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace laconic::kernels {

HWY_EXPORT(FormRun);
void FormRun(const Message& message, size_t first, std::span<float> out) {
  HWY_DYNAMIC_DISPATCH(FormRun)(message, first, out);
}

HWY_EXPORT(FormRunAbsMax);
float FormRunAbsMax(const Message& message, size_t first, std::span<float> out) {
  return HWY_DYNAMIC_DISPATCH(FormRunAbsMax)(message, first, out);
}

HWY_EXPORT(FormRunSumSquares);
double FormRunSumSquares(const Message& message, size_t first, std::span<float> out) {
  return HWY_DYNAMIC_DISPATCH(FormRunSumSquares)(message, first, out);
}

HWY_EXPORT(FormRunMagnitudes);
Magnitudes FormRunMagnitudes(const Message& message, size_t first, std::span<float> out) {
  return HWY_DYNAMIC_DISPATCH(FormRunMagnitudes)(message, first, out);
}

HWY_EXPORT(StoreRun);
void StoreRun(std::span<const float> run, const Sink& sink) { HWY_DYNAMIC_DISPATCH(StoreRun)(run, sink); }

HWY_EXPORT(FinishStores);
void FinishStores() { HWY_DYNAMIC_DISPATCH(FinishStores)(); }

}  // namespace laconic::kernels
#endif  // HWY_ONCE
