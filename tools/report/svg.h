// A line plot as an SVG that needs no script and no font of its own, and is legible on light and dark pages.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace laconic::tools {

struct PlotPoint {
  double x = 0, y = 0;
  double low = 0, high = 0;  // the band around y; both y: none
};

struct PlotLine {
  std::string label;
  std::vector<PlotPoint> points;  // by ascending x; those without a place on a logarithmic axis are left out
};

struct Plot {
  std::string title;
  std::string x_title, y_title;  // with units
  bool x_log = false, y_log = false;
  std::vector<PlotLine> lines;
};

// Lines carry their labels at their right ends. A plot without points has axes only.
std::string SvgOf(const Plot& plot);

// Where an axis over [low, high] has its ticks: 1, 2 or 5 times a power of ten, about `count` of them; on a logarithmic
// axis powers of ten, and over less than two decades 2 and 5 times those as well. All within [low, high].
std::vector<double> LinearTicks(double low, double high, int count);
std::vector<double> LogTicks(double low, double high);

}  // namespace laconic::tools
