#include "tools/fed/summary.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "fmt/format.h"
#include "laconic/base/state.h"
#include "laconic/base/status.h"
#include "nlohmann/json.hpp"
#include "tools/report/fed_page.h"
#include "tools/table.h"

namespace laconic::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

struct FinishedCurve {
  const PlannedRun* run = nullptr;
  FinishedRun result;
  std::vector<Evaluation> evaluations;
};

double MeanOf(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? kNone : sum / static_cast<double>(values.size());
}

Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

// Of the sample; 0 for one value.
double DeviationOf(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  const double mean = MeanOf(values);
  double sum = 0;
  for (const double value : values) sum += (value - mean) * (value - mean);
  return std::sqrt(sum / static_cast<double>(values.size() - 1));
}

// The runs as `laconic report --svg` and `--table` read them.
Json CurvesJson(const std::vector<FinishedCurve>& curves, size_t elements) {
  Json runs = Json::array();
  for (const FinishedCurve& curve : curves) {
    const Evaluation& last = curve.evaluations.back();
    Json points = {{"round", Json::array()},
                   {"uplink_bytes", Json::array()},
                   {"test_accuracy", Json::array()},
                   {"test_loss", Json::array()},
                   {"seconds", Json::array()}};
    for (const Evaluation& e : curve.evaluations) {
      points["round"].push_back(e.round);
      points["uplink_bytes"].push_back(e.uplink_bytes);
      points["test_accuracy"].push_back(Number(e.test_accuracy));
      points["test_loss"].push_back(Number(e.test_loss));
      points["seconds"].push_back(Number(e.seconds));
    }
    Json run = {{"label", curve.run->Label()}, {"seed", curve.run->description.seed}};
    run["test_loss"] = curve.result.error.empty() ? Number(last.test_loss) : Json("diverged");
    if (std::isfinite(last.test_accuracy)) run["test_accuracy"] = last.test_accuracy;
    run["uplink_bytes"] = last.uplink_bytes;
    run["downlink_bytes"] = last.downlink_bytes;
    if (last.updates > 0) {
      run["bits_per_parameter"] =
          8.0 * static_cast<double>(last.uplink_bytes) / static_cast<double>(last.updates * elements);
    }
    run["curve"] = std::move(points);
    runs.push_back(std::move(run));
  }
  return {{"runs", std::move(runs)}};
}

// More is better.
double ScoreOf(const Evaluation& evaluation, bool by_loss) {
  return by_loss ? -evaluation.test_loss : evaluation.test_accuracy;
}

SummaryRow RowOf(const std::vector<const FinishedCurve*>& curves, size_t elements, double target, bool by_loss) {
  SummaryRow row{
      .label = curves[0]->run->Label(), .method = curves[0]->run->method, .compress = curves[0]->run->compress};
  row.runs = curves.size();
  std::vector<double> accuracies, losses, bits, up, down, ratios, to_bytes, to_seconds, rates;
  for (const FinishedCurve* curve : curves) {
    if (!curve->result.error.empty()) row.error = curve->result.error;
    const Evaluation& last = curve->evaluations.back();
    const double plain = 4.0 * static_cast<double>(elements) * static_cast<double>(last.updates);
    const double sent = static_cast<double>(last.uplink_bytes);
    accuracies.push_back(last.test_accuracy);
    losses.push_back(last.test_loss);
    up.push_back(sent);
    down.push_back(static_cast<double>(last.downlink_bytes));
    if (last.updates > 0) {
      bits.push_back(8 * sent / static_cast<double>(last.updates) / static_cast<double>(elements));
      ratios.push_back(plain / sent);
    }
    if (curve->result.real_seconds > 0) {
      rates.push_back(static_cast<double>(curve->result.real_rounds) / curve->result.real_seconds);
    }
    const auto reached = std::find_if(curve->evaluations.begin(), curve->evaluations.end(), [&](const Evaluation& e) {
      return ScoreOf(e, by_loss) >= (by_loss ? -target : target);
    });
    if (reached == curve->evaluations.end()) continue;
    to_bytes.push_back(static_cast<double>(reached->uplink_bytes));
    to_seconds.push_back(reached->seconds);
  }
  row.accuracy = MeanOf(accuracies);
  row.accuracy_deviation = DeviationOf(accuracies);
  row.loss = MeanOf(losses);
  row.bits_per_parameter = MeanOf(bits);
  row.uplink_bytes = MeanOf(up);
  row.downlink_bytes = MeanOf(down);
  row.ratio = MeanOf(ratios);
  row.rounds_per_second = MeanOf(rates);
  if (to_bytes.size() == curves.size()) {
    row.bytes_to_target = MeanOf(to_bytes);
    row.seconds_to_target = MeanOf(to_seconds);
  }
  return row;
}

// The best score that all curves reach, in steps of 0.005 (accuracy) or 1 % (loss) towards what is easier.
double EasiestBest(const std::vector<FinishedCurve>& curves, bool by_loss) {
  double worst = std::numeric_limits<double>::infinity();
  for (const FinishedCurve& curve : curves) {
    if (!curve.result.error.empty()) continue;
    double best = -std::numeric_limits<double>::infinity();
    for (const Evaluation& e : curve.evaluations) best = std::max(best, ScoreOf(e, by_loss));
    worst = std::min(worst, best);
  }
  if (!std::isfinite(worst)) return kNone;
  return by_loss ? -worst * 1.01 : std::floor(worst * 200) / 200;
}

std::string Figure(double value, int digits) {
  return std::isfinite(value) ? fmt::format("{:.{}f}", value, digits) : "-";
}

std::string Significant(double value) {
  if (!std::isfinite(value)) return "-";
  return value >= 100 ? fmt::format("{:.0f}", value) : fmt::format("{:.3g}", value);
}

absl::Status WriteText(const std::string& path, std::string_view text) {
  return WriteFileAtomically(path, std::as_bytes(std::span(text.data(), text.size())));
}

std::string CsvText(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + '"';
}

absl::StatusOr<std::vector<FinishedCurve>> FinishedCurves(const FedFolder& folder) {
  std::vector<FinishedCurve> curves;
  for (const PlannedRun& run : folder.config().runs) {
    LACONIC_ASSIGN_OR_RETURN(const std::optional<FinishedRun> finished, folder.Finished(run.id));
    if (!finished.has_value()) continue;
    LACONIC_ASSIGN_OR_RETURN(std::vector<Evaluation> evaluations, folder.Evaluations(run.id));
    if (evaluations.empty()) continue;
    curves.push_back({.run = &run, .result = *finished, .evaluations = std::move(evaluations)});
  }
  return curves;
}

}  // namespace

absl::StatusOr<Summary> Summarize(const FedFolder& folder) {
  LACONIC_ASSIGN_OR_RETURN(const std::vector<FinishedCurve> curves, FinishedCurves(folder));
  Summary summary;
  const auto classified = [](const FinishedCurve& c) { return std::isfinite(c.evaluations.back().test_accuracy); };
  summary.target_is_loss = std::none_of(curves.begin(), curves.end(), classified);
  summary.has_clock = !folder.config().settings.network.empty();
  summary.target = folder.config().target > 0 ? folder.config().target : EasiestBest(curves, summary.target_is_loss);

  for (size_t i = 0; i < curves.size();) {
    std::vector<const FinishedCurve*> group;
    const std::string label = curves[i].run->Label();
    for (; i < curves.size() && curves[i].run->Label() == label; ++i) group.push_back(&curves[i]);
    summary.rows.push_back(RowOf(group, folder.config().elements(), summary.target, summary.target_is_loss));
  }
  return summary;
}

std::string SummaryTable(const Summary& summary) {
  const std::string target = summary.target_is_loss ? fmt::format("to loss {}", Significant(summary.target))
                                                    : fmt::format("to {} %", Significant(100 * summary.target));
  std::vector<Column> columns = {{.name = "method", .left = true},
                                 {.name = "codec", .left = true},
                                 {.name = "accuracy", .unit = "%"},
                                 {.name = "spread", .unit = "%"},
                                 {.name = "loss"},
                                 {.name = "uplink", .unit = "bits/param"},
                                 {.name = "fewer", .unit = "x fp32"},
                                 {.name = "uplink", .unit = "MB"},
                                 {.name = "downlink", .unit = "MB"},
                                 {.name = target, .unit = "MB up"}};
  if (summary.has_clock) columns.push_back({.name = target, .unit = "sim. s"});
  columns.push_back({.name = "rounds/s", .unit = "real"});
  std::vector<std::vector<std::string>> rows;
  std::string notes;
  for (const SummaryRow& row : summary.rows) {
    const bool spreads = row.runs > 1 && std::isfinite(row.accuracy);
    std::vector<std::string> cells = {row.method,
                                      row.compress,
                                      Figure(100 * row.accuracy, 2),
                                      spreads ? Figure(100 * row.accuracy_deviation, 2) : "-",
                                      Figure(row.loss, 4),
                                      Figure(row.bits_per_parameter, 2),
                                      Figure(row.ratio, 1),
                                      Significant(row.uplink_bytes / 1e6),
                                      Significant(row.downlink_bytes / 1e6),
                                      row.bytes_to_target ? Significant(*row.bytes_to_target / 1e6) : "-"};
    if (summary.has_clock) cells.push_back(row.seconds_to_target ? Significant(*row.seconds_to_target) : "-");
    cells.push_back(Significant(row.rounds_per_second));
    rows.push_back(std::move(cells));
    if (!row.error.empty()) notes += fmt::format("{}: ended early: {}\n", row.label, row.error);
  }
  return FormatTable(columns, rows) + notes;
}

std::string SummaryCsv(const Summary& summary) {
  std::string csv =
      "method,codec,runs,test_accuracy,test_accuracy_deviation,test_loss,uplink_bits_per_parameter,times_fewer_than_"
      "fp32,"
      "uplink_bytes,downlink_bytes,target,uplink_bytes_to_target,simulated_seconds_to_target,rounds_per_second\n";
  const auto number = [](double value) { return std::isfinite(value) ? fmt::format("{}", value) : std::string(); };
  for (const SummaryRow& row : summary.rows) {
    csv += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", CsvText(row.method), CsvText(row.compress),
                       row.runs, number(row.accuracy), number(row.accuracy_deviation), number(row.loss),
                       number(row.bits_per_parameter), number(row.ratio), number(row.uplink_bytes),
                       number(row.downlink_bytes), number(summary.target), number(row.bytes_to_target.value_or(kNone)),
                       number(summary.has_clock ? row.seconds_to_target.value_or(kNone) : kNone),
                       number(row.rounds_per_second));
  }
  return csv;
}

Json SummaryJson(const Summary& summary) {
  Json json = {{"target", Number(summary.target)},
               {"target_is", summary.target_is_loss ? "test_loss" : "test_accuracy"},
               {"rows", Json::array()}};
  for (const SummaryRow& row : summary.rows) {
    json["rows"].push_back(
        {{"label", row.label},
         {"method", row.method},
         {"codec", row.compress},
         {"runs", row.runs},
         {"test_accuracy", Number(row.accuracy)},
         {"test_accuracy_deviation", Number(row.accuracy_deviation)},
         {"test_loss", Number(row.loss)},
         {"uplink_bits_per_parameter", Number(row.bits_per_parameter)},
         {"times_fewer_than_fp32", Number(row.ratio)},
         {"uplink_bytes", Number(row.uplink_bytes)},
         {"downlink_bytes", Number(row.downlink_bytes)},
         {"uplink_bytes_to_target", Number(row.bytes_to_target.value_or(kNone))},
         {"simulated_seconds_to_target", Number(summary.has_clock ? row.seconds_to_target.value_or(kNone) : kNone)},
         {"rounds_per_second", Number(row.rounds_per_second)},
         {"error", row.error}});
  }
  return json;
}

absl::Status WriteSummary(const FedFolder& folder, const Summary& summary) {
  LACONIC_RETURN_IF_ERROR(WriteText(folder.path() + "/results.csv", SummaryCsv(summary)));
  LACONIC_RETURN_IF_ERROR(WriteText(folder.path() + "/results.json", SummaryJson(summary).dump(2) + "\n"));
  LACONIC_ASSIGN_OR_RETURN(const std::vector<FinishedCurve> curves, FinishedCurves(folder));
  LACONIC_RETURN_IF_ERROR(
      WriteText(folder.path() + "/curves.json", CurvesJson(curves, folder.config().elements()).dump() + "\n"));
  LACONIC_RETURN_IF_ERROR(folder.WriteConfig());
  LACONIC_ASSIGN_OR_RETURN(const std::string page, FedPage(folder, summary));
  return WriteText(folder.path() + "/report.html", page);
}

}  // namespace laconic::tools
