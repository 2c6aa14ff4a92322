// A small problem on which compensation shows: ranks whose own optima lie apart.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "laconic/compressors/compressor.h"
#include "laconic/compressors/error_control.h"

namespace laconic::tools {

// f(x) = mean_i sum_j a_ij (x_j - b_ij)^2 / 2 over four ranks, a in [1, 2]. At the optimum of f no rank's own gradient
// is zero, so that a codec's error does not vanish there by itself.
struct Quadratic {
  static constexpr int kRanks = 4;

  explicit Quadratic(const Shape& shape);
  void Gradient(int rank, std::span<const float> x, std::span<float> gradient) const;
  double Distance(std::span<const float> x) const;  // |x - optimum| / |optimum|

  const Shape shape;
  std::vector<std::vector<float>> a, b;  // [rank][element]
  std::vector<double> optimum;
};

struct Descent {
  absl::Status status;
  double distance = 0;     // at the end, mean over the last tenth of the steps; 1 at the start
  double unaccounted = 0;  // max_j |sum_t (d - mean g)_j + mean(e)_j|: zero but for rounding where an error is kept
  double tolerance = 0;    // of that rounding
};

// Gradient descent from 0 along the mean of what the ranks send under `control`, as strategy gather has it.
Descent Descend(const Quadratic& problem, const Compressor& codec, const ControlOptions& control);

}  // namespace laconic::tools
