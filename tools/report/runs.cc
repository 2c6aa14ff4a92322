#include "tools/report/runs.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "nlohmann/json.hpp"

namespace laconic::tools {
namespace {

using Json = nlohmann::json;

absl::StatusOr<RunRecord> ParseRun(const Json& json) {
  if (!json.is_object()) return absl::InvalidArgumentError("is no object");
  RunRecord run;
  for (const auto& [key, value] : json.items()) {
    if (value.is_number()) run.figures[key] = value.get<double>();
    if (value == "diverged") run.figures[key] = std::numeric_limits<double>::infinity();
  }
  const auto text = [&](const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  run.label = text("label").empty() ? text("spec") : text("label");
  run.where = text("case");
  if (run.label.empty()) return absl::InvalidArgumentError("has neither label nor spec");
  if (const auto seed = run.figures.extract("seed"); !seed.empty()) run.seed = seed.mapped();

  const auto curve = json.find("curve");
  if (curve == json.end()) return run;
  if (!curve->is_object()) return absl::InvalidArgumentError("\"curve\" is no object");
  for (const auto& [key, values] : curve->items()) {
    if (!values.is_array()) return absl::InvalidArgumentError(fmt::format("curve \"{}\" is no array", key));
    std::vector<double>& points = run.curve[key];
    for (const Json& value : values) {
      points.push_back(value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN());
    }
    if (points.size() != run.curve.begin()->second.size()) {
      return absl::InvalidArgumentError(fmt::format("curve \"{}\" has {} points and \"{}\" {}", key, points.size(),
                                                    run.curve.begin()->first, run.curve.begin()->second.size()));
    }
  }
  return run;
}

// Runs that differ in their seeds only, in the order in which the first of each comes.
struct Group {
  std::string label, where;
  std::vector<const RunRecord*> runs;
};
std::vector<Group> GroupsOf(std::span<const RunRecord> runs) {
  std::vector<Group> groups;
  for (const RunRecord& run : runs) {
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const Group& g) { return g.label == run.label && g.where == run.where; });
    if (group == groups.end()) group = groups.insert(groups.end(), {run.label, run.where, {}});
    group->runs.push_back(&run);
  }
  return groups;
}

// Different values of a text of the groups, in their order.
std::vector<std::string> Different(const std::vector<Group>& groups, std::string Group::*text) {
  std::vector<std::string> values;
  for (const Group& group : groups) {
    if (std::find(values.begin(), values.end(), group.*text) == values.end()) values.push_back(group.*text);
  }
  return values;
}

struct Moments {
  size_t count = 0;
  double mean = 0, deviation = 0;  // of the sample, 0 for one
};
Moments MomentsOf(const std::vector<double>& values) {
  Moments moments = {.count = values.size()};
  for (const double value : values) moments.mean += value / static_cast<double>(values.size());
  for (const double value : values) moments.deviation += (value - moments.mean) * (value - moments.mean);
  moments.deviation = values.size() > 1 ? std::sqrt(moments.deviation / static_cast<double>(values.size() - 1)) : 0;
  return moments;
}

PlotPoint PointOf(const std::vector<double>& xs, const std::vector<double>& ys) {
  const auto [low, high] = std::minmax_element(ys.begin(), ys.end());
  return {MomentsOf(xs).mean, MomentsOf(ys).mean, *low, *high};
}

std::vector<PlotPoint> CurveOf(const Group& group, std::string_view x, std::string_view y) {
  std::vector<PlotPoint> points;
  for (size_t i = 0;; ++i) {
    std::vector<double> xs, ys;
    for (const RunRecord* run : group.runs) {
      const auto at_x = run->curve.find(x), at_y = run->curve.find(y);
      if (at_x == run->curve.end() || at_y == run->curve.end() || i >= at_x->second.size()) continue;
      xs.push_back(at_x->second[i]);
      ys.push_back(at_y->second[i]);
    }
    if (xs.empty()) return points;
    points.push_back(PointOf(xs, ys));
  }
}

std::vector<double> FigureOf(const Group& group, std::string_view key) {
  std::vector<double> values;
  for (const RunRecord* run : group.runs) {
    if (const auto found = run->figures.find(key); found != run->figures.end()) values.push_back(found->second);
  }
  return values;
}

std::string Number(double value, std::string_view figure) {
  if (figure.ends_with("_bytes")) return fmt::format("{:.4g} MB", value / 1e6);
  if (figure.ends_with("accuracy")) return fmt::format("{:.2f} %", 100 * value);
  return fmt::format("{:.4g}", value);
}

std::string Cell(const std::vector<double>& values, std::string_view figure, const std::vector<double>& base) {
  if (values.empty()) return "-";
  const Moments moments = MomentsOf(values);
  if (!std::isfinite(moments.mean)) return "diverged";
  const bool per_cent = figure.ends_with("accuracy"), bytes = figure.ends_with("_bytes");
  std::string text = Number(moments.mean, figure);
  if (moments.count > 1 && !bytes) {
    text += per_cent ? fmt::format(" ± {:.2f}", 100 * moments.deviation) : fmt::format(" ± {:.2g}", moments.deviation);
  }
  const double other = base.empty() ? 0 : MomentsOf(base).mean;
  if (other == 0 || moments.mean == 0 || !std::isfinite(other)) return text;
  if (bytes) return text + fmt::format(" ({:.3g}x fewer)", other / moments.mean);
  if (per_cent) return text + fmt::format(" ({:+.2f})", 100 * (moments.mean - other));
  return text + fmt::format(" ({:+.1f} %)", 100 * (moments.mean / other - 1));
}

}  // namespace

absl::StatusOr<std::vector<RunRecord>> ReadRuns(const std::string& path) {
  std::ifstream in(path);
  if (!in) return absl::NotFoundError(fmt::format("{} cannot be read", path));
  const Json json = Json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("runs") || !json["runs"].is_array()) {
    return absl::InvalidArgumentError(fmt::format("{}: no JSON with \"runs\" (train --json writes one)", path));
  }
  std::vector<RunRecord> runs;
  for (const Json& run : json["runs"]) {
    absl::StatusOr<RunRecord> parsed = ParseRun(run);
    if (!parsed.ok()) return Annotate(parsed.status(), fmt::format("{}: run {}", path, runs.size()));
    runs.push_back(*std::move(parsed));
  }
  return runs;
}

absl::StatusOr<std::vector<PlotLine>> LinesOf(std::span<const RunRecord> runs, std::string_view x, std::string_view y) {
  const std::vector<Group> groups = GroupsOf(runs);
  std::vector<PlotLine> curves, figures;
  const bool cases = Different(groups, &Group::where).size() > 1;
  for (const Group& group : groups) {
    std::vector<PlotPoint> points = CurveOf(group, x, y);
    if (!points.empty()) {
      curves.push_back({cases ? fmt::format("{}, {}", group.label, group.where) : group.label, std::move(points)});
    }
    const std::vector<double> xs = FigureOf(group, x), ys = FigureOf(group, y);
    if (xs.empty() || ys.empty()) continue;
    auto line = std::find_if(figures.begin(), figures.end(), [&](const PlotLine& l) { return l.label == group.label; });
    if (line == figures.end()) line = figures.insert(figures.end(), {group.label, {}});
    line->points.push_back(PointOf(xs, ys));
  }
  for (PlotLine& line : figures) {
    std::stable_sort(line.points.begin(), line.points.end(),
                     [](const PlotPoint& a, const PlotPoint& b) { return a.x < b.x; });
  }
  if (curves.empty() && figures.empty()) {
    return absl::InvalidArgumentError(fmt::format("no run has both \"{}\" and \"{}\"", x, y));
  }
  return curves.empty() ? figures : curves;
}

absl::StatusOr<std::string> TableOf(std::span<const RunRecord> runs, std::span<const std::string> figures,
                                    std::string_view against) {
  const std::vector<Group> groups = GroupsOf(runs);
  const std::vector<std::string> labels = Different(groups, &Group::label), cases = Different(groups, &Group::where);
  if (!against.empty() && std::find(labels.begin(), labels.end(), against) == labels.end()) {
    return absl::InvalidArgumentError(fmt::format("no run is called \"{}\"", against));
  }
  const auto values = [&](std::string_view label, const std::string& where, const std::string& figure) {
    for (const Group& group : groups) {
      if (group.label == label && group.where == where) return FigureOf(group, figure);
    }
    return std::vector<double>();
  };
  for (const std::string& figure : figures) {
    if (std::none_of(runs.begin(), runs.end(), [&](const RunRecord& run) { return run.figures.contains(figure); })) {
      return absl::InvalidArgumentError(fmt::format("no run has a figure \"{}\"", figure));
    }
  }

  std::string header = "| method |", rule = "|---|", rows;
  for (const std::string& where : cases) {
    for (const std::string& figure : figures) {
      header += where.empty()
                    ? fmt::format(" {} |", figure)
                    : fmt::format(" {}{}{} |", where, figures.size() > 1 ? ": " : "", figures.size() > 1 ? figure : "");
      rule += "---|";
    }
  }
  for (const std::string& label : labels) {
    rows += fmt::format("| {} |", label);
    for (const std::string& where : cases) {
      for (const std::string& figure : figures) {
        const bool compare = !against.empty() && label != against;
        const std::vector<double> base = compare ? values(against, where, figure) : std::vector<double>();
        rows += fmt::format(" {} |", Cell(values(label, where, figure), figure, base));
      }
    }
    rows += "\n";
  }
  return header + "\n" + rule + "\n" + rows;
}

}  // namespace laconic::tools
