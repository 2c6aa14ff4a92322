#include "tools/compare/results.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>

#include "absl/status/status.h"
#include "fmt/format.h"
#include "tools/text.h"

namespace laconic::tools {
namespace {

// One time of a file: what it is of, its median, what was measured.
struct Timing {
  std::string what;
  double seconds = 0;
  std::vector<double> raw;
};

std::vector<Timing> TimingsOf(const ResultFile& file) {
  std::vector<Timing> timings;
  for (const CollectiveResult& row : file.collectives) {
    timings.push_back(
        {fmt::format("{}, {}", row.spec, FormatBytes(row.size_bytes)), row.time_seconds, row.times_seconds});
  }
  for (const CodecResult& row : file.codecs) {
    const double bytes = 4.0 * static_cast<double>(row.elements);
    const auto add = [&](std::string_view operation, double bytes_per_second, const std::vector<double>& raw) {
      if (bytes_per_second <= 0) return;
      timings.push_back({fmt::format("{}, {}, {} elements{}: {}", row.spec, row.input, row.elements,
                                     row.threads > 1 ? fmt::format(", {} threads", row.threads) : "", operation),
                         bytes / bytes_per_second, raw});
    };
    add("encode", row.encode_bytes_per_second, row.encode_seconds);
    add("encode_residual", row.encode_residual_bytes_per_second, row.encode_residual_seconds);
    add("decode_add", row.decode_add_bytes_per_second, row.decode_add_seconds);
    add("session", row.session_bytes_per_second, row.session_seconds);
  }
  return timings;
}

ComparedRow CompareTimings(const Timing& before, const Timing& after, double threshold) {
  ComparedRow row{.what = before.what,
                  .before_seconds = before.seconds,
                  .after_seconds = after.seconds,
                  .change = after.seconds / before.seconds - 1,
                  .change_low = -1,
                  .change_high = std::numeric_limits<double>::infinity()};
  bool beyond_noise = true;
  if (!before.raw.empty() && !after.raw.empty()) {
    const Interval a = MedianInterval(before.raw), b = MedianInterval(after.raw);
    row.change_low = b.low / a.high - 1;
    row.change_high = b.high / a.low - 1;
    beyond_noise = row.change_low > 0 || row.change_high < 0;
  }
  if (std::abs(row.change) > threshold) {
    row.verdict = !beyond_noise ? Verdict::kUnclear : row.change > 0 ? Verdict::kSlower : Verdict::kFaster;
  }
  return row;
}

}  // namespace

std::string_view VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kSame:
      return "same";
    case Verdict::kFaster:
      return "faster";
    case Verdict::kSlower:
      return "SLOWER";
    case Verdict::kUnclear:
      return "noise";
  }
  return "";
}

bool Comparison::AnySlower() const {
  return std::any_of(rows.begin(), rows.end(), [](const ComparedRow& row) { return row.verdict == Verdict::kSlower; });
}

absl::StatusOr<Comparison> CompareResults(const ResultFile& before, const ResultFile& after, double threshold) {
  Comparison comparison{.other_machine = before.cpu != after.cpu || before.cores != after.cores};
  std::map<std::string, const Timing*> unmatched;
  const std::vector<Timing> old_timings = TimingsOf(before), new_timings = TimingsOf(after);
  if (before.Setting() == after.Setting()) {
    for (const Timing& timing : new_timings) unmatched.emplace(timing.what, &timing);
  }
  for (const Timing& timing : old_timings) {
    const auto partner = unmatched.find(timing.what);
    if (partner == unmatched.end()) {
      comparison.only_before.push_back(timing.what);
      continue;
    }
    if (!(timing.seconds > 0) || !(partner->second->seconds > 0)) {
      return absl::InvalidArgumentError(fmt::format("{}: {} s in {} and {} s in {}; times must be above 0", timing.what,
                                                    timing.seconds, before.name, partner->second->seconds, after.name));
    }
    comparison.rows.push_back(CompareTimings(timing, *partner->second, threshold));
    unmatched.erase(partner);
  }
  for (const Timing& timing : new_timings) {
    if (unmatched.contains(timing.what)) comparison.only_after.push_back(timing.what);
  }
  if (comparison.rows.empty()) {
    return absl::InvalidArgumentError(fmt::format("no common rows: {} has {} ({} rows), {} has {} ({} rows)",
                                                  before.name, before.Setting(), old_timings.size(), after.name,
                                                  after.Setting(), new_timings.size()));
  }
  return comparison;
}

Interval MedianInterval(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const double n = static_cast<double>(sorted.size());
  const double spread = 1.96 * std::sqrt(n);
  const double low = std::max(1.0, std::floor((n - spread) / 2));  // positions counted from 1
  const double high = std::min(n, std::ceil(1 + (n + spread) / 2));
  return {sorted[static_cast<size_t>(low) - 1], sorted[static_cast<size_t>(high) - 1]};
}

absl::StatusOr<double> ParsePercentage(std::string_view what, std::string_view text) {
  std::string_view number = text;
  if (!number.empty() && number.back() == '%') number.remove_suffix(1);
  while (!number.empty() && number.back() == ' ') number.remove_suffix(1);
  double percent = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), percent);
  if (error != std::errc() || end != number.data() + number.size() || !std::isfinite(percent) || percent < 0) {
    return absl::InvalidArgumentError(fmt::format("{}: \"{}\" is no percentage of at least 0, such as 5%", what, text));
  }
  return percent / 100;
}

}  // namespace laconic::tools
