// `laconic compare`: exit status 1 when a row got slower.
#include <cmath>
#include <cstdio>
#include <memory>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "nlohmann/json.hpp"
#include "tools/command.h"
#include "tools/compare/results.h"
#include "tools/table.h"

namespace laconic::tools {
namespace {

struct Flags {
  std::string before, after;
  std::string fail_above = "5%";
  bool json = false;
};

std::string Percent(double share) { return std::isfinite(share) ? fmt::format("{:+.1f} %", 100 * share) : "?"; }

std::string Seconds(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.2f} us", 1e6 * seconds);
  return seconds < 1 ? fmt::format("{:.3f} ms", 1e3 * seconds) : fmt::format("{:.3f} s", seconds);
}

void PrintText(const Comparison& comparison, double threshold) {
  std::vector<std::vector<std::string>> cells;
  size_t slower = 0, unclear = 0;
  for (const ComparedRow& row : comparison.rows) {
    const bool raw = std::isfinite(row.change_high);
    cells.push_back({row.what, Seconds(row.before_seconds), Seconds(row.after_seconds), Percent(row.change),
                     raw ? fmt::format("{} .. {}", Percent(row.change_low), Percent(row.change_high)) : "no raw times",
                     std::string(VerdictName(row.verdict))});
    slower += row.verdict == Verdict::kSlower;
    unclear += row.verdict == Verdict::kUnclear;
  }
  fmt::print("{}", FormatTable({{"row", "", 0, true},
                                {"before", "median"},
                                {"after", "median"},
                                {"change", ""},
                                {"95 % interval", "of the change"},
                                {"verdict", ""}},
                               cells));
  for (const std::string& what : comparison.only_before) fmt::print("only before: {}\n", what);
  for (const std::string& what : comparison.only_after) fmt::print("only after: {}\n", what);
  if (comparison.other_machine) fmt::print("The two were measured on different machines.\n");
  fmt::print("{} of {} rows slower by more than {:g} %", slower, comparison.rows.size(), 100 * threshold);
  if (unclear > 0) {
    fmt::print("; {} changed by more, but no more than their repetitions differ (take more, or a quieter machine)",
               unclear);
  }
  fmt::print(".\n");
}

void PrintJson(const Comparison& comparison, double threshold) {
  nlohmann::ordered_json json = {{"schema", "laconic-compare"}, {"version", 1}, {"fail_above", threshold}};
  json["slower"] = comparison.AnySlower();
  json["other_machine"] = comparison.other_machine;
  json["rows"] = nlohmann::ordered_json::array();
  for (const ComparedRow& row : comparison.rows) {
    nlohmann::ordered_json entry = {{"row", row.what},
                                    {"before_seconds", row.before_seconds},
                                    {"after_seconds", row.after_seconds},
                                    {"change", row.change}};
    const bool raw = std::isfinite(row.change_high);
    entry["change_low"] = raw ? nlohmann::ordered_json(row.change_low) : nullptr;
    entry["change_high"] = raw ? nlohmann::ordered_json(row.change_high) : nullptr;
    entry["verdict"] = row.verdict == Verdict::kSlower ? "slower" : VerdictName(row.verdict);
    json["rows"].push_back(std::move(entry));
  }
  json["only_before"] = comparison.only_before;
  json["only_after"] = comparison.only_after;
  fmt::print("{}\n", json.dump(2));
}

absl::StatusOr<Answer> Run(const Flags& flags) {
  LACONIC_ASSIGN_OR_RETURN(const double threshold, ParsePercentage("--fail-above", flags.fail_above));
  LACONIC_ASSIGN_OR_RETURN(const ResultFile before, ReadResultFile(flags.before));
  LACONIC_ASSIGN_OR_RETURN(const ResultFile after, ReadResultFile(flags.after));
  LACONIC_ASSIGN_OR_RETURN(const Comparison comparison, CompareResults(before, after, threshold));
  flags.json ? PrintJson(comparison, threshold) : PrintText(comparison, threshold);
  return comparison.AnySlower() ? Answer::kNo : Answer::kYes;
}

}  // namespace

Command AddCompare(CLI::App& app) {
  CLI::App* compare = app.add_subcommand("compare", "Say which rows of a measurement got slower since another");
  compare->footer(
      "Rows are matched by setting (ranks, backend, link), spec and size or input. A change counts when it exceeds\n"
      "--fail-above and the 95 % intervals of the two medians, from the raw times, do not overlap.\n\n"
      "  laconic bench allreduce --spec sign+ef+scatter -J before.json\n"
      "  laconic bench allreduce --spec sign+ef+scatter -J after.json\n"
      "  laconic compare before.json after.json --fail-above 5%\n\n"
      "Exit status: 0 nothing got slower, 1 something did, 2 bad usage or input.");
  auto flags = std::make_shared<Flags>();
  compare->add_option("before", flags->before, "JSON of laconic bench -J, the older")->required();
  compare->add_option("after", flags->after, "JSON of laconic bench -J, the newer")->required();
  compare->add_option("--fail-above", flags->fail_above, "How much slower is too slow")->capture_default_str();
  compare->add_flag("--json", flags->json, "As one JSON object");
  return {compare, [flags] { return Run(*flags); }};
}

}  // namespace laconic::tools
