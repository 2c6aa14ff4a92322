// Measurements as one HTML page that opens without a network: charts, and a table beside each.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nlohmann/json_fwd.hpp"
#include "tools/report/charts.h"
#include "tools/result_file.h"

namespace laconic::tools {

// The page of these files, in their order. With uPlot built in (kHaveUplot) it draws charts; without, it has tables and
// says so. Every text of the files is escaped.
std::string ReportPage(std::span<const ResultFile> files);

// A whole page around `body`: style, and where uPlot is built in the scripts, which find `data` in the element #data.
struct PageParts {
  std::string title;  // "Laconic: measurements"
  std::string body;   // HTML after the heading
  std::string_view script;
};
std::string WholePage(const PageParts& parts, const nlohmann::ordered_json& data);

// A table whose cells are escaped; the first of a row is its heading.
std::string HtmlTable(std::span<const std::string> header, std::span<const std::vector<std::string>> rows);

// Built with uPlot (-DLACONIC_UPLOT_DIR)?
bool HaveUplot();

// <, >, & and quotes as entities.
std::string EscapeHtml(std::string_view text);

}  // namespace laconic::tools
