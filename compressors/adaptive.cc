#include "laconic/compressors/adaptive.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <span>

#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

constexpr double kMostBits = 8;
constexpr uint64_t kMostSteps = uint64_t{1} << 40;

// A codec whose settings are ordered by one number.
struct Family {
  std::string_view codec;
  std::string_view level;  // its key
  bool integer;            // levels are all integers; else a factor of two apart
  double least, most;      // any level
  double span;             // default
  int64_t window;          // default: low-rank is measured on gradients alone, whose noise only a longer mean takes out
};
constexpr Family kFamilies[] = {
    {.codec = "quantize", .level = "bits", .integer = true, .least = 1, .most = kMostBits, .span = 8, .window = 10},
    {.codec = "topk", .level = "ratio", .integer = false, .least = 0, .most = 1, .span = 8, .window = 50},
    {.codec = "lowrank", .level = "rank", .integer = true, .least = 1, .most = 1 << 16, .span = 2, .window = 50},
};

constexpr std::string_view kObjectives[] = {"bytes", "time", "evolution"};
constexpr std::string_view kErrors[] = {"l2", "squared"};
constexpr std::string_view kSpeeds[] = {"measured", "model"};

const Family* FindFamily(std::string_view codec) {
  const auto* found = std::find_if(std::begin(kFamilies), std::end(kFamilies),
                                   [&](const Family& family) { return family.codec == codec; });
  return found == std::end(kFamilies) ? nullptr : found;
}

template <typename Enum, size_t n>
Enum Chosen(const std::string_view (&words)[n], std::string_view word) {
  return static_cast<Enum>(std::find(std::begin(words), std::end(words), word) - std::begin(words));
}

// "uniform:4", or the call uniform(4): the number as it is written.
std::optional<std::string_view> UniformLevel(const SpecCall& budget) {
  constexpr std::string_view kPrefix = "uniform:";
  const std::string_view name = budget.name;
  if (name.starts_with(kPrefix) && budget.arguments.empty()) return name.substr(kPrefix.size());
  const bool is_call = name == "uniform" && budget.arguments.size() == 1 && budget.arguments[0].key.empty() &&
                       budget.arguments[0].value.arguments.empty();
  return is_call ? std::optional<std::string_view>(budget.arguments[0].value.name) : std::nullopt;
}

std::optional<double> ReadLevel(const Family& family, std::string_view text) {
  double level = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), level);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  const bool in_range = level >= family.least && level <= family.most && level > 0;
  return in_range && (!family.integer || level == std::floor(level)) ? std::optional(level) : std::nullopt;
}

SpecCall CodecCall(const AdaptiveSpec& spec, const Family& family, double level) {
  SpecCall call = spec.family;
  SpecArgument argument{.key = std::string(family.level), .value = {}, .column = call.column};
  argument.value = {.name = FormatNumber(level), .arguments = {}, .column = call.column};
  call.arguments.insert(call.arguments.begin(), std::move(argument));
  return call;
}

std::vector<double> Levels(const AdaptiveSpec& spec, const Family& family) {
  const double least = std::max(family.least, spec.uniform / spec.span);
  const double most = std::min(family.most, spec.uniform * spec.span);
  std::vector<double> levels;
  if (family.integer) {
    for (double level = std::ceil(least); level <= most; ++level) levels.push_back(level);
    return levels;
  }
  constexpr double kRounding = 1 + 1e-12;  // of repeated factors
  double level = spec.uniform;
  while (level / 2 * kRounding >= least && level / 2 > 0) level /= 2;
  for (; level <= most * kRounding; level *= 2) levels.push_back(std::min(level, family.most));
  return levels;
}

}  // namespace

const AdaptiveInfo& GetAdaptiveInfo() {
  static const auto* const info = new AdaptiveInfo{
      .name = std::string(kAdaptiveName),
      .summary =
          "each layer's own setting of a codec, the cheapest at the uniform setting's error, chosen anew every "
          "so many steps from what the messages lose",
      .source =
          "L-GreCo: Alimohammadi et al. 2024 (arXiv 2210.17357); EvoPress: Sieberling et al. 2024 (arXiv "
          "2410.14649)",
      .parameters = {
          {"family", "quantize|topk|lowrank, with other keys as a call", "",
           "the codec whose bits, ratio or rank varies"},
          {"budget", "uniform:<level>", "", "the setting whose error (evolution: bytes) may not be exceeded"},
          {"objective", "bytes|time|evolution", "bytes",
           "what is least: bytes, estimated time, or (at equal bytes) the whole gradient's error"},
          {"every", "1..", "1000", "steps between plans"},
          {"warmup", "1..", "every", "steps under the uniform setting before the first"},
          {"window", "1..", "50, quantize 10", "steps before a plan whose messages are averaged"},
          {"alpha", "number in (0, 100]", "1", "times the budget"},
          {"error", "l2|squared", "l2", "of a layer, as it is summed"},
          {"span", "number in [1, 1000]", "8, lowrank 2", "levels from uniform / span to uniform * span"},
          {"speed", "measured|model", "measured", "of codecs, for objective=time"},
      }};
  return *info;
}

std::string AdaptiveSpec::ToString() const {
  return fmt::format(
      "{}(family={}, budget=uniform:{}, objective={}, every={}, warmup={}, window={}, alpha={}, error={}, span={}, "
      "speed={})",
      kAdaptiveName, family.ToString(), FormatNumber(uniform), kObjectives[static_cast<size_t>(objective)], every,
      warmup, window, FormatNumber(alpha), kErrors[static_cast<size_t>(error)], FormatNumber(span),
      kSpeeds[static_cast<size_t>(speed)]);
}

absl::StatusOr<AdaptiveSpec> ParseAdaptive(const SpecCall& call, const CodecRegistry& registry) {
  SpecArguments arguments(call, GetAdaptiveInfo().parameters);
  AdaptiveSpec spec;
  const SpecCall* family_call = arguments.Call("family");
  const SpecCall* budget = arguments.Call("budget");
  const Family* family = family_call == nullptr ? nullptr : FindFamily(family_call->name);
  spec.objective = Chosen<LayerObjective>(kObjectives, arguments.Word("objective", "bytes", kObjectives));
  spec.error = Chosen<LayerErrorMeasure>(kErrors, arguments.Word("error", "l2", kErrors));
  spec.speed = Chosen<CodecSpeed>(kSpeeds, arguments.Word("speed", "measured", kSpeeds));
  spec.alpha = arguments.Number("alpha", 1, std::numeric_limits<double>::min(), 100);
  spec.span = arguments.Number("span", family == nullptr ? 8 : family->span, 1, 1000);
  spec.every = arguments.Integer("every", 1000, 1, kMostSteps);
  spec.warmup = arguments.Integer("warmup", static_cast<int64_t>(spec.every), 1, kMostSteps);
  spec.window = arguments.Integer("window", family == nullptr ? 10 : family->window, 1, kMostSteps);
  LACONIC_RETURN_IF_ERROR(arguments.Finish());
  if (family == nullptr) {
    return SpecError(family_call == nullptr ? call.column : family_call->column,
                     fmt::format("{} needs family=quantize, topk or lowrank{}", kAdaptiveName,
                                 family_call == nullptr ? "" : ", not " + family_call->ToString()));
  }
  spec.family = *family_call;
  for (const SpecArgument& argument : spec.family.arguments) {
    if (argument.key != family->level && argument.key != "k") continue;
    return SpecError(argument.column,
                     fmt::format("the {} of {} is what {} chooses: give budget=uniform:{}", argument.key, family->codec,
                                 kAdaptiveName, argument.value.ToString()));
  }
  const std::optional<std::string_view> text = budget == nullptr ? std::nullopt : UniformLevel(*budget);
  const std::optional<double> level = text ? ReadLevel(*family, *text) : std::nullopt;
  if (!level) {
    return SpecError(budget == nullptr ? call.column : budget->column,
                     fmt::format("{} needs budget=uniform:<{} of {}>, such as uniform:{}{}", kAdaptiveName,
                                 family->level, family->codec, family->integer ? "4" : "0.01",
                                 budget == nullptr ? "" : ", not " + budget->ToString()));
  }
  spec.uniform = *level;
  LACONIC_RETURN_IF_ERROR(registry.Create(CodecCall(spec, *family, spec.uniform)).status());
  return spec;
}

absl::StatusOr<CodecFamily> MakeFamily(const AdaptiveSpec& spec, const CodecRegistry& registry) {
  const Family* family = FindFamily(spec.family.name);
  if (family == nullptr) {
    return absl::InvalidArgumentError(fmt::format("{} is no family of codecs", spec.family.name));
  }
  CodecFamily made;
  for (const double level : Levels(spec, *family)) {
    if (std::abs(level - spec.uniform) <= 1e-9 * spec.uniform) made.uniform = made.codecs.size();
    auto codec = registry.Create(CodecCall(spec, *family, level));
    if (!codec.ok() && level != spec.uniform) continue;  // one that these other keys do not go with
    LACONIC_RETURN_IF_ERROR(codec.status());
    made.codecs.push_back(*std::move(codec));
    made.levels.push_back(level);
  }
  return made;
}

}  // namespace laconic
