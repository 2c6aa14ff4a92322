// `laconic check`: do this build and this CPU keep what the library promises?
#include <cstdio>
#include <memory>

#include "fmt/format.h"
#include "nlohmann/json.hpp"
#include "tools/check/checks.h"
#include "tools/command.h"
#include "tools/machine.h"
#include "tools/progress.h"
#include "tools/table.h"

namespace laconic::tools {
namespace {

struct Line {
  std::string codec, control;  // control: "-" where it has no say
  Finding finding;
};

absl::StatusOr<std::vector<Line>> RunChecks(Progress& progress) {
  std::vector<Line> lines;
  for (const CodecInfo& info : CodecRegistry::BuiltIn().codecs()) {
    for (const std::string& example : info.examples) {
      const auto codec = CodecRegistry::BuiltIn().Create(example);
      if (!codec.ok()) return codec.status();
      progress.Note(example);
      for (Finding& finding : CheckCodec(**codec)) lines.push_back({example, "-", std::move(finding)});
      for (ControlFinding& found : CheckFeedback(**codec))
        lines.push_back({example, found.control, std::move(found.finding)});
    }
  }
  progress.Clear();
  return lines;
}

absl::StatusOr<Answer> RunCheck(bool json, bool wants_progress) {
  Progress progress(wants_progress);
  const absl::StatusOr<std::vector<Line>> lines = RunChecks(progress);
  if (!lines.ok()) return lines.status();
  std::vector<std::vector<std::string>> cells;
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  size_t failed = 0;
  for (const Line& line : *lines) {
    failed += line.finding.passed ? 0 : 1;
    cells.push_back(
        {line.finding.passed ? "ok" : "FAILED", line.codec, line.control, line.finding.check, line.finding.detail});
    rows.push_back({{"codec", line.codec},
                    {"control", line.control},
                    {"check", line.finding.check},
                    {"passed", line.finding.passed},
                    {"detail", line.finding.detail}});
  }
  if (json) {
    const nlohmann::ordered_json all = {{"machine", DescribeMachine()}, {"failed", failed}, {"rows", rows}};
    fmt::print("{}\n", all.dump(1));
  } else {
    fmt::print("{}", FormatTable({{"", "", 0, true},
                                  {"codec", "", 0, true},
                                  {"control", "", 0, true},
                                  {"check", "", 0, true},
                                  {"detail", "", 0, true}},
                                 cells));
    fmt::print("{} checks, {} failed\n", lines->size(), failed);
  }
  for (const Line& line : *lines) {
    if (line.finding.passed) continue;
    fmt::print(stderr, "FAILED {} {} {}: {}\n", line.codec, line.control, line.finding.check, line.finding.detail);
  }
  return failed > 0 ? Answer::kNo : Answer::kYes;
}

}  // namespace

Command AddCheck(CLI::App& app) {
  CLI::App* check = app.add_subcommand("check", "Hold every codec and error control to its promises on this CPU");
  check->footer(
      "For every example of every codec: the promised delta and omega, the residual's identity, the way through a "
      "payload, and\n"
      "the same decoded bits on every instruction set of this CPU. For every error control that goes with it: a "
      "quadratic with\n"
      "unequal ranks, on which the codec alone stalls and the control must not.\n\n"
      "Example:\n  laconic check && echo \"this machine may train\"\n\n"
      "Exit status: 0, 1 if a check failed (it is named on stderr).");
  auto json = std::make_shared<bool>(false), progress = std::make_shared<bool>(false);
  check->add_flag("--json", *json)->description("As JSON");
  check->add_flag("--progress", *progress)->description("Say on stderr what is being checked");
  return {check, [=] { return RunCheck(*json, *progress); }};
}

}  // namespace laconic::tools
