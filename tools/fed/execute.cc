#include "tools/fed/execute.h"

#include <chrono>
#include <cmath>
#include <filesystem>
#include <mutex>

#include "absl/time/time.h"
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/optim/checkpoint.h"
#include "tools/fed/summary.h"
#include "tools/launch.h"
#include "tools/progress.h"

namespace laconic::tools {
namespace {

using Clock = std::chrono::steady_clock;

constexpr absl::Duration kPatience = absl::Minutes(10);  // of a rank with another
constexpr double kNoteSeconds = 0.2;                     // between two notes on a terminal
constexpr double kLineSeconds = 5;                       // between two lines elsewhere

std::string Duration(double seconds) {
  if (seconds < 90) return fmt::format("{:.0f} s", seconds);
  if (seconds < 5400) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

// "run 2 of 3, scallion + quantize(bits=2), seed 1: round 120 of 300, accuracy 0.812, 94 rounds/s, 6 s left".
class RunProgress {
 public:
  RunProgress(bool shown, bool wanted, size_t runs) : shown_(shown), wanted_(wanted), progress_(wanted), runs_(runs) {}

  void Begin(size_t index, const PlannedRun& run, uint64_t rounds_to_go_after) {
    what_ = fmt::format("run {} of {}, {}, seed {}", index + 1, runs_, run.Label(), run.description.seed);
    total_ = run.description.rounds;
    after_ = rounds_to_go_after;
    score_.clear();
    first_round_ = last_round_ = 0;
    begin_ = Clock::now();
  }
  void Resumed(uint64_t round) { first_round_ = round; }
  void Evaluated(const Evaluation& e) {
    score_ = std::isfinite(e.test_accuracy) ? fmt::format(", accuracy {:.4f}", e.test_accuracy)
             : std::isfinite(e.test_loss)   ? fmt::format(", loss {:.4f}", e.test_loss)
                                            : "";
  }
  void Round(uint64_t done) {
    if (!shown_) return;
    const Clock::time_point now = Clock::now();
    const double since = std::chrono::duration<double>(now - noted_).count();
    if (done < total_ && since < (wanted_ ? kLineSeconds : kNoteSeconds)) return;
    noted_ = now;
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    const double rate = seconds > 0 ? static_cast<double>(done - first_round_) / seconds : 0;
    std::string left;
    if (rate > 0) {
      left = fmt::format(", {:.3g} rounds/s, {} left", rate, Duration(static_cast<double>(total_ - done) / rate));
      if (after_ > 0)
        left += fmt::format(" ({} for all)", Duration(static_cast<double>(total_ - done + after_) / rate));
    }
    progress_.Note(fmt::format("{}: round {} of {}{}{}", what_, done, total_, score_, left));
  }
  void Clear() { progress_.Clear(); }

 private:
  const bool shown_, wanted_;
  Progress progress_;
  const size_t runs_;
  std::string what_, score_;
  uint64_t total_ = 0, after_ = 0, first_round_ = 0, last_round_ = 0;
  Clock::time_point begin_, noted_;
};

// Rounds that are still to do after run `index`, for the estimate.
uint64_t RoundsAfter(const std::vector<PlannedRun>& runs, size_t index) {
  uint64_t rounds = 0;
  for (size_t i = index + 1; i < runs.size(); ++i) rounds += runs[i].description.rounds;
  return rounds;
}

Communicator* OrAlone(Communicator& comm) { return comm.size() > 1 ? &comm : nullptr; }

// Would clients' vectors, of which methods keep at most kMaxVectors, be too much for memory?
bool NeedsFile(const FedConfig& config) {
  constexpr double kMaxVectors = 3;
  const double bytes = kMaxVectors * sizeof(float) * static_cast<double>(config.elements()) * config.base.clients;
  return bytes > static_cast<double>(config.settings.state_memory_mib) * 0x1p20;
}

absl::Status ExecuteRun(FedFolder& folder, const PlannedRun& run, const FederatedProblem& problem,
                        const ExecuteOptions& options, Communicator& comm, RunProgress& progress) {
  const bool speaks = comm.rank() == 0;
  RunHooks hooks;
  hooks.resumed = [&](uint64_t round) -> absl::StatusOr<Evaluation> {
    progress.Resumed(round);
    if (!speaks) return Evaluation{.round = round};
    LACONIC_RETURN_IF_ERROR(folder.Truncate(run.id, /*keep=*/true, round));
    LACONIC_ASSIGN_OR_RETURN(const std::vector<Evaluation> evaluations, folder.Evaluations(run.id));
    if (evaluations.empty() || evaluations.back().round != round) {
      return absl::DataLossError(fmt::format("{}/rounds.jsonl has no line of round {}, where the checkpoint of {} is",
                                             folder.path(), round, run.id));
    }
    return evaluations.back();
  };
  hooks.evaluated = [&](const Evaluation& evaluation) -> absl::Status {
    progress.Evaluated(evaluation);
    if (!speaks) return absl::OkStatus();
    if (evaluation.round == 0 && options.resume) LACONIC_RETURN_IF_ERROR(folder.Truncate(run.id, /*keep=*/false, 0));
    return folder.Append(run.id, evaluation);
  };
  hooks.stepped = [&](uint64_t done) { progress.Round(done); };
  RunCheckpoints checkpoints{.every = folder.config().checkpoint_every, .resume = options.resume};
  if (checkpoints.every > 0 || NeedsFile(folder.config())) checkpoints.folder = folder.CheckpointFolder(run.id);
  LACONIC_ASSIGN_OR_RETURN(const RunOutcome outcome,
                           SimulateRun(run, problem, folder.config().settings, checkpoints, OrAlone(comm), hooks));
  return AgreeOnStatus(comm, speaks ? folder.Finish(run, outcome) : absl::OkStatus());
}

}  // namespace

absl::StatusOr<Answer> AtEveryRank(const std::function<absl::StatusOr<Answer>(Communicator& comm)>& body) {
  LACONIC_ASSIGN_OR_RETURN(Launch launch, PlanLaunch(Backend::kAuto, std::nullopt));
  if (launch.backend == Backend::kInProcess) launch.ranks = 1;
  absl::StatusOr<Answer> own = Answer::kYes;  // of this process's one rank
  const absl::Status status = RunRanks(launch, [&](std::unique_ptr<Transport> transport) -> absl::Status {
    Communicator comm(std::move(transport), {.timeout = kPatience});
    own = body(comm);
    // What all ranks refuse alike ends them all alike; anything else may leave others waiting for this rank.
    if (!own.ok() && !absl::IsInvalidArgument(own.status())) comm.Abort(own.status());
    return own.status();
  });
  return own.ok() && !status.ok() ? status : own;
}

absl::Status ExecuteRuns(FedFolder& folder, const FederatedProblem& problem, const ExecuteOptions& options,
                         Communicator& comm) {
  const bool speaks = comm.rank() == 0;
  const std::vector<PlannedRun>& runs = folder.config().runs;
  // All ranks look at the folder before rank 0 writes into it.
  std::vector<bool> finished(runs.size());
  absl::Status looked;
  for (size_t i = 0; i < runs.size() && looked.ok(); ++i) {
    const auto run = folder.Finished(runs[i].id);
    looked = run.status();
    finished[i] = run.ok() && run->has_value();
  }
  LACONIC_RETURN_IF_ERROR(AgreeOnStatus(comm, looked));

  RunProgress progress(speaks, options.progress, runs.size());
  for (size_t i = 0; i < runs.size(); ++i) {
    if (finished[i]) continue;
    progress.Begin(i, runs[i], RoundsAfter(runs, i));
    LACONIC_RETURN_IF_ERROR(ExecuteRun(folder, runs[i], problem, options, comm, progress));
    progress.Clear();
    if (!speaks) continue;
    LACONIC_ASSIGN_OR_RETURN(const std::optional<FinishedRun> run, folder.Finished(runs[i].id));
    fmt::print("{}: model {} after {} rounds{}\n", runs[i].id, HashText(run->model_hash), run->rounds,
               run->error.empty() ? "" : ", ended early: " + run->error);
    std::fflush(stdout);
  }
  absl::Status written;
  if (speaks) {
    const absl::StatusOr<Summary> summary = Summarize(folder);
    written = summary.ok() ? WriteSummary(folder, *summary) : summary.status();
    if (written.ok()) fmt::print("\n{}\n{}/report.html\n", SummaryTable(*summary), folder.path());
  }
  return AgreeOnStatus(comm, written);
}

absl::StatusOr<Answer> RepeatRuns(const FedFolder& folder, const FederatedProblem& problem, int threads, bool wanted,
                                  Communicator& comm) {
  const bool speaks = comm.rank() == 0;
  const std::vector<PlannedRun>& runs = folder.config().runs;
  SimulationSettings settings = folder.config().settings;
  if (threads > 0) settings.threads = threads;
  RunProgress progress(speaks, wanted, runs.size());
  Answer answer = Answer::kYes;
  size_t compared = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    LACONIC_ASSIGN_OR_RETURN(const std::optional<FinishedRun> before, folder.Finished(runs[i].id));
    if (!before.has_value()) continue;
    progress.Begin(i, runs[i], RoundsAfter(runs, i));
    RunHooks hooks;
    hooks.evaluated = [&](const Evaluation& e) {
      progress.Evaluated(e);
      return absl::OkStatus();
    };
    hooks.stepped = [&](uint64_t done) { progress.Round(done); };
    RunCheckpoints scratch;
    if (NeedsFile(folder.config())) scratch.folder = folder.path() + "/rerun";
    LACONIC_ASSIGN_OR_RETURN(const RunOutcome outcome,
                             SimulateRun(runs[i], problem, settings, scratch, OrAlone(comm), hooks));
    progress.Clear();
    if (std::error_code ignored; speaks && !scratch.folder.empty())
      std::filesystem::remove_all(scratch.folder, ignored);
    if (!speaks) continue;
    ++compared;
    LACONIC_ASSIGN_OR_RETURN(const std::vector<Evaluation> lines, folder.Evaluations(runs[i].id));
    bool same_lines = lines.size() == outcome.evaluations.size();
    for (size_t j = 0; j < lines.size() && same_lines; ++j) {
      same_lines = EvaluationJson(runs[i].id, lines[j]) == EvaluationJson(runs[i].id, outcome.evaluations[j]);
    }
    const bool same =
        outcome.model_hash == before->model_hash && outcome.state_hash == before->state_hash && same_lines;
    fmt::print("{}: model {} {}\n", runs[i].id, HashText(outcome.model_hash),
               same                                       ? "as before"
               : outcome.model_hash != before->model_hash ? fmt::format("DIFFERS from {}", HashText(before->model_hash))
               : same_lines                               ? "as before, but clients' or server's state DIFFERS"
                                                          : "as before, but rounds.jsonl DIFFERS");
    std::fflush(stdout);
    if (!same) answer = Answer::kNo;
  }
  if (speaks && compared == 0) return absl::NotFoundError(fmt::format("{} holds no finished run", folder.path()));
  return answer;
}

}  // namespace laconic::tools
