#include "laconic/optim/federated/network_model.h"

#include <array>
#include <charconv>
#include <cmath>
#include <numbers>
#include <optional>
#include <utility>

#include "fmt/format.h"
#include "laconic/base/state.h"
#include "laconic/base/status.h"
#include "laconic/compressors/spec.h"
#include "laconic/optim/federated/federation.h"
#include "optim/federated/draws.h"

namespace laconic {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};
constexpr std::array<Unit, 3> kRates = {{{"kbit", 1e3}, {"Mbit", 1e6}, {"Gbit", 1e9}}};
constexpr std::array<Unit, 3> kTimes = {{{"us", 1e-6}, {"ms", 1e-3}, {"s", 1}}};

// One figure of all clients: a value, uniform(a, b) or lognormal(a, b) with median a and deviation b of the logarithm.
struct Figure {
  enum class Kind { kValue, kUniform, kLognormal };
  Kind kind = Kind::kValue;
  double a = 0, b = 0;
};

// The figures in the order of ClientLink, as help texts and errors name them.
struct FigureInfo {
  std::string_view key;
  std::span<const Unit> units;
  double ClientLink::*field;
};
constexpr std::array<FigureInfo, 4> kFigures = {{{"up", kRates, &ClientLink::uplink_bits_per_second},
                                                 {"down", kRates, &ClientLink::downlink_bits_per_second},
                                                 {"latency", kTimes, &ClientLink::latency_seconds},
                                                 {"step", kTimes, &ClientLink::step_seconds}}};

std::optional<double> ParseNumber(std::string_view text, std::string_view* rest) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !std::isfinite(number) || number < 0) return std::nullopt;
  *rest = text.substr(static_cast<size_t>(end - text.data()));
  return number;
}

// "20ms", or a plain 0.
absl::StatusOr<double> ParseQuantity(const SpecCall& call, const FigureInfo& info) {
  std::string_view unit;
  const std::optional<double> number = ParseNumber(call.name, &unit);
  if (number && call.arguments.empty()) {
    if (unit.empty() && *number == 0) return 0.0;
    for (const Unit& known : info.units) {
      if (unit == known.name) return *number * known.factor;
    }
  }
  return SpecError(call.column,
                   fmt::format("{} = {}: accepted are a number with one of the units {}, {} and {}, "
                               "uniform(from, to) and lognormal(median, sigma)",
                               info.key, call.ToString(), info.units[0].name, info.units[1].name, info.units[2].name));
}

absl::StatusOr<Figure> ParseFigure(const SpecCall& call, const FigureInfo& info) {
  const bool uniform = call.name == "uniform", lognormal = call.name == "lognormal";
  if (!uniform && !lognormal) {
    LACONIC_ASSIGN_OR_RETURN(const double value, ParseQuantity(call, info));
    return Figure{.a = value};
  }
  if (call.arguments.size() != 2 || !call.arguments[0].key.empty() || !call.arguments[1].key.empty()) {
    return SpecError(call.column, uniform ? "uniform takes two values, uniform(from, to)"
                                          : "lognormal takes two values, lognormal(median, sigma)");
  }
  const SpecCall& second = call.arguments[1].value;
  LACONIC_ASSIGN_OR_RETURN(const double a, ParseQuantity(call.arguments[0].value, info));
  if (uniform) {
    LACONIC_ASSIGN_OR_RETURN(const double b, ParseQuantity(second, info));
    if (b < a) return SpecError(second.column, fmt::format("{} goes from more to less", call.ToString()));
    return Figure{.kind = Figure::Kind::kUniform, .a = a, .b = b};
  }
  constexpr double kLargestSigma = 5;  // e^5 is a spread of 150 to either side
  std::string_view rest;
  const std::optional<double> sigma = ParseNumber(second.name, &rest);
  if (!sigma || !rest.empty() || *sigma > kLargestSigma) {
    return SpecError(second.column, fmt::format("sigma = {} is no number from 0 to {}", second.name, kLargestSigma));
  }
  return Figure{.kind = Figure::Kind::kLognormal, .a = a, .b = *sigma};
}

// `index` tells the figures of all clients apart.
double Draw(const Figure& figure, const CounterRng& rng, uint64_t index) {
  const double u = rng.Uniform(2 * index), w = rng.Uniform(2 * index + 1);
  switch (figure.kind) {
    case Figure::Kind::kUniform:
      return figure.a + u * (figure.b - figure.a);
    case Figure::Kind::kLognormal:  // a normal number by Box and Muller 1958
      return figure.a * std::exp(figure.b * std::sqrt(-2 * std::log1p(-u)) * std::cos(2 * std::numbers::pi * w));
    case Figure::Kind::kValue:
      break;
  }
  return figure.a;
}

const std::array<ParameterInfo, 6>& Parameters() {
  static const std::array<ParameterInfo, 6> parameters = {
      {{"up", "rate, uniform(from, to) or lognormal(median, sigma)", "0", "of a client's uplink; 0: takes no time"},
       {"down", "rate, uniform(from, to) or lognormal(median, sigma)", "0", "of its downlink"},
       {"latency", "time, uniform(from, to) or lognormal(median, sigma)", "0", "one way"},
       {"step", "time, uniform(from, to) or lognormal(median, sigma)", "0", "of one local step"},
       {"stragglers", "number in [0, 1]", "0", "share of the clients whose steps take longer"},
       {"slowdown", "number in [1, 1e6]", "10", "how many times as long"}}};
  return parameters;
}

absl::StatusOr<NetworkModel> DrawNetwork(const SpecCall& call, uint32_t clients, uint64_t seed) {
  if (call.name != "network") {
    return SpecError(call.column, fmt::format("\"{}\" is no network; accepted are network(up=10Mbit, down=100Mbit, "
                                              "latency=20ms, step=5ms) and network(trace=FILE)",
                                              call.name));
  }
  SpecArguments arguments(call, Parameters());
  std::array<Figure, kFigures.size()> figures;
  absl::Status bad;
  for (size_t f = 0; f < kFigures.size(); ++f) {
    const SpecCall* given = arguments.Call(kFigures[f].key);
    if (given == nullptr) continue;
    const absl::StatusOr<Figure> figure = ParseFigure(*given, kFigures[f]);
    if (figure.ok()) figures[f] = *figure;
    bad.Update(figure.status());
  }
  const double share = arguments.Number("stragglers", 0, 0, 1);
  const double slowdown = arguments.Number("slowdown", 10, 1, 1e6);
  LACONIC_RETURN_IF_ERROR(arguments.Finish());
  LACONIC_RETURN_IF_ERROR(bad);

  NetworkModel network{.links = std::vector<ClientLink>(clients), .description = call.ToString()};
  const CounterRng rng(internal::DrawKey(internal::Draw::kNetwork, seed, 0));
  for (uint64_t client = 0; client < clients; ++client) {
    for (size_t f = 0; f < kFigures.size(); ++f) {
      network.links[client].*kFigures[f].field = Draw(figures[f], rng, client * kFigures.size() + f);
    }
  }
  constexpr uint64_t kNoRound = ~uint64_t{0};
  const auto stragglers = static_cast<uint32_t>(std::llround(share * clients));
  for (const uint32_t client : SampleClients(seed, kNoRound, clients, stragglers)) {
    network.links[client].step_seconds *= slowdown;
  }
  return network;
}

// The four numbers of a line, or what is wrong with it.
absl::StatusOr<ClientLink> ParseTraceLine(std::string_view line) {
  ClientLink link;
  std::string_view left = line;
  for (size_t f = 0; f < kFigures.size(); ++f) {
    std::string_view rest;
    const std::optional<double> number = ParseNumber(left, &rest);
    const bool last = f + 1 == kFigures.size();
    if (!number || (last ? !rest.empty() : !rest.starts_with(','))) {
      return absl::DataLossError(fmt::format("\"{}\" is not four numbers from 0 on", line));
    }
    link.*kFigures[f].field = *number;
    left = last ? rest : rest.substr(1);
  }
  return link;
}

absl::StatusOr<NetworkModel> ReadTrace(const std::string& path, uint32_t clients) {
  constexpr std::string_view kHeader = "uplink_bps,downlink_bps,latency_s,step_s";
  LACONIC_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, ReadFile(path));
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::vector<ClientLink> lines;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (number == 1) {
      if (line != kHeader)
        return absl::DataLossError(fmt::format("{} line 1: \"{}\", expected {}", path, line, kHeader));
      continue;
    }
    if (line.empty() && text.empty()) break;
    const absl::StatusOr<ClientLink> link = ParseTraceLine(line);
    if (!link.ok()) return Annotate(link.status(), fmt::format("{} line {}", path, number));
    lines.push_back(*link);
  }
  if (lines.empty()) return absl::DataLossError(fmt::format("{} has no lines of clients", path));
  NetworkModel network{.links = {}, .description = fmt::format("network(trace={})", path)};
  for (size_t client = 0; client < clients; ++client) network.links.push_back(lines[client % lines.size()]);
  return network;
}

}  // namespace

absl::StatusOr<NetworkModel> NetworkModel::Parse(std::string_view spec, uint32_t clients, uint64_t seed) {
  // A path may hold what no spec does.
  constexpr std::string_view kTrace = "network(trace=";
  if (spec.starts_with(kTrace) && spec.ends_with(')')) {
    return ReadTrace(std::string(spec.substr(kTrace.size(), spec.size() - kTrace.size() - 1)), clients);
  }
  LACONIC_ASSIGN_OR_RETURN(const SpecCall call, ParseSpecCall(spec));
  return DrawNetwork(call, clients, seed);
}

double NetworkModel::Seconds(uint32_t client, uint64_t down_bytes, uint64_t up_bytes, uint32_t local_steps) const {
  const ClientLink& link = links[client];
  const auto transfer = [](uint64_t bytes, double bits_per_second) {
    return bits_per_second > 0 ? 8 * static_cast<double>(bytes) / bits_per_second : 0;
  };
  return 2 * link.latency_seconds + transfer(down_bytes, link.downlink_bits_per_second) +
         local_steps * link.step_seconds + transfer(up_bytes, link.uplink_bits_per_second);
}

}  // namespace laconic
