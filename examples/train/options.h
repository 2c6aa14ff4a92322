// What the command line of `train` says, checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "examples/nn/models.h"
#include "examples/nn/sampling.h"
#include "laconic/comm/transport/paced.h"
#include "laconic/optim/gradient_sync.h"

namespace laconic::train {

// Faults on purpose, for tests of what happens then. -1: never, or no rank in particular.
struct Faults {
  int64_t nan_step = -1;
  int nan_rank = -1;
  int shape_mismatch_rank = -1;
  int spec_mismatch_rank = -1;
  int64_t die_at_step = -1;
  int die_rank = -1;  // -1: every rank
};

struct Options {
  // The problem.
  nn::ModelKind model = nn::ModelKind::kMlp;
  std::vector<size_t> hidden;                               // empty: 256,128 (mlp) or 128 (cnn)
  size_t blocks = 2, width = 128, heads = 4, context = 64;  // transformer
  std::string data;                                         // empty: fashion-mnist, or bible for the transformer
  nn::Split split;
  uint64_t seed = 0;
  size_t batch = 0;  // samples a rank and a micro-batch; 0: 128, or 8 for the transformer
  size_t accumulate = 1;

  // The method.
  std::vector<std::string> specs = {"topk(ratio=0.01)+econtrol"};
  bool compare = false;  // several specs from the same start; the first dense run among them is the yardstick
  std::string optimizer = "sgd";
  double learning_rate = 0.2;
  std::string schedule = "constant";
  double epochs = 3;
  uint64_t steps = 0;  // 0: from epochs
  GradientSyncOptions sync;

  // Where it runs.
  std::optional<int> ranks;  // not given: 4 in-process, or what mpirun started
  std::optional<LinkModel> link;
  absl::Duration timeout = absl::Seconds(60);

  // Files. Empty: none.
  std::string checkpoint;
  uint64_t checkpoint_every = 0;  // 0: only at the end
  bool resume = false;
  ReshardRule reshard = ReshardRule::kNone;
  std::string metrics;
  std::string json;
  std::string label;         // of the runs in `json`; empty: the spec
  uint64_t curve_every = 0;  // steps between two points of the loss curve in `json`; 0: about 100 points
  std::string dump_gradients;

  Faults faults;

  // The problem and method in one line: what a checkpoint must agree with to be continued.
  std::string Fingerprint() const;
};

// The options, or the exit status of the process: 0 after --help, 1 after a usage error, whose message has been
// printed.
struct ParsedOptions {
  std::optional<Options> options;
  int exit_status = 0;
};
ParsedOptions ParseOptions(int argc, const char* const* argv);

// `schedule` with the number of steps filled in where linear and cosine leave `total` out.
absl::StatusOr<std::string> CompleteSchedule(const std::string& schedule, uint64_t total_steps);

}  // namespace laconic::train
