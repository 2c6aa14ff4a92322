// The shape of a tensor, and its identity inside one model.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace laconic {

// Position of a tensor in the list of parameters a GradientSync was created with: 0, 1, 2, ... in that order.
enum class TensorId : uint32_t {};
constexpr uint32_t Index(TensorId id) { return static_cast<uint32_t>(id); }

// Up to eight dimensions, row-major. A scalar has no dimensions and one element. A value type; copies do not allocate.
class Shape {
 public:
  static constexpr size_t kMaxDimensions = 8;

  Shape() = default;
  // Trusted dimensions (written by the program). At most kMaxDimensions; the product must fit 64 bits (else the
  // program ends with the reason).
  Shape(std::initializer_list<uint64_t> dimensions);

  // A vector of `elements`.
  static Shape Flat(uint64_t elements) { return Shape({elements}); }
  // Dimensions from outside. InvalidArgument when there are too many or the product of the nonzero ones overflows 64
  // bits.
  static absl::StatusOr<Shape> Make(std::span<const uint64_t> dimensions);

  std::span<const uint64_t> dimensions() const { return {dimensions_.data(), count_}; }
  uint64_t elements() const { return elements_; }

  // The matrix view that low-rank codecs use: first dimension by the product of the others (a convolution's weight of
  // out x in x kh x kw is out x (in*kh*kw)). A scalar is 1 x 1 and a vector of n is n x 1.
  uint64_t rows() const { return count_ == 0 ? 1 : dimensions_[0]; }
  uint64_t cols() const;

  std::string ToString() const;  // "[784, 256]"; "[]" for a scalar
  friend bool operator==(const Shape& a, const Shape& b) = default;

 private:
  std::array<uint64_t, kMaxDimensions> dimensions_{};
  size_t count_ = 0;
  uint64_t elements_ = 1;
};

}  // namespace laconic
