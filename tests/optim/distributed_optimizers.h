// What the suites for resume, skipped steps, agreement and allocation run over: each optimizer that is not plain, short
// enough that 24 steps see every phase.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "tests/optim/toy_trainer.h"

namespace laconic::testing {

struct OptimizerCase {
  std::string name;
  std::string optimizer;
  std::string spec;
  std::vector<uint64_t> boundaries;  // steps done when a phase begins, 0 among them
};
inline void PrintTo(const OptimizerCase& test, std::ostream* out) { *out << test.name; }

inline const std::vector<OptimizerCase>& OptimizerCases() {
  static const auto* const cases = new std::vector<OptimizerCase>{
      {"adamw", "adamw(weight_decay=0.01)", "topk(ratio=0.05)+econtrol", {0}},
      {"lamb", "lamb(weight_decay=0.01)", "sign(scale=rms)+ef+scatter", {0}},
      {"onebit_adam", "onebit-adam(freeze_step=8, weight_decay=0.01)", "sign(scale=rms)+ef+scatter", {0, 8}},
      {"onebit_adam_auto", "onebit-adam(freeze_step=auto, beta2=0.8)", "sign(scale=rms)+ef+scatter", {0}},
      {"onebit_adam_published",
       "onebit-adam(freeze_step=8, form=published, space=plain)",
       "topk(ratio=0.05)+ef",
       {0, 8}},
      {"zero_one_adam",
       "zero-one-adam(var_freeze_step=10, kappa=3, local_step_scaler=3, local_step_clipper=4, weight_decay=0.01)",
       "sign(scale=rms)+ef+scatter",
       {0, 4, 10, 13, 16}},
      {"onebit_lamb", "onebit-lamb(freeze_step=8, weight_decay=0.01)", "sign(scale=rms)+ef+scatter", {0, 8}},
  };
  return *cases;
}

inline GradientSyncOptions SmallBuckets() { return {.seed = 5, .bucket_bytes = 4096, .min_bytes = 256}; }

}  // namespace laconic::testing
