#include "tools/report/page.h"

#include <cmath>

#include "fmt/format.h"
#include "nlohmann/json.hpp"
#include "tools/report/assets.h"

namespace laconic::tools {
namespace {

using Json = nlohmann::ordered_json;

// NaN has no JSON; a gap is null.
Json Numbers(const std::vector<double>& values) {
  Json json = Json::array();
  for (double value : values) json.push_back(std::isfinite(value) ? Json(value) : Json(nullptr));
  return json;
}

Json ChartJson(const Chart& chart) {
  static constexpr const char* kTypes[] = {"lines", "stacked", "grouped", "scatter"};
  Json json = {{"type", kTypes[static_cast<int>(chart.type)]},
               {"title", chart.title},
               {"xLabel", chart.x_label},
               {"yLabel", chart.y_label},
               {"xLog", chart.x_log},
               {"yLog", chart.y_log},
               {"x", Numbers(chart.x)},
               {"categories", chart.categories},
               {"series", Json::array()},
               {"marks", Json::array()}};
  for (const Series& series : chart.series) {
    json["series"].push_back({{"label", series.label}, {"values", Numbers(series.values)}, {"names", series.names}});
  }
  for (const Mark& mark : chart.marks) json["marks"].push_back({{"x", mark.x}, {"y", mark.y}, {"text", mark.text}});
  json["level"] = chart.level ? Json(*chart.level) : Json(nullptr);
  return json;
}

// JSON that may stand in a script element: no "</script>" or "<!--" can appear in it. Bytes that are no UTF-8 are
// replaced.
std::string ScriptJson(const Json& json) {
  std::string text = json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
  for (size_t at = 0; (at = text.find('<', at)) != std::string::npos; at += 6) text.replace(at, 1, "\\u003c");
  return text;
}

std::string Facts(const ResultFile& file) {
  std::string html = "<dl>";
  const auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) html += fmt::format("<dt>{}</dt><dd>{}</dd>", name, EscapeHtml(value));
  };
  add("setting", file.Setting());
  add("command", file.command);
  add("machine", fmt::format("{}, {} cores{}", file.cpu.empty() ? "unknown CPU" : file.cpu, file.cores,
                             file.kernels.empty() ? "" : ", kernels " + file.kernels));
  add("laconic", file.laconic);
  add("date", file.date);
  return html + "</dl>\n";
}

}  // namespace

bool HaveUplot() { return !assets::kUplotJs.empty(); }

std::string EscapeHtml(std::string_view text) {
  std::string html;
  for (char c : text) {
    switch (c) {
      case '<':
        html += "&lt;";
        break;
      case '>':
        html += "&gt;";
        break;
      case '&':
        html += "&amp;";
        break;
      case '"':
        html += "&quot;";
        break;
      case '\'':
        html += "&#39;";
        break;
      default:
        html += c;
    }
  }
  return html;
}

std::string ReportPage(std::span<const ResultFile> files) {
  std::string body;
  Json charts = Json::array();
  for (const ResultFile& file : files) {
    body += fmt::format("<section>\n<h2>{}</h2>\n{}", EscapeHtml(file.name), Facts(file));
    const std::vector<Section> sections = SectionsOf(file);
    if (sections.empty()) body += "<p class=\"note\">This file has no rows.</p>\n";
    for (const Section& section : sections) {
      body += fmt::format("<article>\n<h3>{}</h3>\n<figure>\n", EscapeHtml(section.chart.title));
      if (HaveUplot()) {
        body += fmt::format("<div class=\"chart\" data-chart=\"{}\" role=\"img\" aria-label=\"{}\"></div>\n",
                            charts.size(), EscapeHtml(section.chart.title));
      }
      body += fmt::format("<figcaption>{}</figcaption>\n</figure>\n{}</article>\n", EscapeHtml(section.chart.caption),
                          HtmlTable(section.header, section.rows));
      charts.push_back(ChartJson(section.chart));
    }
    body += "</section>\n";
  }
  return WholePage({.title = "Laconic: measurements", .body = std::move(body), .script = assets::kReportJs}, charts);
}

std::string HtmlTable(std::span<const std::string> header, std::span<const std::vector<std::string>> rows) {
  std::string html = "<div class=\"table\"><table>\n<thead><tr>";
  for (const std::string& cell : header) html += "<th scope=\"col\">" + EscapeHtml(cell) + "</th>";
  html += "</tr></thead>\n<tbody>\n";
  for (const std::vector<std::string>& row : rows) {
    html += "<tr>";
    for (size_t i = 0; i < row.size(); ++i) {
      const char* tag = i == 0 ? "th scope=\"row\"" : "td";
      html += fmt::format("<{}>{}</{}>", tag, EscapeHtml(row[i]), i == 0 ? "th" : "td");
    }
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string WholePage(const PageParts& parts, const nlohmann::ordered_json& data) {
  const std::string title = EscapeHtml(parts.title);
  std::string page =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<title>" +
      title + "</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n";
  page += assets::kUplotCss;
  page += assets::kReportCss;
  page += "</style>\n</head>\n<body>\n<h1>" + title + "</h1>\n";
  if (!HaveUplot()) {
    page +=
        "<p class=\"note\">Charts are left out: this laconic was built without uPlot (configure with "
        "-DLACONIC_UPLOT_DIR=.../node_modules/uplot). Every figure is in the tables.</p>\n";
  }
  page += parts.body;
  if (HaveUplot()) {
    page += fmt::format("<script type=\"application/json\" id=\"data\">{}</script>\n", ScriptJson(data));
    for (const std::string_view script : {assets::kUplotJs, assets::kLookJs, parts.script}) {
      page += "<script>\n";
      page += script;
      page += "</script>\n";
    }
  }
  return page + "</body>\n</html>\n";
}

}  // namespace laconic::tools
