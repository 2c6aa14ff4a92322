// Data-parallel training with compressed gradients, whole: the loop in Train() is what a trainer of your own needs.
// Copy from here.
//
// Everything else on this page is around it: what the command line asks for (train/options), ranks as threads or MPI
// processes (train/launch), models and data (nn/), saving and resuming (train/run_state), figures (train/record,
// train/progress).
#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/nn/dataset.h"
#include "examples/nn/models.h"
#include "examples/nn/sampling.h"
#include "examples/train/evaluate.h"
#include "examples/train/launch.h"
#include "examples/train/options.h"
#include "examples/train/progress.h"
#include "examples/train/record.h"
#include "examples/train/run_state.h"
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/comm/communicator.h"
#include "laconic/comm/transport/paced.h"
#include "laconic/optim/distributed_optimizer.h"

namespace laconic::train {
namespace {

constexpr int kMaxSkippedInARow = 50;  // more mean that training has diverged
constexpr uint64_t kCurvePoints = 100;

nn::ModelOptions ModelFor(const Options& options, const nn::Dataset& data, int rank) {
  const bool mismatch = rank == options.faults.shape_mismatch_rank;
  return {.kind = options.model,
          .input = data.shape,
          .classes = data.classes + (mismatch ? 1 : 0),
          .hidden = options.hidden,
          .blocks = options.blocks,
          .width = options.width,
          .heads = options.heads,
          .max_rows = options.batch,
          .seed = options.seed};
}

std::string SpecFor(const Options& options, const std::string& spec, int rank) {
  if (rank != options.faults.spec_mismatch_rank) return spec;
  return spec == "dense" ? "topk(ratio=0.5)+ef" : "dense";
}

// The faults that tests ask for: a process that dies, a gradient that is no number.
void DieIfAsked(const Faults& faults, uint64_t step, int rank) {
  const bool here = faults.die_rank == -1 || faults.die_rank == rank;
  if (here && faults.die_at_step == static_cast<int64_t>(step)) std::raise(SIGKILL);
}
void SpoilIfAsked(const Faults& faults, uint64_t step, int rank, std::span<const Parameter> parameters, TensorId id) {
  const bool here = faults.nan_step == static_cast<int64_t>(step) && faults.nan_rank == rank;
  if (here && Index(id) == 0) parameters[0].gradient[0] = std::numeric_limits<float>::quiet_NaN();
}

struct StepPlan {
  uint64_t per_epoch = 1;
  uint64_t total = 0;
};
StepPlan PlanSteps(const Options& options, size_t samples, int ranks) {
  const size_t samples_per_step = options.batch * options.accumulate * static_cast<size_t>(ranks);
  StepPlan plan = {.per_epoch = std::max<uint64_t>(1, samples / samples_per_step)};
  plan.total = options.steps > 0
                   ? options.steps
                   : static_cast<uint64_t>(std::ceil(options.epochs * static_cast<double>(plan.per_epoch)));
  return plan;
}

// The checkpoint to continue from; an empty one when there is none yet or nothing shall be resumed.
absl::StatusOr<SavedRun> SavedOrNew(const Options& options) {
  if (!options.resume) return SavedRun();
  absl::StatusOr<SavedRun> saved = ReadRun(options.checkpoint, options.Fingerprint());
  if (absl::IsNotFound(saved.status())) return SavedRun();  // a job that restarts itself starts like this
  return saved;
}

// One run of one spec, from the initial weights or a checkpoint. Collective.
absl::StatusOr<RunResult> Train(const Options& options, const nn::TrainTest& data, Communicator& comm,
                                const std::string& spec, MetricsFile& metrics) {
  LACONIC_ASSIGN_OR_RETURN(const auto model, nn::Model::Create(ModelFor(options, data.train, comm.rank())));
  const std::span<const Parameter> parameters = model->parameters();
  LACONIC_ASSIGN_OR_RETURN(const auto parts,
                           nn::Partition(data.train.Kinds(), options.split, comm.size(), options.seed));
  nn::Minibatches batches(&data.train, parts[comm.rank()], options.batch, options.seed, comm.rank());
  const StepPlan plan = PlanSteps(options, data.train.size(), comm.size());
  LACONIC_ASSIGN_OR_RETURN(const std::string schedule, CompleteSchedule(options.schedule, plan.total));
  LACONIC_ASSIGN_OR_RETURN(const auto learning_rate, LearningRateSchedule::Parse(schedule, options.learning_rate));

  LACONIC_ASSIGN_OR_RETURN(const SavedRun saved, SavedOrNew(options));
  const std::string own_spec = SpecFor(options, spec, comm.rank());
  LACONIC_ASSIGN_OR_RETURN(const auto optimizer,
                           DistributedOptimizer::Create(&comm, parameters, options.optimizer, own_spec, options.sync));
  if (!saved.ranks.empty()) LACONIC_RETURN_IF_ERROR(RestoreRun(saved, options.reshard, *optimizer));

  Progress progress(comm.rank() == 0, spec, saved.steps, plan.total);
  Totals totals;
  Curve curve(saved.steps, plan.total,
              options.curve_every > 0 ? options.curve_every : std::max<uint64_t>(1, plan.total / kCurvePoints));
  std::vector<PhaseFigures> phases;
  StepFigures figures;
  int skipped_in_a_row = 0;
  for (uint64_t t = saved.steps; t < plan.total; ++t) {
    DieIfAsked(options.faults, t, comm.rank());
    const StepContext step = {.step = t, .learning_rate = learning_rate.At(t)};
    const Stopwatch whole_step;

    // Micro-batches before the last one only add up.
    const float share = 1 / static_cast<float>(options.accumulate);
    for (uint64_t part = 0; part + 1 < options.accumulate; ++part) {
      model->Forward(batches.At(t * options.accumulate + part));
      model->Backward({.scale = share, .add = part > 0}, [](TensorId) {});
    }

    // One gradient, from backward to weight update.
    optimizer->Begin(step);
    const Stopwatch backward;
    figures.loss = model->Forward(batches.At((t + 1) * options.accumulate - 1));
    model->Backward({.scale = share, .add = options.accumulate > 1}, [&](TensorId id) {
      SpoilIfAsked(options.faults, t, comm.rank(), parameters, id);
      optimizer->MarkReady(id);
    });
    figures.backward_seconds = backward.seconds();
    LACONIC_RETURN_IF_ERROR(optimizer->Finish());

    figures.seconds = whole_step.seconds();
    figures.learning_rate = step.learning_rate;
    const StepReport& report = optimizer->report();
    totals.Add(figures, report);
    curve.Add(t, figures.loss, report);
    AddTo(phases, report);
    metrics.Write(spec, figures, report);
    progress.Step(t + 1, figures.loss);
    if (report.skipped) {
      progress.Note(fmt::format("step {} skipped: {}", t, report.skip_reason));
      if (++skipped_in_a_row > kMaxSkippedInARow) {
        return absl::FailedPreconditionError(
            fmt::format("{} steps skipped in a row, so training has diverged (a lower --lr, or --clip, may help); {}",
                        skipped_in_a_row, report.skip_reason));
      }
    } else {
      skipped_in_a_row = 0;
    }

    const uint64_t done = t + 1;
    if (done % plan.per_epoch == 0 && done < plan.total) {
      LACONIC_ASSIGN_OR_RETURN(const TestFigures test, EvaluateOn(data.test, options.batch, *model, comm));
      progress.Accuracy(test.accuracy);
    }
    const bool due = options.checkpoint_every > 0 && done % options.checkpoint_every == 0;
    if (!options.checkpoint.empty() && (due || done == plan.total)) {
      LACONIC_RETURN_IF_ERROR(SaveRun(comm, options.checkpoint, done, options.Fingerprint(), *optimizer));
    }
  }

  if (!options.dump_gradients.empty() && comm.rank() == 0) {
    LACONIC_RETURN_IF_ERROR(DumpGradients(options.dump_gradients, parameters));
  }
  LACONIC_RETURN_IF_ERROR(optimizer->Synchronize());
  RunResult result = {.spec = spec,
                      .optimizer = options.optimizer,
                      .label = options.label,
                      .seed = options.seed,
                      .description = optimizer->Describe(),
                      .final_loss = figures.loss};
  LACONIC_ASSIGN_OR_RETURN(result.test, EvaluateOn(data.test, options.batch, *model, comm));
  LACONIC_ASSIGN_OR_RETURN(result.weight_hash, AgreedWeightHash(comm, model->weights()));
  LACONIC_ASSIGN_OR_RETURN(result.totals, MeanOverRanks(comm, totals));
  LACONIC_ASSIGN_OR_RETURN(result.curve, curve.MeanOverRanks(comm));
  result.phases = std::move(phases);
  return result;
}

// All runs of one rank.
absl::Status RunSpecs(const Options& options, const nn::TrainTest& data, Communicator& comm) {
  const bool speaks = comm.rank() == 0;
  auto metrics = MetricsFile::Open(speaks ? options.metrics : "", options.resume);
  LACONIC_RETURN_IF_ERROR(AgreeOnStatus(comm, metrics.status()));

  std::vector<RunResult> results;
  for (const std::string& spec : options.specs) {
    absl::StatusOr<RunResult> result = Train(options, data, comm, spec, *metrics);
    if (!result.ok()) return Annotate(result.status(), spec);
    if (speaks) fmt::print("{}: weights {:016x} on all {} ranks\n", spec, result->weight_hash, comm.size());
    std::fflush(stdout);
    results.push_back(*std::move(result));
  }
  if (!speaks) return absl::OkStatus();
  fmt::print("\n{}", FormatTable(results));
  return options.json.empty() ? absl::OkStatus() : WriteJson(options.json, results);
}

// A rank, from its transport to its exit.
absl::Status RunRank(const Options& options, const nn::TrainTest& data, std::unique_ptr<Transport> transport) {
  if (options.link.has_value()) transport = MakePacedTransport(std::move(transport), *options.link);
  Communicator comm(std::move(transport), {.timeout = options.timeout});
  const absl::Status status = RunSpecs(options, data, comm);
  if (status.ok()) return status;
  fmt::print(stderr, "rank {}: {}\n", comm.rank(), std::string(status.message()));
  // What all ranks refuse alike ends them all alike; anything else may leave others waiting for this rank.
  if (!absl::IsInvalidArgument(status) && !absl::IsFailedPrecondition(status)) comm.Abort(status);
  return status;
}

int Main(int argc, char** argv) {
  const ParsedOptions parsed = ParseOptions(argc, argv);
  if (!parsed.options.has_value()) return parsed.exit_status;
  const Options& options = *parsed.options;
  const absl::StatusOr<nn::TrainTest> data = nn::LoadData(options.data, {.context = options.context});
  if (!data.ok()) {
    fmt::print(stderr, "train: {}\n", std::string(data.status().message()));
    return absl::IsInvalidArgument(data.status()) ? 1 : 2;
  }
  std::atomic<bool> reported = false;  // by the ranks themselves
  const absl::Status status = RunRanks(options.ranks, &argc, &argv, [&](std::unique_ptr<Transport> transport) {
    reported = true;
    return RunRank(options, *data, std::move(transport));
  });
  if (status.ok()) return 0;
  if (!reported) fmt::print(stderr, "train: {}\n", std::string(status.message()));
  return 2;
}

}  // namespace
}  // namespace laconic::train

int main(int argc, char** argv) { return laconic::train::Main(argc, argv); }
