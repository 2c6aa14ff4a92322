// What a codec under an error control does to one tensor: bytes, errors, promises kept.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "absl/status/statusor.h"
#include "laconic/base/shape.h"
#include "laconic/comm/collectives/pipeline.h"

namespace laconic::tools {

struct EvaluateOptions {
  int rounds = 1;
  int draws = 16;  // independent encodings that expectations are averaged over; deterministic codecs take one
  uint64_t seed = 1;
};

struct Evaluation {
  double wire_bytes = 0;  // of a payload frame, mean over draws
  double bits_per_element = 0;
  double error = 0;  // sqrt(E|x - C(x)|^2) / |x|
  Traits promised;
  std::optional<double> measured_delta;  // 1 - E|x - C(x)|^2 / |x|^2, where delta is promised
  std::optional<double> measured_omega;  // E|x - C(x)|^2 / |x|^2, where omega is promised
  // May the promise hold on this tensor? False only where the draws refute it with confidence 0.999; more draws see
  // more.
  bool kept = true;
  // After `rounds` rounds that all bring the gradient x, on one rank under the pipeline's control:
  double error_after_rounds = 0;  // |mean of the directions - x| / |x|
  double owed = 0;                // |error kept| / |x|
};

// Errors: what the codec says of the shape or of x, an illegal control (InvalidArgument with the reason).
//   x: shape.elements() finite floats.
absl::StatusOr<Evaluation> Evaluate(const Pipeline& pipeline, const Shape& shape, std::span<const float> x,
                                    const EvaluateOptions& options);

}  // namespace laconic::tools
