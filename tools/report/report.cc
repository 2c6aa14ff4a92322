// `laconic report`: measurements as one page.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>

#include "absl/status/status.h"
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "tools/command.h"
#include "tools/report/page.h"

namespace laconic::tools {
namespace {

struct Flags {
  std::vector<std::string> inputs;
  std::string output;
};

absl::StatusOr<Answer> Run(const Flags& flags) {
  std::vector<ResultFile> files;
  for (const std::string& input : flags.inputs) {
    LACONIC_ASSIGN_OR_RETURN(files.emplace_back(), ReadResultFile(input));
  }
  const std::string page = ReportPage(files);
  std::ofstream out(flags.output, std::ios::binary | std::ios::trunc);
  out << page << std::flush;
  if (!out) return absl::UnavailableError(fmt::format("cannot write {}: {}", flags.output, std::strerror(errno)));
  fmt::print("{}: {} bytes{}\n", flags.output, page.size(),
             HaveUplot() ? "" : ", tables only: this laconic was built without uPlot");
  return Answer::kYes;
}

}  // namespace

Command AddReport(CLI::App& app) {
  CLI::App* report = app.add_subcommand("report", "Make one HTML page with charts and tables from measurements");
  report->footer(
      "The page is one file and opens without a network. docs/deciding.md says how to read its charts.\n\n"
      "  laconic bench allreduce -b 1K -e 64M -f 4 --spec sign+ef+scatter -J out.json\n"
      "  laconic report out.json -o report.html");
  auto flags = std::make_shared<Flags>();
  report->add_option("inputs", flags->inputs, "JSON files of laconic bench -J")->required();
  report->add_option("-o,--output", flags->output, "The page to write")->required();
  return {report, [flags] { return Run(*flags); }};
}

}  // namespace laconic::tools
