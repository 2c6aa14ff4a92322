#include "tools/bench/collective_output.h"

#include <algorithm>

#include "fmt/format.h"
#include "tools/machine.h"
#include "tools/statistics.h"
#include "tools/text.h"

namespace laconic::tools {
namespace {

std::string Giga(double per_second) { return fmt::format("{:.3f}", per_second / 1e9); }
std::string Micro(double seconds) { return fmt::format("{:.1f}", seconds * 1e6); }
std::string Percent(double part, double whole) { return whole > 0 ? fmt::format("{:.0f}", 100 * part / whole) : "-"; }

std::string BreakEven(const CollectiveRow& row) {
  if (row.baseline) return "-";
  if (!row.break_even_bits_per_second) return "never";
  return *row.break_even_bits_per_second >= kAnyLink ? "any link" : FormatBitRate(*row.break_even_bits_per_second);
}

}  // namespace

std::string_view PatternName(Pattern pattern) {
  return pattern == Pattern::kAllreduce ? "allreduce" : pattern == Pattern::kAllgather ? "allgather" : "ps";
}

std::vector<Column> CollectiveColumns(const CollectiveOptions& options) {
  size_t spec_width = std::string_view("memcpy").size();
  for (const Contender& contender : options.contenders) spec_width = std::max(spec_width, contender.spec.size());
  return {{"size", "(B)", 10},      {"count", "(elements)", 10},
          {"type", "", 5},          {"spec", "", spec_width, true},
          {"time", "(us)", 10},     {"algbw", "(GB/s)", 7},
          {"busbw", "(GB/s)", 7},   {"#wrong", "", 6},
          {"wire/rank", "(B)", 10}, {"ratio", "(x)", 6},
          {"p99", "(us)", 10},      {"enc", "(%)", 4},
          {"exch", "(%)", 4},       {"dec", "(%)", 4},
          {"error", "1 round", 8},  {"error", fmt::format("{} rounds", options.rounds), 8},
          {"wins below", "", 11}};
}

std::string CollectiveLine(const std::vector<Column>& columns, const CollectiveRow& row) {
  const double time = row.median_seconds(), algbw = static_cast<double>(row.size_bytes) / time;
  return FormatRow(
      columns, {fmt::to_string(row.size_bytes), fmt::to_string(row.count), "float", row.spec, Micro(time), Giga(algbw),
                Giga(algbw * row.bus_factor), row.wrong ? fmt::to_string(*row.wrong) : "N/A",
                fmt::format("{:.0f}", row.wire_bytes), row.ratio > 0 ? fmt::format("{:.1f}", row.ratio) : "-",
                Micro(row.p99_seconds()), Percent(row.encode_seconds, time), Percent(row.exchange_seconds, time),
                Percent(row.decode_seconds, time), fmt::format("{:.2g}", row.error_one_round),
                fmt::format("{:.2g}", row.error_after_rounds), BreakEven(row)});
}

std::string MemcpyLine(const std::vector<Column>& columns, const MemcpyRow& row) {
  const double time = Median(row.seconds);
  std::vector<std::string> cells(columns.size(), "-");
  cells[0] = fmt::to_string(row.size_bytes), cells[1] = fmt::to_string(row.size_bytes / sizeof(float));
  cells[2] = "float", cells[3] = "memcpy", cells[4] = Micro(time);
  cells[5] = Giga(static_cast<double>(row.size_bytes) / time);
  cells[10] = Micro(Percentile(row.seconds, 0.99));
  return FormatRow(columns, cells);
}

nlohmann::ordered_json CollectiveJson(const CollectiveOptions& options, const Launch& launch,
                                      const std::string& command, const std::vector<MemcpyRow>& copies,
                                      const std::vector<CollectiveRow>& rows, const std::vector<SkippedRow>& skipped) {
  nlohmann::ordered_json json = {{"schema", "laconic-bench"},
                                 {"version", 1},
                                 {"kind", PatternName(options.pattern)},
                                 {"command", command},
                                 {"date", UtcNow()},
                                 {"machine", DescribeMachine()},
                                 {"ranks", launch.ranks},
                                 {"backend", BackendName(launch.backend)},
                                 {"link", nullptr},
                                 {"seed", options.seed},
                                 {"warmup", options.warmup},
                                 {"repetitions", options.repetitions}};
  if (options.link) {
    json["link"] = {{"text", options.link->ToString()},
                    {"bits_per_second", options.link->bits_per_second},
                    {"round_trip_seconds", absl::ToDoubleSeconds(options.link->round_trip)}};
  }
  json["rows"] = nlohmann::ordered_json::array();
  for (const CollectiveRow& row : rows) {
    const double time = row.median_seconds(), algbw = static_cast<double>(row.size_bytes) / time;
    nlohmann::ordered_json object = {{"spec", row.spec},
                                     {"runs_as", row.runs_as},
                                     {"baseline", row.baseline},
                                     {"size_bytes", row.size_bytes},
                                     {"count", row.count},
                                     {"type", "float"},
                                     {"time_seconds", time},
                                     {"p99_seconds", row.p99_seconds()},
                                     {"times_seconds", row.seconds},
                                     {"algbw_bytes_per_second", algbw},
                                     {"busbw_bytes_per_second", algbw * row.bus_factor},
                                     {"wrong", nullptr},
                                     {"wire_bytes_per_rank", row.wire_bytes},
                                     {"ratio", row.ratio},
                                     {"encode_seconds", row.encode_seconds},
                                     {"exchange_seconds", row.exchange_seconds},
                                     {"decode_seconds", row.decode_seconds},
                                     {"error_one_round", row.error_one_round},
                                     {"rounds", options.rounds},
                                     {"rounds_size_bytes", row.rounds_size_bytes},
                                     {"error_after_rounds", row.error_after_rounds},
                                     {"break_even_bits_per_second", nullptr}};
    if (row.wrong) object["wrong"] = *row.wrong;
    if (row.break_even_bits_per_second) object["break_even_bits_per_second"] = *row.break_even_bits_per_second;
    json["rows"].push_back(std::move(object));
  }
  json["memcpy"] = nlohmann::ordered_json::array();
  for (const MemcpyRow& row : copies) {
    json["memcpy"].push_back(
        {{"size_bytes", row.size_bytes}, {"time_seconds", Median(row.seconds)}, {"times_seconds", row.seconds}});
  }
  json["skipped"] = nlohmann::ordered_json::array();
  for (const SkippedRow& row : skipped) {
    json["skipped"].push_back({{"spec", row.spec}, {"size_bytes", row.size_bytes}, {"reason", row.reason}});
  }
  return json;
}

}  // namespace laconic::tools
