// base^exponent by squaring, the same bits on every machine, which std::pow does not promise.
#pragma once

#include <cstdint>

namespace laconic::internal {

inline double IntegerPower(double base, uint64_t exponent) {
  double power = 1;
  for (; exponent != 0; exponent >>= 1, base *= base) {
    if (exponent & 1) power *= base;
  }
  return power;
}

}  // namespace laconic::internal
