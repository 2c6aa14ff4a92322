#include "tools/text.h"

#include <charconv>
#include <cmath>

#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic::tools {
namespace {

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

absl::StatusOr<uint64_t> ParseCount(std::string_view what, std::string_view text, double kilo) {
  constexpr std::string_view kSuffixes = "KMG";
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view suffix = text.substr(end - text.data());
  bool known = error == std::errc();
  if (known && !suffix.empty()) {
    const size_t power = kSuffixes.find(suffix.front());
    known = suffix.size() == 1 && power != std::string_view::npos;
    if (known) number *= std::pow(kilo, static_cast<double>(power + 1));
  }
  // A product such as 25.6 * 10^6 may be off by a rounding.
  if (!known || !(number >= 1) || number > 0x1p53 || std::abs(number - std::round(number)) > 1e-6 * number) {
    return absl::InvalidArgumentError(
        fmt::format("{} \"{}\" is not a positive count such as 4096, 1K or 64M", what, text));
  }
  return static_cast<uint64_t>(std::llround(number));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> SplitSpecs(std::string_view text) {
  std::vector<std::string> specs;
  int depth = 0;
  size_t begin = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] == '(') ++depth;
    if (i < text.size() && text[i] == ')' && --depth < 0) break;
    if (i < text.size() && (text[i] != ',' || depth > 0)) continue;
    const std::string_view spec = Trim(text.substr(begin, i - begin));
    if (spec.empty()) {
      return absl::InvalidArgumentError(fmt::format("spec list \"{}\": nothing at column {}", text, begin + 1));
    }
    specs.emplace_back(spec);
    begin = i + 1;
  }
  if (depth != 0) return absl::InvalidArgumentError(fmt::format("spec list \"{}\": unbalanced parentheses", text));
  return specs;
}

absl::StatusOr<uint64_t> ParseByteCount(std::string_view what, std::string_view text) {
  return ParseCount(what, text, 1024);
}

absl::StatusOr<uint64_t> ParseElementCount(std::string_view what, std::string_view text) {
  return ParseCount(what, text, 1000);
}

absl::StatusOr<std::vector<uint64_t>> ParseDimensions(std::string_view what, std::string_view text) {
  std::vector<uint64_t> dimensions;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('x', begin), text.size());
    uint64_t dimension = 0;
    const auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, dimension);
    if (error != std::errc() || stop != text.data() + end || dimension == 0) {
      return absl::InvalidArgumentError(fmt::format("{} \"{}\" is not a shape such as 4096x1024", what, text));
    }
    dimensions.push_back(dimension);
    begin = end + 1;
  }
  return dimensions;
}

std::string FormatBytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"", " KiB", " MiB", " GiB"};
  size_t unit = 0;
  while (unit < 3 && bytes >= 1024 && bytes % 1024 == 0) bytes /= 1024, ++unit;
  return fmt::format("{}{}", bytes, kUnits[unit]);
}

std::string FormatBitRate(double bits_per_second) {
  constexpr const char* kUnits[] = {"bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"};
  size_t unit = 0;
  while (unit < 4 && bits_per_second >= 1000) bits_per_second /= 1000, ++unit;
  return fmt::format("{:.3g} {}", bits_per_second, kUnits[unit]);
}

}  // namespace laconic::tools
