// What the model predicts for the rows of a measurement, beside what was measured.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/plan/step.h"
#include "tools/result_file.h"

namespace laconic::tools {

struct ValidatedRow {
  std::string spec, runs_as;
  uint64_t size_bytes = 0;
  double measured_seconds = 0, predicted_seconds = 0;

  double difference() const { return predicted_seconds / measured_seconds - 1; }
};

// The choice at one size: what is predicted fastest, and what that costs against the measured fastest.
struct ValidatedChoice {
  uint64_t size_bytes = 0;
  std::string chosen, fastest;
  double regret = 0;  // measured time of the chosen over the fastest's, less 1
};

struct Validation {
  std::vector<ValidatedRow> rows;
  std::vector<ValidatedChoice> choices;
  size_t left_out = 0;  // rows below the least size, and those of nothing that a spec says (memcpy)

  bool Within(double tolerance, double regret) const;
};

// setting: as the measurement had it, ranks included.
// InvalidArgument for another kind of measurement than allreduce, and when no row is left.
absl::StatusOr<Validation> Validate(const ResultFile& measured, uint64_t least_size_bytes, const CodecFiguresOf& codecs,
                                    const Setting& setting);

}  // namespace laconic::tools
