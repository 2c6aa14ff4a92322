// Private: when the second moment stops moving, in the 1-bit family.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/base/state.h"
#include "laconic/compressors/spec.h"

namespace laconic {

// freeze_step=N: after N warm-up steps.
// freeze_step=auto: after the first step t, t > D = 1/(1-beta2), at which |v_t|_1 / |v_{t-D}|_1 >= 0.96 (1-bit Adam,
// Tang et al. 2021, section 4) and the learning rate does not rise any more. The norm is that of the v which divides:
// where the form corrects v's bias so does the rule, or v's growth from zero would be taken for a variance that has
// settled. A pure function of v and the learning rates, which are equal on all ranks. One thread at a time.
class FreezeRule {
 public:
  static constexpr double kRatio = 0.96;
  static constexpr uint64_t kMaxInterval = 1 << 20;  // of the automatic rule: what it keeps, in doubles

  // The parameter as a table row, and read from a call. InvalidArgument where `auto` would keep more than kMaxInterval
  // norms.
  static ParameterInfo Parameter(std::string_view key);
  static absl::StatusOr<FreezeRule> Parse(SpecArguments& arguments, std::string_view key, float beta2);

  bool automatic() const { return steps_ == 0; }
  uint64_t steps() const { return steps_; }  // 0: automatic
  // After warm-up step `step`, counted from 1: does v freeze now?
  //   norm: |v|_1, needed if automatic().
  bool Freezes(uint64_t step, double norm, double learning_rate);

  std::string ToString() const;  // "auto" or "1000"
  void Save(StateWriter& out) const;
  absl::Status Load(const StateReader& in);

 private:
  uint64_t steps_ = 0;         // 0: auto
  std::vector<double> norms_;  // auto: of the last D steps, step t at t % D
  double last_learning_rate_ = 0;
};

}  // namespace laconic
