// How far a run has come: a bar on a terminal, now and then a line elsewhere.
#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

#include "examples/train/record.h"

namespace laconic::train {

// Writes to standard error, so that tables can be piped. One thread at a time.
class Progress {
 public:
  // shown: false on all ranks but one.
  Progress(bool shown, std::string spec, uint64_t first_step, uint64_t total_steps);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Step(uint64_t steps_done, double loss);
  void Accuracy(double test_accuracy) { accuracy_ = test_accuracy; }
  // A line of its own, above the bar.
  void Note(const std::string& text);

 private:
  void Show(uint64_t steps_done, double loss);
  void ClearBar();

  const bool shown_, terminal_;
  const std::string spec_;
  const uint64_t first_step_, total_steps_;
  std::optional<double> accuracy_;
  Stopwatch since_start_, since_shown_;
  bool bar_drawn_ = false;
};

}  // namespace laconic::train
