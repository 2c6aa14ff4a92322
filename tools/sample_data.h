// Numbers to try codecs on, the same on every run: draws are pure functions of (seed, rank, index).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "laconic/base/shape.h"

namespace laconic::tools {

// Standard normal values (Box and Muller).
std::vector<float> Gaussian(size_t count, uint64_t seed, uint32_t rank = 0);
// Student's t with three degrees of freedom, the tail of many gradients: N / sqrt(chi2_3 / 3).
std::vector<float> StudentT3(size_t count, uint64_t seed, uint32_t rank = 0);

// Integers in [-8, 8] as floats: sums over up to 2^20 ranks are exact in float32, so that #wrong of a dense mean can
// count bits.
std::vector<float> SmallIntegers(size_t count, uint64_t seed, uint32_t rank = 0);

// `count` elements as a matrix, as square as their divisors allow: low-rank codecs need one, the others do not look.
//   count: at least 1.
Shape NearSquare(uint64_t count);

}  // namespace laconic::tools
