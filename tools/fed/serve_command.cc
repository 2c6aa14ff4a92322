// `laconic fed serve`: a federated run for clients elsewhere, durable and over mutual TLS.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>

#include "fmt/format.h"
#include "laconic/base/hash.h"
#include "laconic/base/status.h"
#include "laconic/comm/server/server.h"
#include "laconic/comm/server/sqlite_journal.h"
#include "laconic/optim/federated/federated_rounds.h"
#include "tools/fed/fed.h"
#include "tools/fed/folder.h"
#include "tools/fed/problem.h"
#include "tools/fed/summary.h"
#include "tools/machine.h"
#include "tools/progress.h"

namespace laconic::tools {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

struct ServeFlags {
  RunDescription description;
  std::string address = "127.0.0.1:5700", certificates, metrics_address, output, log, config, command_line;
  RoundRules rules;
  double deadline_seconds = 60, linger_seconds = 5;
  bool insecure = false, survive_power_loss = false, keep_payloads = false, progress = false;
};

// Lines of the log, each written when it comes.
class LogFile {
 public:
  static absl::StatusOr<std::shared_ptr<LogFile>> Open(const std::string& path) {
    std::FILE* file = path == "-" ? stderr : std::fopen(path.c_str(), "a");
    if (file == nullptr) return absl::UnavailableError(fmt::format("--log: cannot write {}", path));
    return std::shared_ptr<LogFile>(new LogFile(file));
  }
  ~LogFile() {
    if (file_ != stderr) std::fclose(file_);
  }
  void Write(std::string_view line) {
    fmt::print(file_, "{}\n", line);
    std::fflush(file_);
  }

 private:
  explicit LogFile(std::FILE* file) : file_(file) {}
  std::FILE* file_;
};

class ServedRun {
 public:
  explicit ServedRun(const ServeFlags& flags) : flags_(flags), progress_(flags.progress) {}

  absl::Status Run() {
    LACONIC_RETURN_IF_ERROR(Prepare());
    LACONIC_RETURN_IF_ERROR(OpenFolder());
    LACONIC_RETURN_IF_ERROR(Start());
    while (true) {
      const absl::Status ended = service_->AwaitEnd(absl::Now() + absl::Seconds(1));
      if (ended.ok()) break;
      if (!absl::IsDeadlineExceeded(ended)) return ended;
    }
    LACONIC_RETURN_IF_ERROR(Conclude());
    absl::SleepFor(absl::Seconds(flags_.linger_seconds));  // clients that ask again hear that it is finished
    return absl::OkStatus();
  }

 private:
  absl::Status Prepare() {
    const RunDescription& description = flags_.description;
    LACONIC_ASSIGN_OR_RETURN(problem_, FederatedProblem::Load(description));
    LACONIC_ASSIGN_OR_RETURN(objective_, problem_->MakeObjective(description));
    LACONIC_ASSIGN_OR_RETURN(model_, FederatedServer::Create(description.Plan(), objective_->parameters()));
    if (problem_->test().size() > 0) {
      LACONIC_ASSIGN_OR_RETURN(evaluator_, problem_->MakeEvaluator(1));
    }
    run_ = {.id = "served", .method = description.method, .compress = description.compress, .description = description};
    return absl::OkStatus();
  }

  // A folder of `laconic fed run` with one run in it, so that reports read it; and the journal beside it.
  absl::Status OpenFolder() {
    FedConfig config;
    config.name = "served";
    config.command = flags_.command_line;
    config.date = UtcNow();
    config.base = flags_.description;
    config.runs = {run_};
    config.tensors = problem_->parameters();
    config.machine = DescribeMachine();
    absl::StatusOr<FedFolder> folder = FedFolder::Create(flags_.output, config);
    if (absl::IsAlreadyExists(folder.status())) folder = FedFolder::Open(flags_.output);
    if (!folder.ok()) return folder.status();
    folder_ = std::make_unique<FedFolder>(*std::move(folder));
    LACONIC_ASSIGN_OR_RETURN(const std::vector<Evaluation> known, folder_->Evaluations(run_.id));
    if (!known.empty()) evaluated_ = known.back().round + 1;

    LACONIC_ASSIGN_OR_RETURN(log_, LogFile::Open(flags_.log.empty() ? flags_.output + "/log.jsonl" : flags_.log));
    LACONIC_ASSIGN_OR_RETURN(journal_, MakeSqliteJournal({.path = flags_.output + "/journal.db",
                                                          .survive_power_loss = flags_.survive_power_loss,
                                                          .keep_payloads = flags_.keep_payloads}));
    return absl::OkStatus();
  }

  absl::Status Start() {
    ServerOptions options{.address = flags_.address, .metrics_address = flags_.metrics_address};
    options.log = [log = log_](std::string_view line) { log->Write(line); };
    if (!flags_.insecure) {
      const std::string& folder = flags_.certificates;
      LACONIC_ASSIGN_OR_RETURN(options.tls,
                               TlsIdentity::Read(folder + "/ca.pem", folder + "/server.pem", folder + "/server.key"));
    }
    work_ = std::make_unique<FederatedRounds>(model_.get(),
                                              flags_.rules.enough > 0 ? Invitation::kEveryone : Invitation::kSample,
                                              [this](uint64_t rounds) { status_.Update(Closed(rounds)); });
    const std::string description = flags_.description.ToToml();
    MachineOptions machine{.run = {.id = std::max<uint64_t>(1, Hash64(description)),
                                   .description = description,
                                   .clients = flags_.description.clients,
                                   .rounds = flags_.description.rounds},
                           .rules = flags_.rules};
    machine.rules.deadline = absl::Seconds(flags_.deadline_seconds);
    machine.rules.max_update_bytes = model_->uplink().MaxBytes();
    machine.on_event = LogEvents(options.log);
    if (evaluated_ == 0) LACONIC_RETURN_IF_ERROR(Evaluate(0));
    LACONIC_ASSIGN_OR_RETURN(machine_,
                             RoundMachine::Create(std::move(machine), work_.get(), journal_.get(), absl::Now()));
    LACONIC_RETURN_IF_ERROR(Closed(model_->round()));
    // Once the service has started, model and machine belong to its thread until the run has ended.
    const uint64_t done = model_->round();
    LACONIC_ASSIGN_OR_RETURN(service_, ParameterServer::Start(machine_.get(), std::move(options)));
    fmt::print("serving run {} at port {}{}: {} of {} rounds done, {} clients, {} a round\n",
               HashText(machine_->options().run.id), service_->port(),
               flags_.insecure ? " IN PLAIN TEXT, to this machine only" : "", done, flags_.description.rounds,
               flags_.description.clients, flags_.description.sample);
    std::fflush(stdout);
    return absl::OkStatus();
  }

  // After each close, on the machine's thread; of a restarted server perhaps again.
  absl::Status Closed(uint64_t rounds) {
    if (machine_ == nullptr) return absl::OkStatus();  // it is making its last closes again: Start evaluates
    const RunDescription& description = flags_.description;
    progress_.Note(fmt::format("{} of {} rounds", rounds, description.rounds));
    if (rounds % description.eval_every != 0 && rounds != description.rounds) return absl::OkStatus();
    return rounds < evaluated_ ? absl::OkStatus() : Evaluate(rounds);
  }

  absl::Status Evaluate(uint64_t rounds) {
    Evaluation evaluation{.round = rounds, .test_accuracy = kNone, .test_loss = kNone, .train_loss = kNone};
    if (machine_ != nullptr) {
      const Counters& counters = machine_->counters();
      evaluation.updates = evaluation.asked = counters[Counter::kAccepted];
      evaluation.uplink_bytes = counters[Counter::kAcceptedBytes];
      evaluation.downlink_bytes = counters[Counter::kPulledBytes];
    }
    if (evaluator_ != nullptr) {
      const nn::Score score = evaluator_->Evaluate(model_->model());
      evaluation.test_loss = score.loss / static_cast<double>(score.predictions);
      if (problem_->has_classes()) {
        evaluation.test_accuracy = static_cast<double>(score.correct) / static_cast<double>(score.predictions);
      }
    }
    evaluated_ = rounds + 1;
    return folder_->Append(run_.id, evaluation);
  }

  absl::Status Conclude() {
    progress_.Clear();
    LACONIC_RETURN_IF_ERROR(status_);
    RunOutcome outcome{.rounds = model_->round()};
    outcome.model.assign(model_->model().begin(), model_->model().end());
    outcome.model_hash = Hash64(std::as_bytes(model_->model()));
    LACONIC_RETURN_IF_ERROR(folder_->Finish(run_, outcome));
    LACONIC_ASSIGN_OR_RETURN(const Summary summary, Summarize(*folder_));
    LACONIC_RETURN_IF_ERROR(WriteSummary(*folder_, summary));
    fmt::print("{}model {} after {} rounds; {}\n", SummaryTable(summary), HashText(outcome.model_hash), outcome.rounds,
               flags_.output);
    std::fflush(stdout);
    return absl::OkStatus();
  }

  const ServeFlags& flags_;
  Progress progress_;
  PlannedRun run_;
  std::unique_ptr<FederatedProblem> problem_;
  std::unique_ptr<LocalObjective> objective_;
  std::unique_ptr<nn::ModelEvaluator> evaluator_;
  std::unique_ptr<FederatedServer> model_;
  std::unique_ptr<FedFolder> folder_;
  uint64_t evaluated_ = 0;  // all rounds before this one
  std::shared_ptr<LogFile> log_;
  std::unique_ptr<RoundJournal> journal_;
  std::unique_ptr<FederatedRounds> work_;
  absl::Status status_;  // of writing results
  std::unique_ptr<RoundMachine> machine_;
  std::unique_ptr<ParameterServer> service_;  // last: nothing calls the machine after it
};

absl::StatusOr<Answer> Run(ServeFlags& flags) {
  if (flags.insecure != flags.certificates.empty()) {
    return absl::InvalidArgumentError("either --certs, or --insecure on this machine");
  }
  LACONIC_RETURN_IF_ERROR(flags.description.Validate());
  if (flags.rules.staleness > 0 && flags.rules.enough == 0) {
    return absl::InvalidArgumentError(
        "--staleness is for workers that do not wait: give --enough too, 1 for asynchronous");
  }
  IgnoreLockOrder();
  LACONIC_RETURN_IF_ERROR(ServedRun(flags).Run());
  return Answer::kYes;
}

}  // namespace

Command AddFedServe(CLI::App& fed, const std::string& command_line) {
  CLI::App* serve = fed.add_subcommand("serve", "Serve a run to clients on other machines");
  serve->footer(
      "The same methods and messages as `laconic fed run`: with the same options and all clients in time the same "
      "model, "
      "bit for bit. Killed and started again with the same options it goes on where it stopped; what it has said it "
      "took "
      "it has. The folder reads as one of `laconic fed run`, journal.db with any SQL program.\n\n"
      "  laconic fed split --clients 8 -o parts && laconic fed certs --clients 8 -o certs\n"
      "  laconic fed serve --data parts/test --clients 8 --sample 4 --method scafcom --compress \"topk(ratio=0.01)\" "
      "--certs certs -o out\n"
      "  laconic fed serve --config run.toml --certs certs -o out        the options as TOML: rounds = 100\n"
      "  laconic fed serve --enough 1 --staleness 4 ...                  workers that do not wait for each other");
  auto flags = std::make_shared<ServeFlags>();
  flags->command_line = command_line;
  flags->description.clients = 8;
  flags->description.sample = 8;
  AddDescriptionOptions(*serve, flags->description);
  constexpr const char* kRules = "Rounds";
  serve
      ->add_option("--deadline", flags->deadline_seconds,
                   "Seconds from a round's opening to its close, whoever is missing")
      ->check(CLI::Range(0.01, 1e6))
      ->capture_default_str()
      ->group(kRules);
  serve->add_option("--quorum", flags->rules.quorum, "Updates without which the deadline is extended")
      ->capture_default_str()
      ->group(kRules);
  serve->add_option("--start-clients", flags->rules.start_clients, "The first round waits until so many have come")
      ->capture_default_str()
      ->group(kRules);
  serve
      ->add_option("--enough", flags->rules.enough,
                   "Everybody is asked and a round closes with so many updates [0: off]")
      ->group(kRules);
  serve->add_option("--staleness", flags->rules.staleness, "By how many rounds an update may be too old [0]")
      ->group(kRules);
  constexpr const char* kService = "The service";
  serve->add_option("--address", flags->address, "Where it listens; port 0: any")
      ->capture_default_str()
      ->group(kService);
  serve->add_option("--certs", flags->certificates, "Folder with ca.pem, server.pem and server.key")->group(kService);
  serve->add_flag("--insecure", flags->insecure, "Plain text, for clients on this machine only")->group(kService);
  serve
      ->add_option("--metrics", flags->metrics_address,
                   "Where it shows metrics, as Prometheus reads them: 127.0.0.1:9100")
      ->group(kService);
  serve
      ->add_flag("--survive-power-loss", flags->survive_power_loss,
                 "Wait for the disk before an update is acknowledged")
      ->group(kService);
  serve->add_flag("--keep-payloads", flags->keep_payloads, "Keep all updates in the journal")->group(kService);
  serve->add_option("--linger", flags->linger_seconds, "Seconds it stays after the last round, to tell clients")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str()
      ->group(kService);
  constexpr const char* kOutput = "Output";
  serve->add_option("-o,--output", flags->output, "The folder to write, and to go on from")->required()->group(kOutput);
  serve->add_option("--log", flags->log, "Where events go, a JSON object a line; -: stderr [log.jsonl in the folder]")
      ->group(kOutput);
  serve->add_option("--config", flags->config, "A TOML file of these options; the command line counts first")
      ->group(kOutput);
  serve->add_flag("--progress", flags->progress, "Say on stderr how far it is, also where that is no terminal")
      ->group(kOutput);
  return {serve, [serve, flags]() -> absl::StatusOr<Answer> {
            if (!flags->config.empty()) LACONIC_RETURN_IF_ERROR(ReadConfigFile(*serve, flags->config));
            return Run(*flags);
          }};
}

}  // namespace laconic::tools
