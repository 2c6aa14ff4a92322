// `laconic plan`: would compression pay, and which?
#include <algorithm>
#include <cstdio>
#include <memory>
#include <mutex>
#include <thread>

#include "fmt/format.h"
#include "laconic/base/hash.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/primitives.h"
#include "laconic/comm/transport/paced.h"
#include "tools/command.h"
#include "tools/compare/results.h"
#include "tools/launch.h"
#include "tools/plan/measure.h"
#include "tools/plan/output.h"
#include "tools/plan/validate.h"
#include "tools/text.h"

namespace laconic::tools {
namespace {

constexpr int kMostMeasuredRanks = 16;
constexpr double kMostRegret = 0.05;

const char kDefaultSpecs[] =
    "cast(to=bf16)+ef+scatter,quantize(bits=8)+ef+scatter,quantize(bits=4)+ef+scatter,natural+none+gather,"
    "sign+ef+scatter,topk(ratio=0.01)+ef+gather,topk(ratio=0.01)+econtrol+gather,topk(ratio=0.001)+ef+gather,"
    "randk(ratio=0.01)+ef+linear,lowrank(rank=4)+ef+linear";

struct Flags {
  std::string model, elements, link, burst, specs = kDefaultSpecs, validate, tolerance = "20%", from = "1M";
  std::string bucket = "1M";
  int ranks = 0, local_ranks = 0;
  double step_ms = 0;
  bool no_overlap = false, json = false;
};

int Cores() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

struct Link {
  LinkFigures figures;
  std::string text;
};

absl::StatusOr<Link> GivenLink(const Flags& flags, double efficiency) {
  LACONIC_ASSIGN_OR_RETURN(const LinkModel model, LinkModel::Parse(flags.link));
  if (!(model.bits_per_second > 0)) {
    return absl::InvalidArgumentError(fmt::format(
        "--link {}: a plan needs a rate, such as 10Gbit,rtt=50us; leave --link out to measure what there is",
        flags.link));
  }
  Link link{.figures = {.bits_per_second = model.bits_per_second,
                        .round_trip_seconds = absl::ToDoubleSeconds(model.round_trip),
                        .efficiency = efficiency},
            .text = model.ToString()};
  if (!flags.burst.empty()) {
    LACONIC_ASSIGN_OR_RETURN(const uint64_t burst, ParseByteCount("--burst", flags.burst));
    link.figures.burst_bytes = static_cast<double>(burst);
  }
  return link;
}

struct RanksHere {
  TransportFigures transport;
  int ranks = 0;
  int on_this_host = 0;
};

// Measures the transport between the ranks of this run. At other ranks than 0 of an MPI job: nullopt, nothing more to
// do.
absl::StatusOr<std::optional<RanksHere>> MeasureHere(const Launch& launch, bool bulk, size_t dense_bytes) {
  std::mutex mutex;
  std::optional<RanksHere> found;  // guarded by mutex: in-process ranks are threads
  LACONIC_RETURN_IF_ERROR(RunRanks(launch, [&](std::unique_ptr<Transport> transport) -> absl::Status {
    Communicator comm(std::move(transport), {.timeout = absl::Minutes(2)});
    LACONIC_ASSIGN_OR_RETURN(const TransportFigures figures, MeasureTransport(comm, bulk, dense_bytes));
    const uint64_t own_host = Hash64(comm.host());
    std::vector<uint64_t> hosts(comm.size());
    LACONIC_RETURN_IF_ERROR(
        Allgather(comm, std::as_bytes(std::span(&own_host, 1)), std::as_writable_bytes(std::span(hosts))));
    if (comm.rank() != 0) return absl::OkStatus();
    const std::lock_guard lock(mutex);
    found = {.transport = figures,
             .ranks = comm.size(),
             .on_this_host = static_cast<int>(std::count(hosts.begin(), hosts.end(), own_host))};
    return absl::OkStatus();
  }));
  return found;
}

struct Plan {
  Setting setting;
  Link link;
  int local_ranks = 1;
  std::optional<ResultFile> measurement;  // --validate
};

// The largest bucket that will be sent: where most bytes are, and what a dense allreduce is measured with.
uint64_t LargestBucketBytes(const ModelTensors& model, const std::optional<ResultFile>& measurement,
                            uint64_t bucket_bytes) {
  uint64_t largest = std::min(bucket_bytes, 4 * model.elements());
  for (const NamedShape& tensor : model.tensors) largest = std::max(largest, 4 * tensor.shape.elements());
  if (!measurement) return largest;
  for (const CollectiveResult& row : measurement->collectives) largest = std::max(largest, row.size_bytes);
  return largest;
}

// Checks flags and takes or measures the link. nullopt at ranks that have nothing to say.
absl::StatusOr<std::optional<Plan>> Prepare(const Flags& flags, const ModelTensors& model) {
  Plan plan;
  if (!flags.validate.empty()) {
    LACONIC_ASSIGN_OR_RETURN(plan.measurement, ReadResultFile(flags.validate));
  }
  Flags with = flags;
  double efficiency = LinkFigures{}.efficiency;
  bool inproc_measurement = false;
  if (plan.measurement) {
    inproc_measurement = plan.measurement->backend == "inproc";
    if (with.ranks == 0) with.ranks = plan.measurement->ranks;
    if (with.link.empty() && plan.measurement->link) {
      with.link = plan.measurement->link->text;
      efficiency = 1;  // an emulated link carries payload bytes only
    }
    if (with.local_ranks == 0 && inproc_measurement) with.local_ranks = plan.measurement->ranks;
  }
  LACONIC_ASSIGN_OR_RETURN(const uint64_t bucket_bytes, ParseByteCount("--bucket-bytes", flags.bucket));
  plan.setting.bucket_bytes = bucket_bytes;
  plan.setting.compute_seconds = flags.step_ms / 1e3;
  plan.setting.overlap = !flags.no_overlap;

  const bool given = !with.link.empty();
  if (given) {
    LACONIC_ASSIGN_OR_RETURN(plan.link, GivenLink(with, efficiency));
  } else if (!with.burst.empty()) {
    return absl::InvalidArgumentError("--burst belongs to a --link");
  }
  // Under a launcher the plan's ranks may be more than were started, so those are not asked for here.
  LACONIC_ASSIGN_OR_RETURN(Launch launch, PlanLaunch(Backend::kAuto, std::nullopt));
  const bool mpi = launch.backend == Backend::kMpi;
  std::optional<RanksHere> here;
  if (!mpi && !given) {
    launch.ranks = with.ranks > 0 ? with.ranks : launch.ranks;
    if (launch.ranks > kMostMeasuredRanks) {
      return absl::InvalidArgumentError(
          fmt::format("--ranks {} without --link: at most {} ranks are measured in one process; say what links them, "
                      "such as --link 10Gbit,rtt=50us",
                      launch.ranks, kMostMeasuredRanks));
    }
  }
  if (mpi || !given) {
    LACONIC_ASSIGN_OR_RETURN(here,
                             MeasureHere(launch, !given, LargestBucketBytes(model, plan.measurement, bucket_bytes)));
    if (!here) return std::nullopt;
    const TransportFigures& measured = here->transport;
    if (!given) {
      plan.link.figures = {.bits_per_second = 8 * measured.bytes_per_second, .round_trip_seconds = 0, .efficiency = 1};
      plan.link.text = mpi ? "measured between the ranks of this job" : "none: ranks in one process";
      plan.setting.host.dense_bytes_per_second = measured.dense_bytes_per_second;
    }
    // Where a round trip is given, so is the latency.
    if (plan.link.figures.round_trip_seconds == 0) plan.setting.host.exchange_seconds = measured.exchange_seconds;
  }
  plan.setting.ranks = with.ranks > 0 ? with.ranks : here ? here->ranks : 0;
  if (plan.setting.ranks == 0)
    return absl::InvalidArgumentError("--link without --ranks: how many ranks does it join?");
  plan.local_ranks = with.local_ranks > 0 ? with.local_ranks : here ? here->on_this_host : 1;
  plan.setting.link = plan.link.figures;
  plan.setting.host.ranks_per_core = static_cast<double>(plan.local_ranks) / Cores();
  return plan;
}

absl::StatusOr<Answer> Run(const Flags& flags) {
  if (flags.model.empty() + flags.elements.empty() + flags.validate.empty() != 2) {
    return absl::InvalidArgumentError("give one of --model, --elements and --validate");
  }
  ModelTensors model;
  if (!flags.model.empty()) {
    LACONIC_ASSIGN_OR_RETURN(model, ReadModelTensors(flags.model));
  } else if (!flags.elements.empty()) {
    LACONIC_ASSIGN_OR_RETURN(const uint64_t elements, ParseElementCount("--elements", flags.elements));
    model = SingleTensor(elements);
  }
  LACONIC_ASSIGN_OR_RETURN(const std::vector<std::string> specs, SplitSpecs(flags.specs));
  LACONIC_ASSIGN_OR_RETURN(const double tolerance, ParsePercentage("--tolerance", flags.tolerance));
  LACONIC_ASSIGN_OR_RETURN(const uint64_t from_bytes, ParseByteCount("--from", flags.from));
  LACONIC_ASSIGN_OR_RETURN(std::optional<Plan> plan, Prepare(flags, model));
  if (!plan) return Answer::kYes;

  CodecBench bench(std::min(plan->local_ranks, Cores()), /*seed=*/1);
  LACONIC_ASSIGN_OR_RETURN(plan->setting.host.copy_bytes_per_second, bench.CopyBytesPerSecond());
  const CodecFiguresOf codecs = [&](const Compressor& codec, const Shape& shape) {
    return bench.Figures(codec, shape);
  };
  if (plan->measurement) {
    LACONIC_ASSIGN_OR_RETURN(const Validation validation,
                             Validate(*plan->measurement, from_bytes, codecs, plan->setting));
    std::fputs((flags.json ? ValidationJson(validation, tolerance, kMostRegret)
                           : ValidationText(validation, tolerance, kMostRegret))
                   .c_str(),
               stdout);
    return validation.Within(tolerance, kMostRegret) ? Answer::kYes : Answer::kNo;
  }
  PlanFindings findings{.model = model,
                        .setting = plan->setting,
                        .link_text = plan->link.text,
                        .link_given = !flags.link.empty(),
                        .local_ranks = plan->local_ranks,
                        .cores = Cores()};
  LACONIC_ASSIGN_OR_RETURN(const SpecOutline dense, SpecOutline::Create(model, "dense", codecs, plan->setting));
  LACONIC_ASSIGN_OR_RETURN(findings.plans.emplace_back(), dense.Plan(plan->setting));
  findings.break_even_bits_per_second.push_back(0);
  for (const std::string& spec : specs) {
    if (spec == "dense") continue;
    const absl::StatusOr<SpecOutline> outline = SpecOutline::Create(model, spec, codecs, plan->setting);
    if (!outline.ok()) return Annotate(outline.status(), "spec " + spec);
    LACONIC_ASSIGN_OR_RETURN(findings.plans.emplace_back(), outline->Plan(plan->setting));
    LACONIC_ASSIGN_OR_RETURN(findings.break_even_bits_per_second.emplace_back(),
                             BreakEvenBitsPerSecond(dense, *outline, plan->setting));
  }
  std::fputs((flags.json ? PlanJson(findings) : PlanText(findings)).c_str(), stdout);
  return Answer::kYes;
}

}  // namespace

Command AddPlan(CLI::App& app) {
  CLI::App* plan = app.add_subcommand("plan", "Say whether compression would pay on a link, and which spec is best");
  plan->footer(
      "Measures the codecs on this machine, takes the link as given (or measures it: started plain, ranks are threads\n"
      "here; under mpirun, its processes), and estimates a training step with the cost model of strategy auto.\n"
      "docs/plan.md has the equations and what they leave out.\n\n"
      "  laconic plan --model tools/models/resnet50.json --link 10Gbit,rtt=50us --ranks 16 --step-ms 120\n"
      "  laconic plan --elements 25.6M --ranks 4\n"
      "  mpirun -np 8 --hostfile hosts laconic plan --model gpt2.safetensors --step-ms 300\n"
      "  laconic plan --validate out.json --link 1Gbit,rtt=200us --local-ranks 4\n\n"
      "Exit status: 0 fine, 1 --validate found a row beyond --tolerance, 2 bad usage or input.");
  auto flags = std::make_shared<Flags>();
  plan->add_option("--model", flags->model,
                   "Tensors: {\"tensors\": [{\"name\", \"shape\"}, ...]}, .safetensors, or its index.json");
  plan->add_option("--elements", flags->elements, "Instead of a model: one tensor of so many floats, such as 25.6M");
  plan->add_option("--link", flags->link,
                   "Between ranks: rate[,rtt=time], such as 10Gbit,rtt=50us; left out: measured here");
  plan->add_option("--burst", flags->burst,
                   "Bytes that pass at once after an idle time (the token bucket of a shaped link), such as 500000");
  plan->add_option("--ranks", flags->ranks, "Ranks that train together")->check(CLI::Range(2, 1 << 16));
  plan->add_option("--local-ranks", flags->local_ranks,
                   "Ranks that share this machine's cores; left out: 1 with --link, else those that are measured here")
      ->check(CLI::Range(1, 1 << 12));
  plan->add_option("--step-ms", flags->step_ms,
                   "Computation of a step on one rank: forward, backward, optimizer; 0: communication alone")
      ->check(CLI::Range(0.0, 1e9));
  plan->add_option("--spec", flags->specs, "Specs to plan, separated by commas; dense is always among them")
      ->capture_default_str();
  plan->add_option("--bucket-bytes", flags->bucket, "GradientSyncOptions::bucket_bytes")->capture_default_str();
  plan->add_flag("--no-overlap", flags->no_overlap, "Communication follows backward instead of hiding behind it");
  plan->add_option("--validate", flags->validate,
                   "JSON of laconic bench allreduce -J: prediction beside measurement, row by row");
  plan->add_option("--tolerance", flags->tolerance, "With --validate: the largest difference that is fine")
      ->capture_default_str();
  plan->add_option("--from", flags->from, "With --validate: leave out rows of fewer bytes")->capture_default_str();
  plan->add_flag("--json", flags->json, "As one JSON object");
  return {plan, [flags] { return Run(*flags); }};
}

}  // namespace laconic::tools
