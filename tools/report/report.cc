// `laconic report`: measurements as one page, runs as a plot or a table.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>

#include "absl/status/status.h"
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "tools/command.h"
#include "tools/fed/folder.h"
#include "tools/fed/summary.h"
#include "tools/report/fed_page.h"
#include "tools/report/page.h"
#include "tools/report/runs.h"
#include "tools/report/svg.h"

namespace laconic::tools {
namespace {

struct Flags {
  std::vector<std::string> inputs;
  std::string page;
  // Of runs.
  std::string svg, x = "step", y = "loss", x_title, y_title, title;
  bool x_log = false, y_log = false;
  std::vector<std::string> table, cases;
  std::string against;
};

absl::Status WriteText(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text << std::flush;
  return out ? absl::OkStatus()
             : absl::UnavailableError(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
}

// Of a folder of `laconic fed run`.
absl::StatusOr<Answer> WriteFedPage(const Flags& flags) {
  LACONIC_ASSIGN_OR_RETURN(const FedFolder folder, FedFolder::Open(flags.inputs[0]));
  LACONIC_ASSIGN_OR_RETURN(const Summary summary, Summarize(folder));
  LACONIC_ASSIGN_OR_RETURN(const std::string page, FedPage(folder, summary));
  LACONIC_RETURN_IF_ERROR(WriteText(flags.page, page));
  fmt::print("{}: {} bytes\n{}", flags.page, page.size(), SummaryTable(summary));
  return Answer::kYes;
}

absl::StatusOr<Answer> WritePage(const Flags& flags) {
  std::error_code ignored;
  if (flags.inputs.size() == 1 && std::filesystem::is_directory(flags.inputs[0], ignored)) return WriteFedPage(flags);
  std::vector<ResultFile> files;
  for (const std::string& input : flags.inputs) {
    LACONIC_ASSIGN_OR_RETURN(files.emplace_back(), ReadResultFile(input));
  }
  const std::string page = ReportPage(files);
  LACONIC_RETURN_IF_ERROR(WriteText(flags.page, page));
  fmt::print("{}: {} bytes{}\n", flags.page, page.size(),
             HaveUplot() ? "" : ", tables only: this laconic was built without uPlot");
  return Answer::kYes;
}

// The axis title of what train and the experiments measure.
std::string TitleOf(const std::string& key) {
  if (key == "step") return "steps";
  if (key == "wire_bytes") return "bytes sent by one rank";
  if (key == "loss") return "training loss (nats)";
  if (key == "n") return "ranks";
  return key;
}

absl::StatusOr<Answer> ShowRuns(const Flags& flags) {
  std::vector<RunRecord> runs;
  for (const std::string& input : flags.inputs) {
    LACONIC_ASSIGN_OR_RETURN(const std::vector<RunRecord> more, ReadRuns(input));
    for (const RunRecord& run : more) {
      const bool wanted =
          flags.cases.empty() || std::find(flags.cases.begin(), flags.cases.end(), run.where) != flags.cases.end();
      if (wanted) runs.push_back(run);
    }
  }
  if (!flags.svg.empty()) {
    LACONIC_ASSIGN_OR_RETURN(std::vector<PlotLine> lines, LinesOf(runs, flags.x, flags.y));
    const Plot plot = {.title = flags.title,
                       .x_title = flags.x_title.empty() ? TitleOf(flags.x) : flags.x_title,
                       .y_title = flags.y_title.empty() ? TitleOf(flags.y) : flags.y_title,
                       .x_log = flags.x_log,
                       .y_log = flags.y_log,
                       .lines = std::move(lines)};
    LACONIC_RETURN_IF_ERROR(WriteText(flags.svg, SvgOf(plot)));
  }
  if (!flags.table.empty()) {
    LACONIC_ASSIGN_OR_RETURN(const std::string table, TableOf(runs, flags.table, flags.against));
    fmt::print("{}", table);
  }
  return Answer::kYes;
}

absl::StatusOr<Answer> MakeReport(const Flags& flags) {
  const bool of_runs = !flags.svg.empty() || !flags.table.empty();
  if (flags.page.empty() == !of_runs) {
    return absl::InvalidArgumentError(
        "give -o for measurements of laconic bench, or --svg and --table for runs of train --json; not both");
  }
  return of_runs ? ShowRuns(flags) : WritePage(flags);
}

}  // namespace

Command AddReport(CLI::App& app) {
  CLI::App* report = app.add_subcommand("report", "Make a page with charts, a plot or a table from measurements");
  report->footer(
      "The page is one file and opens without a network. docs/deciding.md says how to read its charts. A plot needs no "
      "script; lines are means over seeds, bands their range.\n\n"
      "  laconic bench allreduce -b 1K -e 64M -f 4 --spec sign+ef+scatter -J out.json\n"
      "  laconic report out.json -o report.html\n"
      "  laconic report fed-runs/logistic-fashion-mnist -o report.html\n"
      "  train --compare dense topk(ratio=0.01)+ef --seed 1 --json run1.json     and --seed 2 --json run2.json\n"
      "  laconic report run1.json run2.json --svg loss.svg --x wire_bytes --y loss --log-x\n"
      "  laconic report run1.json run2.json --table test_accuracy,wire_bytes --against dense");
  auto flags = std::make_shared<Flags>();
  report
      ->add_option("inputs", flags->inputs,
                   "JSON files of laconic bench -J, or of train --json; or one folder of laconic fed run")
      ->required();
  report->add_option("-o,--output", flags->page, "The page to write");
  report->add_option("--svg", flags->svg, "The plot to write");
  report->add_option("--x", flags->x, "What goes to the right: step, wire_bytes or any figure")->capture_default_str();
  report->add_option("--y", flags->y, "What goes up: loss or any figure")->capture_default_str();
  report->add_flag("--log-x", flags->x_log, "Logarithmic axis");
  report->add_flag("--log-y", flags->y_log, "Logarithmic axis");
  report->add_option("--title", flags->title, "Of the plot");
  report->add_option("--x-title", flags->x_title, "Of the axis");
  report->add_option("--y-title", flags->y_title, "Of the axis");
  report->add_option("--table", flags->table, "Print a Markdown table of these figures, comma-separated")
      ->delimiter(',');
  report->add_option("--against", flags->against, "The run that the table compares with");
  report->add_option("--case", flags->cases, "Only runs of this case, as \"n=4\"; may be repeated");
  return {report, [flags] { return MakeReport(*flags); }};
}

}  // namespace laconic::tools
