#include "laconic/compressors/message.h"

#include <cassert>
#include <type_traits>

#include "compressors/kernels/kernels.h"

namespace laconic {
namespace {

// Calls pass(has_momentum, has_shift, has_error) with compile-time booleans, so that each pass is a straight loop.
template <typename T, typename Pass>
void WithParts(const BasicMessage<T>& message, Pass&& pass) {
  auto choose = [](bool value, auto&& next) { value ? next(std::true_type{}) : next(std::false_type{}); };
  choose(!message.momentum.empty(), [&](auto momentum) {
    choose(!message.shift.empty(),
           [&](auto shift) { choose(!message.error.empty(), [&](auto error) { pass(momentum, shift, error); }); });
  });
}

}  // namespace

template <typename T>
BasicMessage<T> BasicMessage<T>::Slice(size_t first, size_t count) const {
  BasicMessage slice = *this;
  for (std::span<const T>* part : {&slice.gradient, &slice.momentum, &slice.shift, &slice.error}) {
    if (!part->empty()) *part = part->subspan(first, count);
  }
  return slice;
}

template <typename T>
void BasicMessage<T>::Form(size_t first, std::span<T> out) const {
  assert(first + out.size() <= size());
  if constexpr (std::is_same_v<T, float>) return kernels::FormRun(*this, first, out);
  const T* g = gradient.data() + first;
  const T* v = momentum.data() + (momentum.empty() ? 0 : first);
  const T* h = shift.data() + (shift.empty() ? 0 : first);
  const T* e = error.data() + (error.empty() ? 0 : first);
  WithParts(*this, [&](auto has_momentum, auto has_shift, auto has_error) {
    for (size_t i = 0; i < out.size(); ++i) {
      T u = g[i];
      if constexpr (has_momentum) u = momentum_weight * v[i] + gradient_weight * u;
      if constexpr (has_shift) u -= h[i];
      if constexpr (has_error) u += error_weight * e[i];
      out[i] = kappa * u;
    }
  });
}

template struct BasicMessage<float>;
template struct BasicMessage<double>;

}  // namespace laconic
