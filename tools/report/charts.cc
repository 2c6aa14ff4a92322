#include "tools/report/charts.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "fmt/format.h"
#include "tools/text.h"

namespace laconic::tools {
namespace {

constexpr double kSlowestLink = 1e6, kFastestLink = 1e12;
constexpr int kRatesPerDecade = 10;

using Rows = std::vector<const CollectiveResult*>;

std::string Number(double value) { return std::isnan(value) ? "-" : value == 0 ? "0" : fmt::format("{:.3g}", value); }
std::string Milliseconds(double seconds) { return Number(1e3 * seconds); }

// The specs of a file in its order, dense first.
std::vector<std::string> SpecsOf(const ResultFile& file) {
  std::vector<std::string> specs;
  const auto add = [&](bool baseline) {
    for (const CollectiveResult& row : file.collectives) {
      if (row.baseline == baseline && std::find(specs.begin(), specs.end(), row.spec) == specs.end()) {
        specs.push_back(row.spec);
      }
    }
  };
  add(true);
  add(false);
  return specs;
}

// Rows of the largest size, dense first.
Rows LargestRows(const ResultFile& file) {
  uint64_t largest = 0;
  for (const CollectiveResult& row : file.collectives) largest = std::max(largest, row.size_bytes);
  Rows rows;
  for (const CollectiveResult& row : file.collectives) {
    if (row.size_bytes == largest) rows.push_back(&row);
  }
  std::stable_partition(rows.begin(), rows.end(), [](const CollectiveResult* row) { return row->baseline; });
  return rows;
}

Section TimeAgainstSize(const ResultFile& file) {
  Section section{
      .chart = {.title = "Time against size",
                .caption = "Median time of one step of one tensor: the gradient in, the direction out, error "
                           "control included. Both axes are logarithmic: a straight line of slope 1 is a "
                           "constant rate, a flat one is latency. Lower is better.",
                .x_label = "gradient (bytes of float32)",
                .y_label = "time (ms)",
                .x_log = true,
                .y_log = true},
      .header = {"spec", "size (bytes)", "time (ms)", "p99 (ms)", "algbw (GB/s)", "busbw (GB/s)", "wrong"}};
  std::map<uint64_t, size_t> position;
  for (const CollectiveResult& row : file.collectives) position[row.size_bytes];
  for (auto& [size, index] : position) {
    index = section.chart.x.size();
    section.chart.x.push_back(static_cast<double>(size));
  }
  for (const std::string& spec : SpecsOf(file)) {
    Series series{.label = spec, .values = std::vector<double>(section.chart.x.size(), kNoValue)};
    for (const CollectiveResult& row : file.collectives) {
      if (row.spec == spec && row.time_seconds > 0) series.values[position[row.size_bytes]] = 1e3 * row.time_seconds;
    }
    section.chart.series.push_back(std::move(series));
  }
  for (const CollectiveResult& row : file.collectives) {
    section.rows.push_back({row.spec, FormatBytes(row.size_bytes), Milliseconds(row.time_seconds),
                            Milliseconds(row.p99_seconds), Number(row.algbw_bytes_per_second / 1e9),
                            Number(row.busbw_bytes_per_second / 1e9), row.wrong ? fmt::format("{}", *row.wrong) : "-"});
  }
  return section;
}

Section Shares(const Rows& rows) {
  Section section{
      .chart = {.title = fmt::format("Where the time goes, at {}", FormatBytes(rows.front()->size_bytes)),
                .caption = "Medians of the slowest rank. Encode: forming the message, encoding, leaving the "
                           "residual. Exchange: inside the transport, waiting included. Decode: decoding "
                           "and averaging. Other: what is left of the step, mostly error control's commit.",
                .type = ChartType::kStacked,
                .y_label = "time (ms)",
                .series = {{"encode"}, {"exchange"}, {"decode"}, {"other"}}},
      .header = {"spec", "runs as", "encode (ms)", "exchange (ms)", "decode (ms)", "other (ms)", "whole (ms)"}};
  for (const CollectiveResult* row : rows) {
    const double other =
        std::max(0.0, row->time_seconds - row->encode_seconds - row->exchange_seconds - row->decode_seconds);
    const double parts[] = {row->encode_seconds, row->exchange_seconds, row->decode_seconds, other};
    section.chart.categories.push_back(row->spec);
    section.rows.push_back({row->spec, row->runs_as});
    for (size_t i = 0; i < 4; ++i) {
      section.chart.series[i].values.push_back(1e3 * parts[i]);
      section.rows.back().push_back(Milliseconds(parts[i]));
    }
    section.rows.back().push_back(Milliseconds(row->time_seconds));
  }
  return section;
}

std::optional<Section> SpeedUpAgainstLink(const Rows& rows) {
  const CollectiveResult& dense = *rows.front();
  if (!dense.baseline || rows.size() < 2) return std::nullopt;
  Section section{
      .chart = {.title = fmt::format("Speed-up over dense against link rate, at {}", FormatBytes(dense.size_bytes)),
                .caption = "A model, not a measurement: time = what this run measured outside of the exchange + wire "
                           "bytes / link rate, for each spec and for dense; latency is left out. Above 1 compression "
                           "pays. The crossings with 1 are marked: right of its mark a spec loses to dense.",
                .x_label = "payload rate of each rank's link (bit/s)",
                .y_label = "speed-up (x)",
                .x_log = true,
                .y_log = true,
                .level = 1},
      .header = {"spec", "wire (MB/rank)", "ratio (x)", "outside exchange (ms)", "crossing (link rate)",
                 "speed-up at 100 Mbit/s", "at 1 Gbit/s", "at 10 Gbit/s", "at 100 Gbit/s"}};
  const int steps = static_cast<int>(std::lround(std::log10(kFastestLink / kSlowestLink))) * kRatesPerDecade;
  for (int i = 0; i <= steps; ++i) {
    section.chart.x.push_back(kSlowestLink * std::pow(10, static_cast<double>(i) / kRatesPerDecade));
  }
  for (const CollectiveResult* row : rows) {
    if (row->baseline) continue;
    const auto speed_up = [&](double rate) { return SecondsOnLink(dense, rate) / SecondsOnLink(*row, rate); };
    Series series{.label = row->spec};
    for (double rate : section.chart.x) series.values.push_back(speed_up(rate));
    section.chart.series.push_back(std::move(series));
    const double crossing = CrossingBitsPerSecond(dense, *row);
    if (crossing >= kSlowestLink && crossing <= kFastestLink) {
      section.chart.marks.push_back({crossing, 1, fmt::format("{}: {}", row->spec, FormatBitRate(crossing))});
    }
    section.rows.push_back({row->spec, Number(row->wire_bytes_per_rank / 1e6), Number(row->ratio),
                            Milliseconds(std::max(0.0, row->time_seconds - row->exchange_seconds)),
                            crossing == 0          ? "never wins"
                            : std::isinf(crossing) ? "always wins"
                                                   : FormatBitRate(crossing),
                            Number(speed_up(1e8)), Number(speed_up(1e9)), Number(speed_up(1e10)),
                            Number(speed_up(1e11))});
  }
  return section;
}

// ratios[i] and errors[i] of names[i], as points and their front.
std::optional<Chart> ErrorAgainstRatio(std::string title, std::string caption, std::string y_label,
                                       const std::vector<std::string>& names, const std::vector<double>& ratios,
                                       const std::vector<double>& errors) {
  std::vector<size_t> order;
  for (size_t i = 0; i < names.size(); ++i) {
    if (ratios[i] > 0 && errors[i] > 0) order.push_back(i);
  }
  if (order.empty()) return std::nullopt;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return ratios[a] < ratios[b]; });
  Chart chart{.title = std::move(title),
              .caption = std::move(caption),
              .type = ChartType::kScatter,
              .x_label = "ratio: dense bytes / wire bytes (x)",
              .y_label = std::move(y_label),
              .x_log = true,
              .y_log = true};
  std::vector<double> sorted_ratios, sorted_errors;
  Series points{.label = "spec"};
  for (size_t i : order) {
    sorted_ratios.push_back(ratios[i]);
    sorted_errors.push_back(errors[i]);
    points.names.push_back(names[i]);
    chart.marks.push_back({ratios[i], errors[i], names[i]});
  }
  chart.x = sorted_ratios;
  points.values = sorted_errors;
  Series front{.label = std::string(kFront), .values = std::vector<double>(order.size(), kNoValue)};
  for (size_t i : ParetoFront(sorted_ratios, sorted_errors)) front.values[i] = sorted_errors[i];
  chart.series = {std::move(points), std::move(front)};
  return chart;
}

std::vector<Section> Errors(const Rows& rows) {
  std::vector<std::string> names;
  std::vector<double> ratios, once, later;
  int rounds = 0;
  for (const CollectiveResult* row : rows) {
    if (row->baseline) continue;
    names.push_back(row->spec);
    ratios.push_back(row->ratio);
    once.push_back(row->error_one_round);
    later.push_back(row->error_after_rounds);
    rounds = std::max(rounds, row->rounds);
  }
  const std::string reading =
      " Right and down is better; the line joins the specs that no other beats in both. Exact ones, such as dense, "
      "have "
      "no place on a logarithmic axis.";
  const auto table = [&](Section section, const std::vector<double>& errors, const std::string& column) {
    const std::vector<size_t> front = ParetoFront(ratios, errors);
    section.header = {"spec", "ratio (x)", column, "on the front"};
    for (size_t i = 0; i < names.size(); ++i) {
      const bool on_front = std::find(front.begin(), front.end(), i) != front.end();
      section.rows.push_back({names[i], Number(ratios[i]), Number(errors[i]), on_front ? "yes" : ""});
    }
    return section;
  };
  std::vector<Section> sections;
  if (std::optional<Chart> chart = ErrorAgainstRatio(
          "Error of one round against ratio", "|direction - true mean| / |true mean| of the first step." + reading,
          "relative error", names, ratios, once)) {
    sections.push_back(table({.chart = *std::move(chart)}, once, "error of one round"));
  }
  if (std::optional<Chart> chart = ErrorAgainstRatio(
          fmt::format("Error after {} rounds against ratio", rounds),
          fmt::format("The same of the mean direction over {} rounds with the same gradient: what compensation repays.",
                      rounds) +
              reading,
          "relative error", names, ratios, later)) {
    sections.push_back(table({.chart = *std::move(chart)}, later, fmt::format("error after {} rounds", rounds)));
  }
  return sections;
}

std::vector<Section> CodecSections(const ResultFile& file) {
  std::vector<std::string> inputs;
  for (const CodecResult& row : file.codecs) {
    const std::string input = fmt::format("{}, {} elements", row.input, row.elements);
    if (std::find(inputs.begin(), inputs.end(), input) == inputs.end()) inputs.push_back(input);
  }
  std::vector<Section> sections;
  for (const std::string& input : inputs) {
    Section speeds{
        .chart = {.title = "Codec speed on " + input,
                  .caption = "Of float32 input, medians. Encode + residual is the sending side of a step with "
                             "error feedback. The line is memcpy of the same array in the same run; higher "
                             "is better.",
                  .type = ChartType::kGrouped,
                  .y_label = "speed (GB/s)",
                  .series = {{"encode"}, {"encode + residual"}, {"decode-add"}}},
        .header = {"spec", "threads", "encode (GB/s)", "encode + residual (GB/s)", "decode-add (GB/s)", "memcpy (GB/s)",
                   "read (GB/s)", "encode + residual (x memcpy)", "decode-add (x memcpy)"}};
    std::vector<std::string> names;
    std::vector<double> ratios, errors, copies;
    Section loss;
    for (const CodecResult& row : file.codecs) {
      if (fmt::format("{}, {} elements", row.input, row.elements) != input) continue;
      const std::string name = row.threads > 1 ? fmt::format("{}, {} threads", row.spec, row.threads) : row.spec;
      names.push_back(name);
      ratios.push_back(row.bits_per_element > 0 ? 32 / row.bits_per_element : 0);
      errors.push_back(row.error);
      copies.push_back(row.memcpy_bytes_per_second / 1e9);
      const double speed[] = {row.encode_bytes_per_second, row.encode_residual_bytes_per_second,
                              row.decode_add_bytes_per_second};
      speeds.chart.categories.push_back(name);
      for (size_t i = 0; i < 3; ++i) speeds.chart.series[i].values.push_back(speed[i] / 1e9);
      const double copy = row.memcpy_bytes_per_second;
      speeds.rows.push_back({row.spec, fmt::format("{}", row.threads), Number(speed[0] / 1e9), Number(speed[1] / 1e9),
                             Number(speed[2] / 1e9), Number(copy / 1e9), Number(row.read_bytes_per_second / 1e9),
                             copy > 0 ? Number(speed[1] / copy) : "-", copy > 0 ? Number(speed[2] / copy) : "-"});
      loss.rows.push_back({row.spec, Number(row.bits_per_element), Number(ratios.back()), Number(row.error)});
    }
    std::sort(copies.begin(), copies.end());
    if (copies[copies.size() / 2] > 0) speeds.chart.level = copies[copies.size() / 2];
    sections.push_back(std::move(speeds));
    if (std::optional<Chart> chart = ErrorAgainstRatio(
            "Error of one message against ratio, " + input,
            "|x - C(x)| / |x| of one message. Right and down is better; the line joins the codecs that "
            "no other beats in both.",
            "relative error", names, ratios, errors)) {
      loss.chart = *std::move(chart);
      loss.header = {"spec", "bits/element", "ratio (x)", "error"};
      sections.push_back(std::move(loss));
    }
  }
  return sections;
}

}  // namespace

std::vector<Section> SectionsOf(const ResultFile& file) {
  if (file.kind == "codec") return CodecSections(file);
  if (file.collectives.empty()) return {};
  const Rows largest = LargestRows(file);
  std::vector<Section> sections = {TimeAgainstSize(file), Shares(largest)};
  if (std::optional<Section> section = SpeedUpAgainstLink(largest)) sections.push_back(*std::move(section));
  for (Section& section : Errors(largest)) sections.push_back(std::move(section));
  return sections;
}

std::vector<size_t> ParetoFront(const std::vector<double>& ratios, const std::vector<double>& errors) {
  std::vector<size_t> order(ratios.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  // From the largest ratio down a point is on the front if its error is below all before it.
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return ratios[a] != ratios[b] ? ratios[a] > ratios[b] : errors[a] < errors[b]; });
  std::vector<size_t> front;
  double least = std::numeric_limits<double>::infinity();
  for (size_t i : order) {
    if (errors[i] >= least) continue;
    least = errors[i];
    front.push_back(i);
  }
  std::reverse(front.begin(), front.end());
  return front;
}

double SecondsOnLink(const CollectiveResult& row, double bits_per_second) {
  return std::max(0.0, row.time_seconds - row.exchange_seconds) + 8 * row.wire_bytes_per_rank / bits_per_second;
}

double CrossingBitsPerSecond(const CollectiveResult& dense, const CollectiveResult& row) {
  const double saved_bits = 8 * (dense.wire_bytes_per_rank - row.wire_bytes_per_rank);
  const double more_seconds = SecondsOnLink(row, std::numeric_limits<double>::infinity()) -
                              SecondsOnLink(dense, std::numeric_limits<double>::infinity());
  if (saved_bits <= 0) return 0;
  return more_seconds <= 0 ? std::numeric_limits<double>::infinity() : saved_bits / more_seconds;
}

}  // namespace laconic::tools
