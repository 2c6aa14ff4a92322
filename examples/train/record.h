// The figures of a run: each step as a line of JSON, sums over the steps, the final table.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/train/evaluate.h"
#include "laconic/comm/communicator.h"
#include "laconic/optim/gradient_sync.h"

namespace laconic::train {

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

// What the trainer measured around one step.
struct StepFigures {
  double loss = 0;
  double learning_rate = 0;
  double backward_seconds = 0;  // forward and backward, communication that ran inside MarkReady included
  double seconds = 0;           // the whole step
};

// Sums over the steps of this rank; Mean makes them means over ranks. Doubles only: they travel as one array.
struct Totals {
  double logical_bytes = 0, dense_wire_bytes = 0, wire_bytes = 0;
  double seconds = 0, compute_seconds = 0, encode_seconds = 0, exchange_seconds = 0, decode_seconds = 0,
         exposed_seconds = 0;
  double relative_error_sum = 0, error_norm = 0;  // the norm is that of the last step
  double steps = 0, skipped = 0;

  void Add(const StepFigures& figures, const StepReport& report);
  double communication_seconds() const { return encode_seconds + exchange_seconds + decode_seconds; }
};
// Collective.
absl::StatusOr<Totals> MeanOverRanks(Communicator& comm, const Totals& own);

// How the training loss fell and what it cost, one point for every so many steps. Skipped steps have no loss.
class Curve {
 public:
  // Room for all points is made here. first_step: of this process; what came before a resume is not in the curve.
  Curve(uint64_t first_step, uint64_t total_steps, uint64_t steps_per_point);
  void Add(uint64_t step, double loss, const StepReport& report);

  struct Points {
    std::vector<double> step;        // steps done
    std::vector<double> loss;        // mean over the point's steps and over ranks, nats
    std::vector<double> wire_bytes;  // sent until then by one rank, mean over ranks
  };
  // Collective.
  absl::StatusOr<Points> MeanOverRanks(Communicator& comm) const;

 private:
  struct Point {
    double step = 0, loss_sum = 0, losses = 0, wire_bytes = 0;
  };
  const uint64_t first_step_, steps_per_point_;
  double wire_bytes_ = 0;
  std::vector<Point> points_;
};

// Communication time that did not hold up the trainer.
double HiddenSeconds(const StepReport& report);

// A file of JSON lines, or nothing. One thread at a time.
class MetricsFile {
 public:
  // An empty path writes nothing. append: keeps what is there (a resumed run).
  static absl::StatusOr<MetricsFile> Open(const std::string& path, bool append);
  void Write(const std::string& spec, const StepFigures& figures, const StepReport& report);

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Closer> file_;
};

// What this rank sent in each phase of an optimizer that has some (StepReport::phase), in the order they came.
struct PhaseFigures {
  std::string phase;
  double steps = 0, wire_bytes = 0, dense_wire_bytes = 0;
};
void AddTo(std::vector<PhaseFigures>& phases, const StepReport& report);

// One finished run.
struct RunResult {
  std::string spec;
  std::string optimizer;
  std::string label;  // empty: the spec
  uint64_t seed = 0;
  std::string description;  // DistributedOptimizer::Describe
  TestFigures test;
  double final_loss = 0;  // of the last minibatch of this rank
  uint64_t weight_hash = 0;
  Totals totals;  // means over ranks
  Curve::Points curve;
  std::vector<PhaseFigures> phases;
};

// The final table for people, and for programs.
std::string FormatTable(std::span<const RunResult> results);
absl::Status WriteJson(const std::string& path, std::span<const RunResult> results);

// The gradients as they lie in `parameters`, as a safetensors file of float32 under the parameters' names.
absl::Status DumpGradients(const std::string& path, std::span<const Parameter> parameters);

}  // namespace laconic::train
