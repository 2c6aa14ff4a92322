// One run of an experiment: rounds, evaluations, checkpoints.
#include <chrono>
#include <cmath>
#include <filesystem>

#include "fmt/format.h"
#include "laconic/base/hash.h"
#include "laconic/base/status.h"
#include "laconic/optim/federated/simulation.h"
#include "tools/fed/experiment.h"

namespace laconic::tools {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

class Run {
 public:
  Run(const PlannedRun& run, const FederatedProblem& problem, const SimulationSettings& settings,
      const RunCheckpoints& checkpoints, Communicator* comm, const RunHooks& hooks)
      : run_(run),
        problem_(problem),
        settings_(settings),
        checkpoints_(checkpoints),
        comm_(comm),
        threads_(ThreadsOf(settings, comm == nullptr ? 1 : comm->size())),
        hooks_(hooks) {}

  absl::StatusOr<RunOutcome> Simulate() {
    LACONIC_RETURN_IF_ERROR(Create());
    LACONIC_RETURN_IF_ERROR(ResumeOrBegin());
    while (simulation_->round() < run_.description.rounds && outcome_.error.empty()) {
      LACONIC_RETURN_IF_ERROR(Step());
    }
    outcome_.rounds = sums_.round;
    outcome_.model.assign(simulation_->model().begin(), simulation_->model().end());
    outcome_.model_hash = Hash64(std::as_bytes(simulation_->model()));
    if (outcome_.error.empty()) {
      LACONIC_ASSIGN_OR_RETURN(outcome_.state_hash, simulation_->Hash());
    }
    outcome_.client_state_bytes = simulation_->store().memory_bytes() + simulation_->store().disk_bytes();
    return std::move(outcome_);
  }

 private:
  absl::Status Create() {
    simulation_.reset();  // which holds the store's file
    const RunDescription& description = run_.description;
    SimulationOptions options{.threads = threads_,
                              .deadline_seconds = settings_.deadline,
                              .failure_rate = settings_.failure_rate,
                              .comm = comm_};
    if (!settings_.network.empty()) {
      LACONIC_ASSIGN_OR_RETURN(options.network,
                               NetworkModel::Parse(settings_.network, description.clients, description.data_seed));
    }
    options.store.memory_budget = static_cast<size_t>(settings_.state_memory_mib) << 20;
    if (!checkpoints_.folder.empty()) {
      std::error_code error;
      std::filesystem::create_directories(checkpoints_.folder, error);
      if (error) {
        return absl::UnavailableError(fmt::format("cannot make {}: {}", checkpoints_.folder, error.message()));
      }
      options.store.folder = checkpoints_.folder + "/clients";
    }
    LACONIC_ASSIGN_OR_RETURN(simulation_, Simulation::Create(description.Plan(), options,
                                                             [&] { return problem_.MakeObjective(description); }));
    if (problem_.test().size() > 0 && speaks()) {
      LACONIC_ASSIGN_OR_RETURN(evaluator_, problem_.MakeEvaluator(threads_));
    }
    return absl::OkStatus();
  }

  absl::Status ResumeOrBegin() {
    if (checkpoints_.resume && !checkpoints_.folder.empty()) {
      const absl::Status loaded = simulation_->LoadCheckpoint(checkpoints_.folder);
      if (loaded.ok()) {
        LACONIC_ASSIGN_OR_RETURN(sums_, hooks_.resumed(simulation_->round()));
        return absl::OkStatus();
      }
      if (!absl::IsNotFound(loaded)) return loaded;
      LACONIC_RETURN_IF_ERROR(Create());  // the run had no checkpoint yet: from the beginning
    }
    return Evaluate();
  }

  absl::Status Step() {
    const Clock::time_point begin = Clock::now();
    const absl::StatusOr<SimulatedRound> round = simulation_->Step();
    outcome_.real_seconds += std::chrono::duration<double>(Clock::now() - begin).count();
    ++outcome_.real_rounds;
    if (!round.ok()) {
      // What diverges is an answer; anything else is a failure.
      if (!absl::IsInvalidArgument(round.status()) && !absl::IsFailedPrecondition(round.status()))
        return round.status();
      outcome_.error = std::string(round.status().message());
      return absl::OkStatus();
    }
    sums_.round = simulation_->round();
    sums_.asked += round->sampled;
    sums_.updates += round->counted;
    sums_.uplink_bytes += round->uplink_bytes;
    sums_.downlink_bytes += round->downlink_bytes;
    sums_.seconds += round->seconds;
    loss_sum_ += round->loss * round->counted;
    losses_ += round->counted;
    if (hooks_.stepped) hooks_.stepped(sums_.round);
    const RunDescription& description = run_.description;
    if (sums_.round % description.eval_every == 0 || sums_.round == description.rounds) {
      LACONIC_RETURN_IF_ERROR(Evaluate());
    }
    if (checkpoints_.every > 0 && sums_.round % checkpoints_.every == 0 && sums_.round < description.rounds) {
      return simulation_->SaveCheckpoint(checkpoints_.folder);
    }
    return absl::OkStatus();
  }

  absl::Status Evaluate() {
    sums_.train_loss = losses_ > 0 ? loss_sum_ / static_cast<double>(losses_) : kNone;
    loss_sum_ = 0;
    losses_ = 0;
    sums_.test_accuracy = sums_.test_loss = kNone;
    if (evaluator_ != nullptr) {
      const nn::Score score = evaluator_->Evaluate(simulation_->model());
      const double predictions = static_cast<double>(score.predictions);
      sums_.test_loss = score.loss / predictions;
      if (problem_.has_classes()) sums_.test_accuracy = static_cast<double>(score.correct) / predictions;
    }
    outcome_.evaluations.push_back(sums_);
    return hooks_.evaluated ? hooks_.evaluated(sums_) : absl::OkStatus();
  }

  bool speaks() const { return comm_ == nullptr || comm_->rank() == 0; }

  const PlannedRun& run_;
  const FederatedProblem& problem_;
  const SimulationSettings& settings_;
  const RunCheckpoints& checkpoints_;
  Communicator* const comm_;
  const int threads_;
  const RunHooks& hooks_;
  std::unique_ptr<Simulation> simulation_;
  std::unique_ptr<nn::ModelEvaluator> evaluator_;
  Evaluation sums_;
  double loss_sum_ = 0;
  uint64_t losses_ = 0;
  RunOutcome outcome_;
};

}  // namespace

absl::StatusOr<RunOutcome> SimulateRun(const PlannedRun& run, const FederatedProblem& problem,
                                       const SimulationSettings& settings, const RunCheckpoints& checkpoints,
                                       Communicator* comm, const RunHooks& hooks) {
  absl::StatusOr<RunOutcome> outcome = Run(run, problem, settings, checkpoints, comm, hooks).Simulate();
  if (!outcome.ok()) return Annotate(outcome.status(), run.id);
  return outcome;
}

}  // namespace laconic::tools
