// The Lloyd-Max codebooks of 1 to 8 bits for a standard normal variable, computed when the library is built
// (compressors/codebooks).
#pragma once

#include "compressors/kernels/rotation.h"

namespace laconic::internal {

struct GaussianCodebook {
  kernels::Codebook levels;
  double distortion = 0;   // E (g - c(g))^2, g ~ N(0, 1)
  double error_bound = 0;  // at least E (Z - c(Z))^2 for every weighted sum Z of random signs with E Z^2 = 1
};

// bits: 1..8.
const GaussianCodebook& GaussianCodebookOf(int bits);

}  // namespace laconic::internal
