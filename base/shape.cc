#include "laconic/base/shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace laconic {

Shape::Shape(std::initializer_list<uint64_t> dimensions)
    : Shape(*Make(std::span<const uint64_t>(dimensions.begin(), dimensions.size()))) {}

absl::StatusOr<Shape> Shape::Make(std::span<const uint64_t> dimensions) {
  if (dimensions.size() > kMaxDimensions) {
    return absl::InvalidArgumentError(
        fmt::format("shape of {} dimensions: at most {} are supported", dimensions.size(), kMaxDimensions));
  }
  Shape shape;
  // Zeros count as ones here, so that the product of any subset of the dimensions fits as well (cols() of an empty
  // tensor).
  uint64_t bound = 1;
  for (const uint64_t dimension : dimensions) {
    if (__builtin_mul_overflow(bound, std::max<uint64_t>(dimension, 1), &bound)) {
      return absl::InvalidArgumentError(
          fmt::format("shape [{}]: the element count overflows 64 bits", fmt::join(dimensions, ", ")));
    }
    shape.dimensions_[shape.count_++] = dimension;
    shape.elements_ *= dimension;
  }
  return shape;
}

uint64_t Shape::cols() const {
  uint64_t product = 1;
  for (size_t i = 1; i < count_; ++i) product *= dimensions_[i];
  return product;
}

std::string Shape::ToString() const { return fmt::format("[{}]", fmt::join(dimensions(), ", ")); }

}  // namespace laconic
