// The regression guard: compares what the kernels cost with tests/bench/baseline.json, in quantities that do not depend
// on the machine's mood. Thresholds are one-sided: a kernel may get cheaper, never dearer by more than they say.
//
//   instructions  executed by count_kernels on 2^20 floats, counted by callgrind                       at most + 2 %
//   passes        over an array of 2^20 floats: lines that miss a simulated cache of 1 MiB, reads and
//                 writes, times 64 bytes, divided by 4 MiB (a line written past the caches counts as a
//                 write, a line read and written back as one)                                          at most + 0.05
//   wire bytes    exact                                                                                at most the same
//
// Instruction counts depend on the compiler, its flags and the C library; the baseline says with which it was taken,
// and under any other the check is skipped, with that as its reason.
//
//   check_baseline BASELINE.json COUNT_KERNELS [--record]
// Exit code: 0 no dearer, 1 dearer (or a row that is in only one of both), 2 bad usage or input, 77 skipped.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr double kInstructionsFactor = 1.02;
constexpr double kPassesMargin = 0.05;
constexpr double kArrayBytes = 4.0 * (1 << 20);
constexpr double kLineBytes = 64;
constexpr int kSkipped = 77;

struct Row {
  std::string name;
  uint64_t instructions = 0;
  double passes = 0;
  uint64_t wire_bytes = 0;
};

// What a shell command prints, or nothing if it fails.
std::optional<std::string> OutputOf(const std::string& command) {
  FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return std::nullopt;
  std::string output;
  char buffer[4096];
  for (size_t count; (count = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) output.append(buffer, count);
  const int status = pclose(pipe);
  if (status == -1 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) return std::nullopt;
  return output;
}

// One part of callgrind's profile: the totals of the events by their names.
std::optional<std::map<std::string, uint64_t>> Totals(const fs::path& part) {
  std::ifstream file(part);
  std::vector<std::string> events;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key;
    words >> key;
    if (key == "events:") {
      for (std::string event; words >> event;) events.push_back(event);
    }
    if (key != "totals:") continue;
    std::map<std::string, uint64_t> totals;
    for (const std::string& event : events) totals[event] = 0;  // zeros at the end of the line are left out
    uint64_t value = 0;
    for (size_t i = 0; i < events.size() && words >> value; ++i) totals[events[i]] = value;
    return totals;
  }
  return std::nullopt;
}

// Runs count_kernels under callgrind, which leaves a part of its profile for each line of output.
std::optional<std::vector<Row>> Measure(const std::string& count_kernels, const fs::path& folder) {
  const std::string command = fmt::format(
      "cd '{}' && valgrind --tool=callgrind --collect-atstart=no --cache-sim=yes --I1=32768,8,64 "
      "--D1=32768,8,64 --LL=1048576,16,64 "
      "--callgrind-out-file=part '{}' 2> log",
      folder.string(), count_kernels);
  const auto lines = OutputOf(command);
  if (!lines) {
    fmt::print(stderr, "check_baseline: count_kernels failed under valgrind:\n{}\n",
               OutputOf(fmt::format("cat '{}/log'", folder.string())).value_or(""));
    return std::nullopt;
  }
  std::vector<Row> rows;
  std::istringstream in(*lines);
  for (std::string line; std::getline(in, line);) {
    const size_t tab = line.find('\t');
    const auto totals = Totals(folder / fmt::format("part.{}", rows.size() + 1));
    if (tab == std::string::npos || !totals || !totals->contains("DLmw")) {
      fmt::print(stderr, "check_baseline: callgrind left no part for \"{}\"\n", line);
      return std::nullopt;
    }
    const double misses = static_cast<double>(totals->at("DLmr") + totals->at("DLmw"));
    rows.push_back({.name = line.substr(0, tab),
                    .instructions = totals->at("Ir"),
                    .passes = misses * kLineBytes / kArrayBytes,
                    .wire_bytes = std::stoull(line.substr(tab + 1))});
  }
  return rows;
}

bool Record(const fs::path& path, const std::string& environment, const std::vector<Row>& rows) {
  // By hand, one row a line, so that a difference shows the rows that changed.
  std::ofstream file(path);
  file << fmt::format("{{\n  \"environment\": {},\n  \"elements\": {},\n  \"rows\": {{\n", Json(environment).dump(),
                      1 << 20);
  for (size_t i = 0; i < rows.size(); ++i) {
    file << fmt::format("    {}: {{\"instructions\": {}, \"passes\": {:.2f}, \"wire_bytes\": {}}}{}\n",
                        Json(rows[i].name).dump(), rows[i].instructions, rows[i].passes, rows[i].wire_bytes,
                        i + 1 < rows.size() ? "," : "");
  }
  file << "  }\n}\n";
  return file.good();
}

// Prints the table; the number of rows that are dearer, new or gone.
int Compare(const Json& baseline, const std::vector<Row>& rows) {
  int complaints = 0, cheaper = 0;
  fmt::print("{:<44}{:>14}{:>9}{:>8}{:>7}{:>12}\n", "on 2^20 floats", "instructions", "was", "passes", "was",
             "wire bytes");
  Json left = baseline.at("rows");
  for (const Row& row : rows) {
    if (!left.contains(row.name)) {
      fmt::print("{:<44}{:>14}{:>9}{:>8.2f}{:>7}{:>12}  NEW: not in the baseline\n", row.name, row.instructions, "-",
                 row.passes, "-", row.wire_bytes);
      ++complaints;
      continue;
    }
    const Json& was = left.at(row.name);
    const double ratio = static_cast<double>(row.instructions) / was.at("instructions").get<double>();
    const double passes = was.at("passes").get<double>();
    const auto wire_bytes = was.at("wire_bytes").get<uint64_t>();
    std::string verdict;
    if (ratio > kInstructionsFactor) verdict += fmt::format("  DEARER: {:+.1f} % instructions", (ratio - 1) * 100);
    if (row.passes > passes + kPassesMargin) verdict += fmt::format("  DEARER: {:+.2f} passes", row.passes - passes);
    if (row.wire_bytes > wire_bytes)
      verdict += fmt::format("  DEARER: {} wire bytes, were {}", row.wire_bytes, wire_bytes);
    complaints += verdict.empty() ? 0 : 1;
    if (ratio < 1 / kInstructionsFactor || row.passes < passes - kPassesMargin || row.wire_bytes < wire_bytes) {
      verdict += "  cheaper";
      ++cheaper;
    }
    fmt::print("{:<44}{:>14}{:>+8.1f}%{:>8.2f}{:>7.2f}{:>12}{}\n", row.name, row.instructions, (ratio - 1) * 100,
               row.passes, passes, row.wire_bytes, verdict);
    left.erase(row.name);
  }
  for (const auto& [name, was] : left.items()) {
    fmt::print("{:<44}  GONE: in the baseline only\n", name);
    ++complaints;
  }
  if (cheaper > 0) fmt::print("{} rows are cheaper than the baseline: record it, so that they stay so\n", cheaper);
  return complaints;
}

int Run(const fs::path& baseline_path, const std::string& count_kernels, bool record) {
  if (!OutputOf("valgrind --version")) {
    fmt::print("skipped: there is no valgrind to count instructions with\n");
    return kSkipped;
  }
  auto environment = OutputOf(fmt::format("'{}' --environment", count_kernels));
  if (!environment) {
    fmt::print(stderr, "check_baseline: {} does not run\n", count_kernels);
    return 2;
  }
  if (!environment->empty()) environment->pop_back();  // its newline
  Json baseline;
  if (!record) {
    baseline = Json::parse(std::ifstream(baseline_path), nullptr, /*allow_exceptions=*/false);
    if (!baseline.is_object() || !baseline.contains("environment") || !baseline.contains("rows")) {
      fmt::print(stderr, "check_baseline: {} is not a baseline\n", baseline_path.string());
      return 2;
    }
    if (const auto recorded = baseline.at("environment").get<std::string>(); recorded != *environment) {
      fmt::print("skipped: this is \"{}\", the baseline was taken with \"{}\"\n", *environment, recorded);
      return kSkipped;
    }
  }

  std::string folder = (fs::temp_directory_path() / "laconic-baseline-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) {
    fmt::print(stderr, "check_baseline: cannot make a folder in {}\n", fs::temp_directory_path().string());
    return 2;
  }
  const auto rows = Measure(count_kernels, folder);
  std::error_code ignored;
  fs::remove_all(folder, ignored);
  if (!rows) return 2;
  if (record) {
    if (!Record(baseline_path, *environment, *rows)) {
      fmt::print(stderr, "check_baseline: cannot write {}\n", baseline_path.string());
      return 2;
    }
    fmt::print("{} rows written to {}\n", rows->size(), baseline_path.string());
    return 0;
  }
  const int complaints = Compare(baseline, *rows);
  if (complaints == 0) return 0;
  fmt::print(
      "\n{} rows differ from {}.\nIf that is meant, say why in the commit and record the baseline anew:\n"
      "  check_baseline {} {} --record\n",
      complaints, baseline_path.string(), baseline_path.string(), count_kernels);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const bool record = arguments.size() == 3 && arguments[2] == "--record";
  if (arguments.size() != 2 && !record) {
    fmt::print(stderr, "usage: {} BASELINE.json COUNT_KERNELS [--record]\n", argv[0]);
    return 2;
  }
  return Run(fs::absolute(arguments[0]), fs::absolute(arguments[1]).string(), record);
}
