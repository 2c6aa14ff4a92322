// What the charts and tables of a report show, computed from measurements. No HTML here: report_page.h draws it.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/result_file.h"

namespace laconic::tools {

inline constexpr double kNoValue = std::numeric_limits<double>::quiet_NaN();  // a gap in a line

struct Series {
  std::string label;
  std::vector<double> values;      // one for each x of the chart; kNoValue where there is none
  std::vector<std::string> names;  // scatter: what each point is
};

// A point of a chart with a text beside it.
struct Mark {
  double x = 0, y = 0;
  std::string text;
};

enum class ChartType {
  kLines,    // over numbers
  kStacked,  // bars over categories, series on top of each other
  kGrouped,  // bars over categories, series beside each other
  kScatter,  // points; the series labelled kFront is a line
};

inline constexpr std::string_view kFront = "Pareto front";

struct Chart {
  std::string title;
  std::string caption;  // says what is shown, from what, and how to read it
  ChartType type = ChartType::kLines;
  std::string x_label, y_label;  // with units
  bool x_log = false, y_log = false;
  std::vector<double> x;                // kLines, kScatter: ascending
  std::vector<std::string> categories;  // kStacked, kGrouped
  std::vector<Series> series;
  std::vector<Mark> marks;
  std::optional<double> level;  // a horizontal line, such as the speed-up 1
};

struct Section {
  Chart chart;
  std::vector<std::string> header;  // of the table beside the chart, with units
  std::vector<std::vector<std::string>> rows;
};

// time against size, shares at the largest size, speed-up against link rate, error against ratio for one message and
// after many rounds; or speeds and errors of codecs. Sections without data are left out.
std::vector<Section> SectionsOf(const ResultFile& file);

// Points that no other one beats in both: fewer bytes (larger ratio) and smaller error. Indices, by ascending ratio.
std::vector<size_t> ParetoFront(const std::vector<double>& ratios, const std::vector<double>& errors);

// The modelled time on a link of that payload rate: all that is not exchange, and the wire bytes.
double SecondsOnLink(const CollectiveResult& row, double bits_per_second);
// Where both take equally long; 0: `row` never wins, infinity: it wins at every rate.
double CrossingBitsPerSecond(const CollectiveResult& dense, const CollectiveResult& row);

}  // namespace laconic::tools
