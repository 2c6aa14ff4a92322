// Measurements as one HTML page that opens without a network: charts, and a table beside each.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "tools/report/charts.h"
#include "tools/result_file.h"

namespace laconic::tools {

// The page of these files, in their order. With uPlot built in (kHaveUplot) it draws charts; without, it has tables and
// says so. Every text of the files is escaped.
std::string ReportPage(std::span<const ResultFile> files);

// Built with uPlot (-DLACONIC_UPLOT_DIR)?
bool HaveUplot();

// <, >, & and quotes as entities.
std::string EscapeHtml(std::string_view text);

}  // namespace laconic::tools
