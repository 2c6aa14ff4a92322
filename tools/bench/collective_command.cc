// `laconic bench allreduce | allgather | ps`: the command line, the printing.
#include <cstdio>
#include <limits>
#include <map>
#include <memory>

#include "fmt/format.h"
#include "laconic/base/state.h"
#include "laconic/base/status.h"
#include "tools/bench/bench.h"
#include "tools/bench/collective_output.h"
#include "tools/progress.h"
#include "tools/text.h"

namespace laconic::tools {
namespace {

struct Texts {
  const char *summary, *default_specs, *examples;
};

Texts TextsOf(Pattern pattern) {
  switch (pattern) {
    case Pattern::kAllgather:
      return {"Every rank gathers all ranks' payloads and averages them; the baseline gathers float32",
              "sign+ef,topk(ratio=0.01)+ef,quantize(bits=4)+ef",
              "  laconic bench allgather --ranks 4 --spec \"topk(ratio=0.001)+ef\" --link 100Mbit"};
    case Pattern::kPs:
      return {"A central server averages, re-encodes and answers all; the baseline is a server of float32",
              "sign+ef,topk(ratio=0.01)+ef,quantize(bits=4)+ef",
              "  laconic bench ps --ranks 5 --spec \"sign+ef,quantize(bits=8)+ef\" --link 1Gbit,rtt=1ms\n"
              "  laconic bench ps --owners 2 --spec sign+ef            two servers, half of every tensor each"};
    default:
      return {
          "Mean over ranks under each spec; the baseline is the dense allreduce",
          "sign+ef+scatter,topk(ratio=0.01)+econtrol,quantize(bits=4)+ef+scatter,lowrank(rank=4)+ef",
          "  laconic bench allreduce                               5 specs, 1 KiB to 64 MiB, 4 ranks in this process\n"
          "  laconic bench allreduce -b 16M -e 16M --spec \"sign+ef+scatter,topk(ratio=0.01)+ef\" --link "
          "1Gbit,rtt=1ms\n"
          "  mpirun -np 4 laconic bench allreduce -b 1M -J out.json   the same under MPI; then: laconic report "
          "out.json"};
  }
}

// The texts as they come, before they are understood.
struct Raw {
  std::string min_bytes = "1K", max_bytes = "64M", link, backend = "auto", json_file;
  std::vector<std::string> specs;
  std::optional<int> ranks;
  double factor = 4, timeout_seconds = 120;
  int owners = 1, check = 1;
  bool json = false, progress = false;
};

absl::StatusOr<std::vector<uint64_t>> Sizes(const Raw& raw) {
  LACONIC_ASSIGN_OR_RETURN(const uint64_t first, ParseByteCount("--minbytes", raw.min_bytes));
  LACONIC_ASSIGN_OR_RETURN(const uint64_t last, ParseByteCount("--maxbytes", raw.max_bytes));
  if (first < sizeof(float) || last < first) {
    return absl::InvalidArgumentError(
        fmt::format("--minbytes {} and --maxbytes {}: sizes run from at least 4 bytes upwards", first, last));
  }
  std::vector<uint64_t> sizes;
  for (double size = static_cast<double>(first); size <= static_cast<double>(last) * (1 + 1e-9); size *= raw.factor) {
    const uint64_t bytes = static_cast<uint64_t>(size) / sizeof(float) * sizeof(float);
    if (sizes.empty() || bytes > sizes.back()) sizes.push_back(bytes);
  }
  return sizes;
}

absl::Status Understand(const Raw& raw, const std::string& default_specs, CollectiveOptions& options) {
  LACONIC_ASSIGN_OR_RETURN(options.sizes_bytes, Sizes(raw));
  if (!raw.link.empty()) {
    LACONIC_ASSIGN_OR_RETURN(options.link, LinkModel::Parse(raw.link));
  }
  options.timeout = absl::Seconds(raw.timeout_seconds);
  options.check = raw.check != 0;
  LACONIC_ASSIGN_OR_RETURN(const Contender baseline, MakeBaseline(options.pattern, raw.owners));
  options.contenders = {baseline};
  LACONIC_ASSIGN_OR_RETURN(const std::vector<AskedPipeline> pipelines,
                           ParsePipelines(raw.specs.empty() ? std::vector<std::string>{default_specs} : raw.specs));
  for (const AskedPipeline& asked : pipelines) {
    LACONIC_ASSIGN_OR_RETURN(Contender contender, MakeContender(options.pattern, asked, raw.owners));
    if (contender.pipeline.ToString() != baseline.pipeline.ToString())
      options.contenders.push_back(std::move(contender));
  }
  return absl::OkStatus();
}

void AddOptions(CLI::App& app, Raw& raw, CollectiveOptions& options, const Texts& texts) {
  app.add_option("-b,--minbytes", raw.min_bytes, "Smallest tensor, in bytes of float32; K, M, G are powers of 1024")
      ->capture_default_str();
  app.add_option("-e,--maxbytes", raw.max_bytes, "Largest tensor")->capture_default_str();
  app.add_option("-f,--stepfactor", raw.factor, "From one size to the next")
      ->capture_default_str()
      ->check(CLI::Range(1.01, 1e9));
  app.add_option("-n,--iters", options.repetitions, "Repetitions of each row; the median is reported")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  app.add_option("-w,--warmup-iters", options.warmup, "Repetitions before those")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000000));
  app.add_option("--row-seconds", options.row_seconds,
                 "A row that takes longer than this in all ends early, after 5 repetitions at least; 0: never early")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  app.add_option("--spec", raw.specs,
                 fmt::format("Specs, separated by commas or given again [{}]", texts.default_specs));
  if (options.pattern == Pattern::kPs) {
    app.add_option("--owners", raw.owners, "Servers: the first ranks, each with a share of every tensor; 0: all ranks")
        ->capture_default_str()
        ->check(CLI::Range(0, 1 << 16));
  }
  app.add_option("--ranks", raw.ranks, "Ranks, as threads of this process [4]; under mpirun or srun: their processes");
  app.add_option("--backend", raw.backend, "auto | inproc | mpi; auto: mpi under a launcher")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "inproc", "mpi"}));
  app.add_option("--link", raw.link, "Emulated link of each rank, as 100Mbit or 1Gbit,rtt=1ms [as fast as it is]");
  app.add_option("--rounds", options.rounds, "Rounds of the error after many rounds")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  app.add_option("-c,--check", raw.check, "Count wrong elements: 1, or 0 to leave it out")
      ->capture_default_str()
      ->check(CLI::Range(0, 1));
  app.add_option("--seed", options.seed, "Of data and codecs")->capture_default_str();
  app.add_option("--timeout", raw.timeout_seconds, "Seconds a rank waits for another before it gives up")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("-J,--json-file", raw.json_file, "Also write everything, raw times too, as JSON (docs/bench.md)");
  app.add_flag("--json", raw.json)->description("Print that JSON instead of the table");
  app.add_flag("--progress", raw.progress)
      ->description("Say on stderr what is being measured, also where it is no terminal");
}

absl::StatusOr<Answer> RunBench(const Raw& raw, const CollectiveOptions& options, const std::string& command_line) {
  const std::map<std::string, Backend> backends = {
      {"auto", Backend::kAuto}, {"inproc", Backend::kInProcess}, {"mpi", Backend::kMpi}};
  LACONIC_ASSIGN_OR_RETURN(Launch launch, PlanLaunch(backends.at(raw.backend), raw.ranks));

  const std::vector<Column> columns = CollectiveColumns(options);
  std::vector<MemcpyRow> copies;
  std::vector<CollectiveRow> rows;
  std::vector<SkippedRow> skipped;
  Progress progress(raw.progress);
  bool header = false;
  auto print = [&](const std::string& line) {
    progress.Clear();
    if (raw.json) return;
    if (!header)
      fmt::print("# {}, {} ranks ({}), link {}\n{}", PatternName(options.pattern), launch.ranks,
                 BackendName(launch.backend), options.link ? options.link->ToString() : "as it is",
                 FormatHeader(columns));
    header = true;
    fmt::print("{}", line);
    std::fflush(stdout);
  };
  const CollectiveSink sink = {
      .on_memcpy = [&](const MemcpyRow& row) { copies.push_back(row), print(MemcpyLine(columns, row)); },
      .on_row = [&](const CollectiveRow& row) { rows.push_back(row), print(CollectiveLine(columns, row)); },
      .on_skipped =
          [&](const SkippedRow& row) {
            skipped.push_back(row);
            print(fmt::format("# {} at {}: {}\n", row.spec, FormatBytes(row.size_bytes), row.reason));
          },
      .on_progress = [&](const std::string& text) { progress.Note(text); }};
  LACONIC_RETURN_IF_ERROR(RunRanks(launch, [&](std::unique_ptr<Transport> transport) {
    if (transport->rank() == 0) launch.ranks = transport->size();
    return RunCollective(options, std::move(transport), sink);
  }));
  if (rows.empty()) return Answer::kYes;  // a process other than rank 0's

  const std::string json = CollectiveJson(options, launch, command_line, copies, rows, skipped).dump(1) + "\n";
  if (raw.json) fmt::print("{}", json);
  if (!raw.json_file.empty()) {
    LACONIC_RETURN_IF_ERROR(WriteFileAtomically(raw.json_file, std::as_bytes(std::span(json))));
  }
  uint64_t wrong = 0;
  for (const CollectiveRow& row : rows) wrong += row.wrong.value_or(0);
  if (wrong > 0) fmt::print(stderr, "laconic bench: {} wrong elements\n", wrong);
  return wrong > 0 ? Answer::kNo : Answer::kYes;
}

}  // namespace

Command AddCollectiveBench(CLI::App& bench, Pattern pattern, const std::string& command_line) {
  const Texts texts = TextsOf(pattern);
  CLI::App* app = bench.add_subcommand(std::string(PatternName(pattern)), texts.summary);
  app->footer(fmt::format(
      "Examples:\n{}\n\ndocs/bench.md says how to read every column. Exit status: 0, 1 if elements are wrong, 2 "
      "for bad usage or a failure.",
      texts.examples));
  auto raw = std::make_shared<Raw>();
  auto options = std::make_shared<CollectiveOptions>();
  options->pattern = pattern;
  AddOptions(*app, *raw, *options, texts);
  auto run = [=, specs = std::string(texts.default_specs)]() -> absl::StatusOr<Answer> {
    LACONIC_RETURN_IF_ERROR(Understand(*raw, specs, *options));
    if (options->row_seconds == 0) options->row_seconds = std::numeric_limits<double>::infinity();
    return RunBench(*raw, *options, command_line);
  };
  return {app, run};
}

}  // namespace laconic::tools
