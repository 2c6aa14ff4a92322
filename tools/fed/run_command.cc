// `laconic fed run`, `rerun` and `resume`.
#include <cstdio>
#include <filesystem>
#include <memory>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/optim/checkpoint.h"
#include "tools/fed/execute.h"
#include "tools/fed/fed.h"
#include "tools/machine.h"
#include "tools/text.h"

namespace laconic::tools {
namespace {

constexpr const char* kDefaultMethods[] = {"fedavg", "scallion(alpha=0.1)", "scafcom(beta=0.2)"};
constexpr const char* kDefaultCodecs[] = {"identity", "quantize(bits=2, block=512, rounding=stochastic)",
                                          "topk(ratio=0.01)"};
constexpr size_t kShownClients = 200;  // in the report's heat map

struct Flags {
  RunDescription base;
  std::vector<std::string> methods, codecs;
  std::vector<uint64_t> seeds = {1};
  SimulationSettings settings;
  uint64_t checkpoint_every = 100;
  double target = 0;
  std::string output, name, config;
  bool progress = false;
};

// Lists of specs, each perhaps several with commas between them.
absl::StatusOr<std::vector<std::string>> SplitAll(std::string_view option, const std::vector<std::string>& lists) {
  std::vector<std::string> all;
  for (const std::string& list : lists) {
    const auto specs = SplitSpecs(list);
    if (!specs.ok()) return Annotate(specs.status(), option);
    all.insert(all.end(), specs->begin(), specs->end());
  }
  return all;
}

absl::StatusOr<RunPlan> PlanFrom(const Flags& flags, std::span<const Parameter> parameters) {
  LACONIC_ASSIGN_OR_RETURN(std::vector<std::string> methods, SplitAll("--method", flags.methods));
  LACONIC_ASSIGN_OR_RETURN(std::vector<std::string> codecs, SplitAll("--compress", flags.codecs));
  if (methods.empty() && codecs.empty()) {
    for (size_t i = 0; i < std::size(kDefaultMethods); ++i) {
      methods.push_back(fmt::format("{}+{}", kDefaultMethods[i], kDefaultCodecs[i]));
    }
  }
  if (methods.empty()) methods.assign(std::begin(kDefaultMethods), std::end(kDefaultMethods));
  if (codecs.empty()) codecs = {"identity"};
  return PlanRuns(flags.base, methods, codecs, flags.seeds, parameters);
}

std::string DefaultName(const RunDescription& base) {
  std::string name = fmt::format("{}-{}", base.model, base.data).substr(0, 60);
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-') c = '_';
  }
  return name;
}

absl::StatusOr<Answer> Run(const Flags& flags, const std::string& command_line, Communicator& comm) {
  const bool speaks = comm.rank() == 0;
  LACONIC_RETURN_IF_ERROR(flags.base.Validate());
  LACONIC_RETURN_IF_ERROR(flags.settings.Validate());
  if (comm.size() > 1 && flags.output.empty()) {
    return absl::InvalidArgumentError("-o is needed with several ranks, which must agree on the folder");
  }
  LACONIC_ASSIGN_OR_RETURN(const std::unique_ptr<FederatedProblem> problem, FederatedProblem::Load(flags.base));
  if (flags.target < 0 || (problem->has_classes() && flags.target > 1)) {
    return absl::InvalidArgumentError(
        fmt::format("--target {}: must be an accuracy in (0, 1], or 0 to choose one", flags.target));
  }
  LACONIC_ASSIGN_OR_RETURN(RunPlan plan, PlanFrom(flags, problem->parameters()));
  if (speaks) {
    for (const std::string& why : plan.refused) fmt::print("left out: {}\n", why);
  }

  FedConfig config{.name = flags.name.empty() ? DefaultName(flags.base) : flags.name,
                   .command = command_line,
                   .date = UtcNow(),
                   .base = flags.base,
                   .runs = std::move(plan.runs),
                   .settings = flags.settings,
                   .target = flags.target,
                   .tensors = problem->parameters(),
                   .machine = DescribeMachine()};
  // A checkpoint is made where there has just been an evaluation, whose line holds the sums so far.
  const uint64_t every = flags.base.eval_every;
  config.checkpoint_every = (flags.checkpoint_every + every - 1) / every * every;
  for (uint32_t client = 0; client < problem->clients().clients() && config.split.size() < kShownClients; ++client) {
    config.split.push_back(nn::ClassCounts(problem->clients(), client));
  }

  // Rank 0 makes the folder; the others open it then.
  const std::string path = flags.output.empty() ? FreeFolder("fed-runs/" + config.name) : flags.output;
  absl::StatusOr<FedFolder> folder = absl::UnavailableError("not made yet");
  if (speaks) folder = FedFolder::Create(path, config);
  LACONIC_RETURN_IF_ERROR(AgreeOnStatus(comm, speaks ? folder.status() : absl::OkStatus()));
  if (!speaks) folder = FedFolder::Open(path);
  LACONIC_RETURN_IF_ERROR(AgreeOnStatus(comm, folder.status()));
  if (speaks) {
    fmt::print("{} runs of {} rounds into {} (after an interruption: laconic fed resume {})\n",
               folder->config().runs.size(), flags.base.rounds, path, path);
    std::fflush(stdout);
  }
  LACONIC_RETURN_IF_ERROR(ExecuteRuns(*folder, *problem, {.progress = flags.progress}, comm));
  return Answer::kYes;
}

void AddSimulationOptions(CLI::App& app, SimulationSettings& settings) {
  constexpr const char* kGroup = "The simulation";
  app.add_option("-j,--jobs", settings.threads, "Threads; any number gives the same bits [all cores]")->group(kGroup);
  app.add_option(
         "--network", settings.network,
         "Clients' links and machines, for a simulated clock: \"network(up=10Mbit, down=100Mbit, latency=20ms, "
         "step=5ms)\", figures also uniform(1Mbit, 20Mbit) or lognormal(50Mbit, 1), stragglers=0.1 slowdown=10, "
         "or trace=FILE [no clock; the report has one for any uplink rate]")
      ->group(kGroup);
  app.add_option("--deadline", settings.deadline,
                 "Simulated seconds after which a round goes on without the rest [none]")
      ->group(kGroup);
  app.add_option("--failure-rate", settings.failure_rate, "Share of the sampled clients that vanish in a round")
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--state-memory", settings.state_memory_mib,
                 "MiB of clients' vectors (control variates, errors) kept in memory; the others lie in a file")
      ->capture_default_str()
      ->group(kGroup);
}

}  // namespace

Command AddFedRun(CLI::App& fed, const std::string& command_line) {
  CLI::App* run = fed.add_subcommand("run", "Simulate clients and server, bytes counted as the codecs write them");
  run->footer(
      "Every --method is run with every --compress that it can take, and each pair with every seed; a method may name "
      "its "
      "own codec after a plus. Which methods and codecs there are: laconic methods.\n\n"
      "  laconic fed run --method fedavg,scaffold --compress identity\n"
      "  laconic fed run --method \"scallion(alpha=1)+quantize(bits=4, rounding=stochastic),fed-ef+topk(ratio=0.01)\" "
      "--seeds 1,2,3 -o "
      "out\n"
      "  laconic fed run --data \"generate:sparse-binary(heterogeneity=1)\" --clients 100000 --sample 100\n"
      "  laconic fed run --network \"network(up=lognormal(5Mbit, 1), down=50Mbit, latency=30ms, step=5ms)\" --deadline "
      "3\n"
      "  mpirun -np 2 laconic fed run -j 1 -o out          clients spread over processes, the same bits");
  auto flags = std::make_shared<Flags>();
  constexpr std::string_view kLists[] = {"method", "compress", "seed"};
  constexpr const char* kGroup = "What is compared";
  run->add_option("--method", flags->methods,
                  "Specs, separated by commas, each with --compress's codecs or one of its own after a plus "
                  "[fedavg+identity, scallion(alpha=0.1)+quantize(bits=2, block=512, rounding=stochastic), "
                  "scafcom(beta=0.2)+topk(ratio=0.01)]")
      ->group(kGroup);
  run->add_option("--compress", flags->codecs, "Codecs of the clients' messages, separated by commas [identity]")
      ->group(kGroup);
  run->add_option("--seeds", flags->seeds, "Of weights, sampling, minibatches and codecs: a run for each")
      ->delimiter(',')
      ->capture_default_str()
      ->group(kGroup);
  AddDescriptionOptions(*run, flags->base, kLists);
  AddSimulationOptions(*run, flags->settings);
  constexpr const char* kOutput = "Output";
  run->add_option("-o,--output", flags->output, "The folder to write [fed-runs/NAME]")->group(kOutput);
  run->add_option("--name", flags->name, "Of the report [model and data]")->group(kOutput);
  run->add_option("--checkpoint-every", flags->checkpoint_every,
                  "Rounds between two checkpoints, rounded up to an evaluated one; 0: none")
      ->capture_default_str()
      ->take_last()
      ->group(kOutput);
  run->add_option("--target", flags->target,
                  "Test accuracy (0.83; where there are no classes, test loss) that bytes and seconds are counted to "
                  "[what all reach]")
      ->group(kOutput);
  run->add_option("--config", flags->config,
                  "A TOML file of these options (rounds = 500); the command line counts first")
      ->group(kOutput);
  run->add_flag("--progress", flags->progress, "Say on stderr how far it is, also where that is no terminal")
      ->group(kOutput);
  return {run, [run, flags, command_line]() -> absl::StatusOr<Answer> {
            if (!flags->config.empty()) LACONIC_RETURN_IF_ERROR(ReadConfigFile(*run, flags->config));
            return AtEveryRank([&](Communicator& comm) { return Run(*flags, command_line, comm); });
          }};
}

Command AddFedRerun(CLI::App& fed) {
  CLI::App* rerun = fed.add_subcommand("rerun", "Do the runs of a folder again and compare every bit of what came out");
  rerun->footer("Exit status 1: something differs. Threads, ranks and --state-memory may be others than they were.");
  struct RerunFlags {
    std::string folder;
    int threads = 0;
    bool progress = false;
  };
  auto flags = std::make_shared<RerunFlags>();
  rerun->add_option("folder", flags->folder, "Of laconic fed run")->required();
  rerun->add_option("-j,--jobs", flags->threads, "Threads [as before]");
  rerun->add_flag("--progress", flags->progress, "Say on stderr how far it is, also where that is no terminal");
  return {rerun, [flags] {
            return AtEveryRank([&](Communicator& comm) -> absl::StatusOr<Answer> {
              LACONIC_ASSIGN_OR_RETURN(const FedFolder folder, FedFolder::Open(flags->folder));
              LACONIC_ASSIGN_OR_RETURN(const auto problem, FederatedProblem::Load(folder.config().base));
              return RepeatRuns(folder, *problem, flags->threads, flags->progress, comm);
            });
          }};
}

Command AddFedResume(CLI::App& fed) {
  CLI::App* resume = fed.add_subcommand("resume", "Go on with the runs of a folder from their last checkpoints");
  resume->footer("What comes out is what would have come out without the interruption, bit for bit.");
  struct ResumeFlags {
    std::string folder;
    bool progress = false;
  };
  auto flags = std::make_shared<ResumeFlags>();
  resume->add_option("folder", flags->folder, "Of laconic fed run")->required();
  resume->add_flag("--progress", flags->progress, "Say on stderr how far it is, also where that is no terminal");
  return {
      resume, [flags] {
        return AtEveryRank([&](Communicator& comm) -> absl::StatusOr<Answer> {
          LACONIC_ASSIGN_OR_RETURN(FedFolder folder, FedFolder::Open(flags->folder));
          LACONIC_ASSIGN_OR_RETURN(const auto problem, FederatedProblem::Load(folder.config().base));
          LACONIC_RETURN_IF_ERROR(ExecuteRuns(folder, *problem, {.resume = true, .progress = flags->progress}, comm));
          return Answer::kYes;
        });
      }};
}

}  // namespace laconic::tools
