// What error control asks a codec to send: not an array, but how to form one, run by run, while it is encoded. So the
// error is added, the message encoded and the residual written in one pass over memory.
#pragma once

#include <concepts>
#include <cstddef>
#include <span>

namespace laconic {

// m_i = kappa * (u_i - h_i + error_weight * e_i), where u = g, or u = momentum_weight * v + gradient_weight * g where
// there is a momentum (error_control.h). Every operation rounded, in the order u, - h, + e, * kappa: the same bits on
// every machine, however the tensor is cut into runs. Spans that are empty take no part. A value type of views.
template <typename T>
struct BasicMessage {
  BasicMessage() = default;
  template <std::convertible_to<std::span<const T>> Scalars>
  BasicMessage(const Scalars& x) : gradient(x) {}  // implicit: an array of scalars is a plain message

  std::span<const T> gradient;  // g: d scalars
  std::span<const T> momentum;  // v: d, or empty
  std::span<const T> shift;     // h: d, or empty
  std::span<const T> error;     // e: d, or empty
  T momentum_weight = 0;
  T gradient_weight = 1;
  T error_weight = 1;
  T kappa = 1;

  size_t size() const { return gradient.size(); }
  // Is the message the gradient itself? Then nothing need be formed.
  bool plain() const { return momentum.empty() && shift.empty() && error.empty() && kappa == 1; }

  // The message of elements [first, first + count).
  BasicMessage Slice(size_t first, size_t count) const;

  // out_j = m_{first + j}.   out must not overlap the message's spans, except that it may be exactly one of them, cut
  // alike.
  void Form(size_t first, std::span<T> out) const;
};

using Message = BasicMessage<float>;
extern template struct BasicMessage<float>;
extern template struct BasicMessage<double>;

}  // namespace laconic
