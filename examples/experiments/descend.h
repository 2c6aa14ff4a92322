// Distributed gradient descent on a Problem, ranks as threads, by a GradientSync.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "examples/experiments/problem.h"

namespace laconic::experiments {

struct Descent {
  std::string spec;          // "topk(k=2)+econtrol+gather"
  double learning_rate = 0;  // gamma
  uint64_t steps = 0;
  uint64_t measure_every = 1;  // x is measured before the last of each so many steps, as that step finds it
};

// One replica's way.
struct Trace {
  std::vector<double> step;        // counted from 1
  std::vector<double> measure;     // Problem::Measure
  std::vector<double> wire_bytes;  // sent so far by one rank for this replica, headers included
  bool diverged = false;           // an element went beyond 1e6: nothing was measured after that

  // Mean over the measurements of the second half; infinity when diverged.
  double Floor() const;
};

// Traces by replica.
absl::StatusOr<std::vector<Trace>> Descend(const Problem& problem, const Descent& descent);

}  // namespace laconic::experiments
