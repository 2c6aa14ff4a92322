#include "tools/report/svg.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "fmt/format.h"
#include "tools/report/page.h"

namespace laconic::tools {
namespace {

constexpr double kWidth = 800, kHeight = 440;
constexpr double kLeft = 78, kTop = 44, kBottom = 58;
constexpr double kLabelGap = 10, kLabelHeight = 16, kCharacterWidth = 7.1;
constexpr size_t kFewPoints = 12;  // lines of at most so many show them
constexpr int kTicks = 6;

// Okabe and Ito's colours for all kinds of eyes, without those too pale for white or too dark for black.
constexpr std::array<const char*, 8> kColours = {"#0b7fc4", "#d55e00", "#009e73", "#c5699d",
                                                 "#c78800", "#7a6ee0", "#2fa5c9", "#8a8a8a"};

constexpr const char* kStyle =
    "<style>.paper{fill:#fff}.ink{fill:#222}.faint{fill:#555}.grid{stroke:#ddd}.axis{stroke:#777}"
    "text{font:13px system-ui,-apple-system,'Segoe UI',sans-serif}.title{font-size:15px;font-weight:600}"
    ".line{fill:none;stroke-width:2;stroke-linejoin:round}.band{opacity:.18;stroke:none}"
    "@media(prefers-color-scheme:dark){.paper{fill:#14171c}.ink{fill:#eee}.faint{fill:#aaa}.grid{stroke:#333}}"
    "</style>\n";

// XML knows no control characters, not even as entities.
std::string EscapeXml(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return EscapeHtml(text);
}

// "10⁻³", "2·10⁻³", "0.25", "1 500".
std::string TickText(double value, bool log) {
  const double magnitude = std::abs(value);
  if (value == 0 || (magnitude >= 1e-2 && magnitude < 1e5 && !log) || (magnitude >= 0.01 && magnitude <= 1000)) {
    return fmt::format("{:.6g}", value);
  }
  const int exponent = static_cast<int>(std::floor(std::log10(magnitude) + 1e-9));
  const double mantissa = value / std::pow(10, exponent);
  static constexpr std::array<const char*, 10> kRaised = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string text = std::abs(mantissa - 1) < 1e-6 ? "10" : fmt::format("{:.3g}·10", mantissa);
  if (exponent < 0) text += "⁻";
  for (const char digit : fmt::format("{}", std::abs(exponent))) text += kRaised[static_cast<size_t>(digit - '0')];
  return text;
}

// One axis: values to pixels.
class Axis {
 public:
  Axis(bool log, double from_pixel, double to_pixel) : log_(log), from_pixel_(from_pixel), to_pixel_(to_pixel) {}

  bool Has(double value) const { return std::isfinite(value) && (!log_ || value > 0); }
  void Cover(double value) {
    if (!Has(value)) return;
    low_ = std::min(low_, value);
    high_ = std::max(high_, value);
  }
  // To be called when all is covered: room around a single value and at the ends.
  void Settle() {
    if (low_ > high_) low_ = log_ ? 1 : 0, high_ = log_ ? 10 : 1;
    if (log_) {
      const double room = std::max(std::pow(high_ / low_, 0.03), 1.02);
      low_ /= room, high_ *= room;
    } else {
      const double room = high_ > low_ ? 0.03 * (high_ - low_) : std::max(0.1 * std::abs(low_), 1e-9);
      low_ = low_ >= 0 ? std::max(0.0, low_ - room) : low_ - room;
      high_ += room;
    }
  }
  double At(double value) const {
    const double share = log_ ? std::log(value / low_) / std::log(high_ / low_) : (value - low_) / (high_ - low_);
    return from_pixel_ + share * (to_pixel_ - from_pixel_);
  }
  std::vector<double> Ticks() const { return log_ ? LogTicks(low_, high_) : LinearTicks(low_, high_, kTicks); }
  std::string Text(double value) const { return TickText(value, log_); }

 private:
  const bool log_;
  const double from_pixel_, to_pixel_;
  double low_ = std::numeric_limits<double>::infinity(), high_ = -low_;
};

std::string Text(double x, double y, std::string_view style, const std::string& text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" {}>{}</text>\n", x, y, style, EscapeXml(text));
}

std::string Grid(const Plot& plot, const Axis& x, const Axis& y, double right) {
  const double floor = kHeight - kBottom;
  std::string svg;
  for (const double tick : x.Ticks()) {
    svg += fmt::format("<path class=\"grid\" d=\"M{0:.1f} {1:.1f}V{2:.1f}\"/>\n", x.At(tick), kTop, floor);
    svg += Text(x.At(tick), floor + 18, "class=\"faint\" text-anchor=\"middle\"", x.Text(tick));
  }
  for (const double tick : y.Ticks()) {
    svg += fmt::format("<path class=\"grid\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>\n", kLeft, y.At(tick), right);
    svg += Text(kLeft - 8, y.At(tick) + 4, "class=\"faint\" text-anchor=\"end\"", y.Text(tick));
  }
  svg += fmt::format("<path class=\"axis\" fill=\"none\" d=\"M{0:.1f} {1:.1f}V{2:.1f}H{3:.1f}\"/>\n", kLeft, kTop,
                     floor, right);
  svg += Text((kLeft + right) / 2, kHeight - 16, "class=\"ink\" text-anchor=\"middle\"", plot.x_title);
  svg += fmt::format(
      "<text class=\"ink\" text-anchor=\"middle\" transform=\"translate(18 {:.1f}) rotate(-90)\">{}</text>\n",
      (kTop + floor) / 2, EscapeXml(plot.y_title));
  svg += Text(kLeft, 24, "class=\"ink title\"", plot.title);
  return svg;
}

// The index-th line; those after the last colour take the colours again and are dashed.
std::string Line(const std::vector<PlotPoint>& points, const Axis& x, const Axis& y, size_t index) {
  const char* colour = kColours[index % kColours.size()];
  const char* dashes = index < kColours.size() ? "" : " stroke-dasharray=\"7 4\"";
  std::string there, back, path, dots;
  bool band = false;
  for (const PlotPoint& point : points) {
    const double low = y.Has(point.low) ? point.low : point.y;
    band |= low != point.high;
    there += fmt::format("{:.1f},{:.1f} ", x.At(point.x), y.At(point.high));
    back = fmt::format("{:.1f},{:.1f} ", x.At(point.x), y.At(low)) + back;
    path += fmt::format("{:.1f},{:.1f} ", x.At(point.x), y.At(point.y));
    if (points.size() <= kFewPoints) {
      dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\"/>\n", x.At(point.x), y.At(point.y),
                          colour);
    }
  }
  std::string svg;
  if (band) svg += fmt::format("<polygon class=\"band\" fill=\"{}\" points=\"{}{}\"/>\n", colour, there, back);
  return svg + fmt::format("<polyline class=\"line\" stroke=\"{}\"{} points=\"{}\"/>\n", colour, dashes, path) + dots;
}

// The heights of labels that want to be at `wanted`: in their order, kLabelHeight apart, as near as a sweep down and
// one up from the floor bring them.
std::vector<double> Spread(const std::vector<double>& wanted) {
  std::vector<size_t> order(wanted.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return wanted[a] < wanted[b]; });
  std::vector<double> placed = wanted;
  for (size_t i = 1; i < order.size(); ++i) {
    placed[order[i]] = std::max(placed[order[i]], placed[order[i - 1]] + kLabelHeight);
  }
  double lowest = kHeight - kBottom;
  for (size_t i = order.size(); i-- > 0;) {
    placed[order[i]] = std::min(placed[order[i]], lowest);
    lowest = placed[order[i]] - kLabelHeight;
  }
  return placed;
}

}  // namespace

std::vector<double> LinearTicks(double low, double high, int count) {
  const double raw = (high - low) / count;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  const double step = raw <= power ? power : raw <= 2 * power ? 2 * power : raw <= 5 * power ? 5 * power : 10 * power;
  std::vector<double> ticks;
  for (double i = std::ceil(low / step); i * step <= high; ++i) ticks.push_back(i * step);
  return ticks;
}

std::vector<double> LogTicks(double low, double high) {
  const bool few = high / low < 100;
  const int decades = static_cast<int>(std::log10(high / low));
  const int every = std::max(1, decades / 8 + 1);
  std::vector<double> ticks;
  for (int exponent = static_cast<int>(std::floor(std::log10(low))); std::pow(10, exponent) <= high; ++exponent) {
    for (const int digit : {1, 2, 5}) {
      const double tick = digit * std::pow(10, exponent);
      if ((digit == 1 ? exponent % every == 0 : few) && tick >= low && tick <= high) ticks.push_back(tick);
    }
  }
  return ticks;
}

std::string SvgOf(const Plot& plot) {
  size_t longest = 0;
  for (const PlotLine& line : plot.lines) longest = std::max(longest, line.label.size());
  const double right = kWidth - 2 * kLabelGap - std::min(kCharacterWidth * static_cast<double>(longest), kWidth / 3);
  Axis x(plot.x_log, kLeft, right), y(plot.y_log, kHeight - kBottom, kTop);
  std::vector<std::vector<PlotPoint>> shown;
  for (const PlotLine& line : plot.lines) {
    shown.emplace_back();
    for (const PlotPoint& point : line.points) {
      if (!x.Has(point.x) || !y.Has(point.y)) continue;
      shown.back().push_back(point);
      x.Cover(point.x);
      for (const double value : {point.y, point.low, point.high}) y.Cover(value);
    }
  }
  x.Settle();
  y.Settle();

  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" role=\"img\">\n"
      "<title>{2}</title>\n",
      kWidth, kHeight, EscapeXml(plot.title));
  svg += kStyle;
  svg += fmt::format("<rect class=\"paper\" width=\"{}\" height=\"{}\"/>\n", kWidth, kHeight);
  svg += Grid(plot, x, y, right);
  std::vector<double> ends;
  for (size_t i = 0; i < shown.size(); ++i) {
    if (!shown[i].empty()) svg += Line(shown[i], x, y, i);
    ends.push_back(shown[i].empty() ? kTop : y.At(shown[i].back().y));
  }
  const std::vector<double> heights = Spread(ends);
  for (size_t i = 0; i < shown.size(); ++i) {
    const double end = shown[i].empty() ? right : x.At(shown[i].back().x);
    svg += Text(end + kLabelGap, heights[i] + 4, fmt::format("fill=\"{}\"", kColours[i % kColours.size()]),
                plot.lines[i].label + (shown[i].empty() ? " (nothing to show)" : ""));
  }
  return svg + "</svg>\n";
}

}  // namespace laconic::tools
