// Several federated runs on one problem: every pair of method and codec that fits, with every seed.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/comm/communicator.h"
#include "tools/fed/description.h"
#include "tools/fed/problem.h"

namespace laconic::tools {

// How runs are simulated; none of it but network, deadline and failure_rate changes what they compute.
struct SimulationSettings {
  int threads = 0;      // 0: as many as the machine has cores
  std::string network;  // a NetworkModel; empty: no simulated clock
  double deadline = 0;  // seconds on it; 0: none
  double failure_rate = 0;
  uint64_t state_memory_mib = 1024;  // clients' vectors beyond it lie in a file
  absl::Status Validate() const;
};

// One run.
struct PlannedRun {
  std::string id;      // names files: "02-scallion-quantize-seed1"
  std::string method;  // as asked
  std::string compress;
  RunDescription description;

  // Equal for runs that differ in their seeds only: "scallion(alpha=0.1) + quantize(bits=2)".
  std::string Label() const;
};

struct RunPlan {
  std::vector<PlannedRun> runs;      // by method, then codec, then seed
  std::vector<std::string> refused;  // pairs that do not fit, and why
};

// methods: each "scallion(alpha=0.1)", to go with each of `codecs`, or with a codec of its own after a plus,
// "scafcom(beta=0.2)+topk(ratio=0.01)". Pairs that do not fit go to `refused`, but where a method names its codec, or
// nothing is left, that is InvalidArgument. A pair that is there twice is run once; a seed that is, is refused.
absl::StatusOr<RunPlan> PlanRuns(const RunDescription& base, std::span<const std::string> methods,
                                 std::span<const std::string> codecs, std::span<const uint64_t> seeds,
                                 std::span<const Parameter> parameters);

// What is known after `round` rounds; sums are from the beginning.
struct Evaluation {
  uint64_t round = 0;
  double test_accuracy = 0;         // NaN where there is nothing to classify, or no test set
  double test_loss = 0;             // NaN without a test set
  double train_loss = 0;            // mean over the updates since the evaluation before; NaN at round 0
  uint64_t asked = 0, updates = 0;  // clients that were asked, and whose updates took part
  uint64_t uplink_bytes = 0, downlink_bytes = 0;
  double seconds = 0;  // simulated
};

struct RunOutcome {
  std::vector<Evaluation> evaluations;  // of this process; a resumed run's begin where it went on
  uint64_t rounds = 0;                  // done
  std::string error;                    // why it ended early: it diverged
  uint64_t model_hash = 0, state_hash = 0;
  std::vector<float> model;
  double real_seconds = 0;  // of rounds done here, evaluations not included
  uint64_t real_rounds = 0;
  size_t client_state_bytes = 0;  // in memory and on disk
};

// Where and how often a run is saved. An empty folder: never.
struct RunCheckpoints {
  std::string folder;
  uint64_t every = 0;  // rounds; a multiple of the description's eval_every
  bool resume = false;
};

struct RunHooks {
  // A resumed run: it goes on after this round. Called first, and not for others. Gives the evaluation at that round.
  std::function<absl::StatusOr<Evaluation>(uint64_t round)> resumed;
  std::function<absl::Status(const Evaluation&)> evaluated;  // round 0 included
  std::function<void(uint64_t rounds_done)> stepped;
};

// Simulates one run. Collective over the ranks of `comm` (null: this process alone); all ranks get the same outcome.
// Training that diverges is no error but RunOutcome::error.
absl::StatusOr<RunOutcome> SimulateRun(const PlannedRun& run, const FederatedProblem& problem,
                                       const SimulationSettings& settings, const RunCheckpoints& checkpoints,
                                       Communicator* comm, const RunHooks& hooks);

// The machine's cores where settings.threads is 0, shared by the ranks of this machine.
int ThreadsOf(const SimulationSettings& settings, int ranks);

}  // namespace laconic::tools
