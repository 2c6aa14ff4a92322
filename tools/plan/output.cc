#include "tools/plan/output.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "fmt/format.h"
#include "nlohmann/json.hpp"
#include "tools/table.h"
#include "tools/text.h"

namespace laconic::tools {
namespace {

using Json = nlohmann::ordered_json;

std::string Milliseconds(double seconds) {
  const double ms = 1e3 * seconds;
  return ms < 10 ? fmt::format("{:.3f}", ms) : ms < 1000 ? fmt::format("{:.1f}", ms) : fmt::format("{:.0f}", ms);
}

std::string Megabytes(uint64_t bytes) { return fmt::format("{:.3g}", static_cast<double>(bytes) / 1e6); }

std::string BreakEven(const PlanFindings& findings, size_t plan) {
  const double rate = findings.break_even_bits_per_second[plan];
  if (findings.plans[plan].dense) return "-";
  if (rate == 0) return "never wins";
  return std::isinf(rate) ? "always wins" : FormatBitRate(rate);
}

// The fastest of those that compress.
std::optional<size_t> FastestCompressed(const PlanFindings& findings) {
  std::optional<size_t> fastest;
  for (size_t i = 0; i < findings.plans.size(); ++i) {
    const SpecPlan& plan = findings.plans[i];
    if (plan.dense) continue;
    if (!fastest || plan.communication_seconds() < findings.plans[*fastest].communication_seconds()) fastest = i;
  }
  return fastest;
}

std::string AdviceForDense(const PlanFindings& findings) {
  const SpecPlan& dense = findings.plans.front();
  if (dense.step_seconds <= 1.02 * findings.setting.compute_seconds) {
    return fmt::format(
        "Stay with dense: its {} ms of communication hide behind {} ms of computation, so that no compression could "
        "make "
        "a step shorter.",
        Milliseconds(dense.communication_seconds()), Milliseconds(findings.setting.compute_seconds));
  }
  const std::optional<size_t> fastest = FastestCompressed(findings);
  if (!fastest) return "Dense is all that was asked for.";
  const SpecPlan& compressed = findings.plans[*fastest];
  const double rate = findings.break_even_bits_per_second[*fastest];
  return fmt::format(
      "Stay with dense: it communicates in {} ms, and the fastest compressed spec, {}, needs {} ms, {} ms of which are "
      "codec and memory time that the bytes it saves do not repay at {}.{}",
      Milliseconds(dense.communication_seconds()), compressed.spec, Milliseconds(compressed.communication_seconds()),
      Milliseconds(compressed.compute_seconds), FormatBitRate(findings.setting.link.bits_per_second),
      rate > 0 && std::isfinite(rate) ? fmt::format(" Below {} it would pay.", FormatBitRate(rate)) : "");
}

std::string CellsHead(const PlanFindings& findings) {
  const Setting& setting = findings.setting;
  std::string text = fmt::format(
      "{}: {} {}, {:.4g} M elements, {:.4g} MB of float32\n", findings.model.name, findings.model.tensors.size(),
      findings.model.tensors.size() == 1 ? "tensor" : "tensors", static_cast<double>(findings.model.elements()) / 1e6,
      4 * static_cast<double>(findings.model.elements()) / 1e6);
  if (findings.link_given) {
    text +=
        fmt::format("link: {}, {:.1f} % of it payload; {} ranks, {} on this machine of {} cores\n", findings.link_text,
                    100 * setting.link.efficiency, setting.ranks, findings.local_ranks, findings.cores);
  } else {
    text +=
        fmt::format("link: {}; {} a rank each way, {:.0f} us an exchange; {} ranks, {} on this machine of {} cores\n",
                    findings.link_text, FormatBitRate(setting.link.bits_per_second),
                    1e6 * setting.host.exchange_seconds, setting.ranks, findings.local_ranks, findings.cores);
  }
  text += setting.compute_seconds > 0
              ? fmt::format("step: {} ms of computation, communication {}\n", Milliseconds(setting.compute_seconds),
                            setting.overlap ? "of ready buckets hidden behind backward" : "after it")
              : "step: communication alone (--step-ms adds the computation it hides behind)\n";
  text +=
      "codecs: measured here on Gaussian data, error feedback included; one message's error is what compensation "
      "repays later\n\n";
  return text;
}

}  // namespace

std::string Advice(const PlanFindings& findings) {
  const size_t best = BestPlan(findings.plans);
  const SpecPlan &dense = findings.plans.front(), &plan = findings.plans[best];
  if (plan.dense) return AdviceForDense(findings);
  const double rate = findings.break_even_bits_per_second[best];
  const std::string until = std::isfinite(rate) && rate > 0
                                ? fmt::format(" It stays ahead of dense on links below {}.", FormatBitRate(rate))
                                : "";
  return fmt::format(
      "Take {}: {} ms a step instead of {} ms with dense ({:.2g}x), {} MB sent by a rank instead of {} MB.{} One "
      "message "
      "loses {:.2g} of the gradient's norm; try its effect on your training before you rely on it.",
      plan.spec, Milliseconds(plan.step_seconds), Milliseconds(dense.step_seconds),
      dense.step_seconds / plan.step_seconds, Megabytes(plan.wire_bytes), Megabytes(dense.wire_bytes), until,
      plan.relative_error);
}

std::string PlanText(const PlanFindings& findings) {
  const std::vector<Column> columns = {{"spec", "", 0, true},      {"runs as", "", 0, true}, {"step", "ms"},
                                       {"speed-up", "x"},          {"codec", "ms"},          {"wire", "ms"},
                                       {"sent", "MB/rank"},        {"ratio", "x"},           {"error", "one message"},
                                       {"break-even", "link rate"}};
  std::vector<std::vector<std::string>> cells;
  const SpecPlan& dense = findings.plans.front();
  const size_t best = BestPlan(findings.plans);
  for (size_t i = 0; i < findings.plans.size(); ++i) {
    const SpecPlan& plan = findings.plans[i];
    cells.push_back({(i == best ? "* " : "  ") + plan.spec, plan.runs_as, Milliseconds(plan.step_seconds),
                     fmt::format("{:.2f}", dense.step_seconds / plan.step_seconds), Milliseconds(plan.compute_seconds),
                     Milliseconds(plan.exchange_seconds), Megabytes(plan.wire_bytes),
                     fmt::format("{:.3g}", static_cast<double>(dense.wire_bytes) /
                                               std::max(1.0, static_cast<double>(plan.wire_bytes))),
                     plan.dense ? "0" : fmt::format("{:.3f}", plan.relative_error), BreakEven(findings, i)});
  }
  return CellsHead(findings) + FormatTable(columns, cells) + "\n" + Advice(findings) + "\n";
}

std::string PlanJson(const PlanFindings& findings) {
  const Setting& setting = findings.setting;
  Json json = {{"schema", "laconic-plan"}, {"version", 1}};
  json["model"] = {{"name", findings.model.name},
                   {"tensors", findings.model.tensors.size()},
                   {"elements", findings.model.elements()}};
  json["ranks"] = setting.ranks;
  json["local_ranks"] = findings.local_ranks;
  json["cores"] = findings.cores;
  json["link"] = {{"text", findings.link_text},
                  {"given", findings.link_given},
                  {"bits_per_second", setting.link.bits_per_second},
                  {"round_trip_seconds", setting.link.round_trip_seconds},
                  {"efficiency", setting.link.efficiency},
                  {"burst_bytes", setting.link.burst_bytes},
                  {"exchange_seconds", setting.host.exchange_seconds}};
  json["compute_seconds"] = setting.compute_seconds;
  json["overlap"] = setting.overlap;
  json["rows"] = Json::array();
  const SpecPlan& dense = findings.plans.front();
  for (size_t i = 0; i < findings.plans.size(); ++i) {
    const SpecPlan& plan = findings.plans[i];
    const double rate = findings.break_even_bits_per_second[i];
    Json row = {{"spec", plan.spec},
                {"runs_as", plan.runs_as},
                {"step_seconds", plan.step_seconds},
                {"speed_up", dense.step_seconds / plan.step_seconds},
                {"codec_seconds", plan.compute_seconds},
                {"wire_seconds", plan.exchange_seconds},
                {"wire_bytes_per_rank", plan.wire_bytes},
                {"buckets", plan.buckets},
                {"error", plan.relative_error}};
    row["break_even_bits_per_second"] = rate > 0 && std::isfinite(rate) ? Json(rate) : Json(nullptr);
    row["wins"] = plan.dense ? "-" : rate == 0 ? "never" : std::isinf(rate) ? "always" : "below break-even";
    json["rows"].push_back(std::move(row));
  }
  json["best"] = findings.plans[BestPlan(findings.plans)].spec;
  json["advice"] = Advice(findings);
  return json.dump(2) + "\n";
}

std::string ValidationText(const Validation& validation, double tolerance, double regret) {
  std::vector<std::vector<std::string>> cells;
  size_t beyond = 0;
  for (const ValidatedRow& row : validation.rows) {
    const bool fine = std::abs(row.difference()) <= tolerance;
    beyond += !fine;
    cells.push_back({row.spec, row.runs_as, FormatBytes(row.size_bytes), Milliseconds(row.measured_seconds),
                     Milliseconds(row.predicted_seconds), fmt::format("{:+.1f} %", 100 * row.difference()),
                     fine ? "" : "BEYOND"});
  }
  std::string text = FormatTable({{"spec", "", 0, true},
                                  {"runs as", "", 0, true},
                                  {"size", "bytes"},
                                  {"measured", "ms"},
                                  {"predicted", "ms"},
                                  {"difference", ""},
                                  {"", ""}},
                                 cells);
  for (const ValidatedChoice& choice : validation.choices) {
    text += fmt::format("at {}: predicted best {}, measured best {}: {:.1f} % slower than it{}\n",
                        FormatBytes(choice.size_bytes), choice.chosen, choice.fastest, 100 * choice.regret,
                        choice.regret <= regret ? "" : " (BEYOND)");
  }
  return text + fmt::format("{} of {} rows beyond {:g} %; {} left out.\n", beyond, validation.rows.size(),
                            100 * tolerance, validation.left_out);
}

std::string ValidationJson(const Validation& validation, double tolerance, double regret) {
  Json json = {
      {"schema", "laconic-plan-validation"}, {"version", 1}, {"tolerance", tolerance}, {"most_regret", regret}};
  json["within"] = validation.Within(tolerance, regret);
  json["rows"] = Json::array();
  for (const ValidatedRow& row : validation.rows) {
    json["rows"].push_back({{"spec", row.spec},
                            {"runs_as", row.runs_as},
                            {"size_bytes", row.size_bytes},
                            {"measured_seconds", row.measured_seconds},
                            {"predicted_seconds", row.predicted_seconds},
                            {"difference", row.difference()}});
  }
  json["choices"] = Json::array();
  for (const ValidatedChoice& choice : validation.choices) {
    json["choices"].push_back({{"size_bytes", choice.size_bytes},
                               {"chosen", choice.chosen},
                               {"fastest", choice.fastest},
                               {"regret", choice.regret}});
  }
  json["left_out"] = validation.left_out;
  return json.dump(2) + "\n";
}

}  // namespace laconic::tools
