#include <fmt/core.h>

#include <array>
#include <charconv>
#include <cmath>

#include "laconic/comm/transport/paced.h"

namespace laconic {
namespace {

struct Unit {
  std::string_view name;
  double bits_per_second;
};
constexpr std::array<Unit, 3> kUnits = {{{"kbit", 1e3}, {"Mbit", 1e6}, {"Gbit", 1e9}}};
constexpr std::string_view kUnlimited = "unlimited";

absl::Status BadLink(std::string_view link, std::string_view part, std::string_view problem) {
  return absl::InvalidArgumentError(fmt::format("link \"{}\": \"{}\" {}", link, part, problem));
}

absl::StatusOr<double> ParseRate(std::string_view link, std::string_view text) {
  if (text == kUnlimited) return 0.0;
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit = text.substr(end - text.data());
  if (error != std::errc() || !std::isfinite(number) || number <= 0) {
    return BadLink(link, text, "is not a positive rate such as 100Mbit");
  }
  for (const Unit& known : kUnits) {
    if (unit == known.name) return number * known.bits_per_second;
  }
  return BadLink(link, text, "has no unit; accepted are kbit, Mbit and Gbit");
}

absl::StatusOr<absl::Duration> ParseOption(std::string_view link, std::string_view text) {
  constexpr std::string_view kKey = "rtt=";
  if (!text.starts_with(kKey)) return BadLink(link, text, "is not known; accepted is rtt=, as in rtt=1ms");
  const std::string_view value = text.substr(kKey.size());
  absl::Duration round_trip;
  if (!absl::ParseDuration({value.data(), value.size()}, &round_trip) || round_trip < absl::ZeroDuration() ||
      round_trip == absl::InfiniteDuration()) {
    return BadLink(link, text, "is not a time such as rtt=1ms or rtt=50us");
  }
  return round_trip;
}

}  // namespace

absl::StatusOr<LinkModel> LinkModel::Parse(std::string_view text) {
  const size_t comma = text.find(',');
  const absl::StatusOr<double> rate = ParseRate(text, text.substr(0, comma));
  if (!rate.ok()) return rate.status();
  LinkModel link{.bits_per_second = *rate};
  if (comma == std::string_view::npos) return link;
  const absl::StatusOr<absl::Duration> round_trip = ParseOption(text, text.substr(comma + 1));
  if (!round_trip.ok()) return round_trip.status();
  link.round_trip = *round_trip;
  return link;
}

std::string LinkModel::ToString() const {
  std::string text(kUnlimited);
  if (bits_per_second > 0) {
    size_t unit = 0;
    while (unit + 1 < kUnits.size() && bits_per_second >= kUnits[unit + 1].bits_per_second) ++unit;
    text = fmt::format("{:.6g}{}", bits_per_second / kUnits[unit].bits_per_second, kUnits[unit].name);
  }
  if (round_trip != absl::ZeroDuration()) text += fmt::format(",rtt={}", absl::FormatDuration(round_trip));
  return text;
}

}  // namespace laconic
