// Methods of error control by name, and the numbers of the recurrence that each of them is.
#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/compressors/error_control.h"

namespace laconic {
namespace {

constexpr double kSmallestPositive = std::numeric_limits<double>::min();

// E|C(x) - x|^2 <= (1 - delta) |x|^2, as claimed or as it follows from omega < 1.
std::optional<double> Contraction(const Traits& traits) {
  if (traits.delta && *traits.delta > 0) return traits.delta;
  if (traits.omega && *traits.omega < 1) return 1 - *traits.omega;
  return std::nullopt;
}

// Error feedback on its own needs less than delta: from max |e'| <= (1 - max_norm_delta) (max |g| + max |e|) the error
// stays within max |g| (1 - max_norm_delta) / max_norm_delta.
bool BoundsFedBackError(const Traits& traits) { return Contraction(traits) || traits.max_norm_delta.value_or(0) > 0; }

absl::Status CheckContractive(std::string_view method, const Traits& traits, std::string_view codec_spec) {
  if (Contraction(traits)) return absl::OkStatus();
  if (traits.omega) {
    return absl::InvalidArgumentError(fmt::format(
        "{} needs a contractive codec; {} is unbiased with omega = {}, whose error it would only amplify: write "
        "scaled({}), which is contractive with delta = 1/(1+omega) = {}",
        method, codec_spec, FormatNumber(*traits.omega), codec_spec, FormatNumber(1 / (1 + *traits.omega))));
  }
  return absl::InvalidArgumentError(fmt::format(
      "{} needs a contractive codec, and {} does not claim to be one on this shape: without it the kept error may "
      "grow without bound; take topk, sign, lowrank or scaled(an unbiased codec){}",
      method, codec_spec, traits.max_norm_delta ? ", or ef, for which its largest error shrinks enough" : ""));
}

absl::Status CheckSparse(std::string_view method, const Traits& traits, std::string_view codec_spec) {
  if (traits.sparse) return CheckContractive(method, traits, codec_spec);
  return absl::InvalidArgumentError(fmt::format(
      "{} needs a sparse codec: it clears its momentum where something was sent, and {} sends something of every "
      "element, which would leave none; take topk or randk",
      method, codec_spec));
}

absl::Status CheckUnbiased(std::string_view method, const Traits& traits, std::string_view codec_spec) {
  if (traits.omega) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "{} needs an unbiased codec and {} is biased: its shifts would settle beside the gradients; take an unbiased "
      "codec, such as quantize(rounding=stochastic), or a method for biased ones, such as econtrol or ef21",
      method, codec_spec));
}

bool Takes(const ControlInfo& method, std::string_view key) {
  return std::any_of(method.parameters.begin(), method.parameters.end(),
                     [&](const ParameterInfo& parameter) { return parameter.key == key; });
}

// The number given, or `fallback`; an error if it was given to a method without it or lies outside (0, 1].
absl::StatusOr<double> Given(const ControlInfo& method, std::string_view key, std::optional<double> given,
                             double fallback) {
  if (!given) return fallback;
  if (!Takes(method, key)) return absl::InvalidArgumentError(fmt::format("{} has no parameter {}", method.name, key));
  if (!(*given > 0 && *given <= 1)) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {} = {} is not in (0, 1]", method.name, key, FormatNumber(*given)));
  }
  return *given;
}

const ControlInfo& Info(ControlMethod method) { return ControlTable()[static_cast<size_t>(method)]; }

// The numbers of `spec` with their keys, in the order in which they are printed.   Spec: ControlSpec, const or not.
template <typename Spec>
auto Numbers(Spec& spec) {
  return std::array{std::pair{"eta", &spec.eta},     std::pair{"alpha", &spec.alpha},
                    std::pair{"beta", &spec.beta},   std::pair{"momentum", &spec.momentum},
                    std::pair{"decay", &spec.decay}, std::pair{"participation", &spec.participation}};
}

constexpr std::array<std::string_view, 2> kTruths = {"false", "true"};
constexpr std::array<std::string_view, 2> kStarts = {"zero", "dense"};

}  // namespace

std::span<const ControlInfo> ControlTable() {
  static const ParameterInfo kDecay = {"decay", "number in (0, 1]", "1",
                                       "factor on the kept error, each step before its use"};
  static const ParameterInfo kParticipation = {
      "participation", "number in (0, 1]", "1",
      "probability that a rank takes part in a step, by a coin all ranks know"};
  static const ParameterInfo kInit = {"init", "zero|dense", "zero",
                                      "dense: the first step is, and shifts start at its gradients"};
  static const std::vector<ControlInfo> table = {
      // in the order of ControlMethod
      {.method = ControlMethod::kNone,
       .name = "none",
       .summary =
           "what the codec loses is lost: a noise floor with an unbiased codec, a stall or worse with a biased one",
       .source = "Alistarh et al. 2017 (QSGD)",
       .keeps = "-",
       .needs = "any",
       .parameters = {}},
      {.method = ControlMethod::kEf,
       .name = "ef",
       .summary = "error feedback: adds what was lost to the next message; stalls where ranks' data differ",
       .source = "Seide et al. 2014; Karimireddy et al. 2019 (arXiv 1901.09847)",
       .keeps = "e",
       .needs = "contractive",
       .parameters = {kDecay, kParticipation}},
      {.method = ControlMethod::kEf21,
       .name = "ef21",
       .summary = "sends differences to a shift that learns the gradient; for full or large-batch gradients",
       .source = "Richtarik, Sokolov, Fatkhullin 2021 (arXiv 2106.05203)",
       .keeps = "h, H",
       .needs = "contractive",
       .parameters = {kInit, kParticipation}},
      {.method = ControlMethod::kEf21Sgdm,
       .name = "ef21-sgdm",
       .summary = "ef21 on a momentum of the gradients, which removes its noise floor",
       .source = "Fatkhullin, Tyurin, Richtarik 2023 (arXiv 2305.15155)",
       .keeps = "h, H, v",
       .needs = "contractive",
       .parameters = {{"beta", "number in (0, 1]", "0.1", "weight of the new gradient in the momentum"},
                      kInit,
                      kParticipation}},
      {.method = ControlMethod::kDiana,
       .name = "diana",
       .summary = "sends differences to a shift that learns the gradient slowly, for unbiased codecs",
       .source = "Mishchenko et al. 2019 (arXiv 1901.09269)",
       .keeps = "h, H",
       .needs = "unbiased",
       .parameters = {{"alpha", "number in (0, 1/(1+omega)]", "1/(1+omega)", "rate at which the shift moves"},
                      kParticipation}},
      {.method = ControlMethod::kEControl,
       .name = "econtrol",
       .summary = "controls error and shift with one message; exact on unequal data and under noise",
       .source = "Gao, Islamov, Stich 2024 (arXiv 2311.05645)",
       .keeps = "e, h, H",
       .needs = "contractive",
       .parameters = {{"eta", "number in (0, 1]", "the codec's suggestion, k/d for sparsifiers",
                       "weight of the kept error"},
                      {"beta", "number in (0, 1]", "1", "weight of the new gradient in a momentum; 1: none"},
                      kDecay,
                      kInit,
                      kParticipation}},
      {.method = ControlMethod::kDgc,
       .name = "dgc",
       .summary =
           "error feedback on a heavy ball that stops where an entry was sent; for plain SGD, whose momentum it is",
       .source = "Deep Gradient Compression: Lin et al. 2018 (arXiv 1712.01887)",
       .keeps = "e, v",
       .needs = "sparse",
       .parameters = {{"momentum", "number in (0, 1]", "0.9", "factor on the momentum, each step"},
                      {"nesterov", "true|false", "false", "look ahead along the momentum"},
                      kDecay,
                      kParticipation}},
  };
  return table;
}

const ControlInfo* FindControl(std::string_view name) {
  for (const ControlInfo& info : ControlTable()) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

absl::StatusOr<ControlSpec> ParseControl(const SpecCall& call) {
  const ControlInfo* info = FindControl(call.name);
  if (info == nullptr) {
    std::string known;
    for (const ControlInfo& entry : ControlTable()) known += (known.empty() ? "" : ", ") + entry.name;
    return SpecError(call.column, fmt::format("unknown error control \"{}\"; known are {}", call.name, known));
  }
  SpecArguments arguments(call, info->parameters);
  ControlSpec spec;
  spec.method = info->method;
  for (auto [key, value] : Numbers(spec)) {
    if (arguments.Has(key)) *value = arguments.Number(key, 1, kSmallestPositive, 1);
  }
  if (arguments.Has("nesterov")) spec.nesterov = arguments.Word("nesterov", kTruths[0], kTruths) == kTruths[1];
  if (arguments.Has("init")) spec.dense_start = arguments.Word("init", kStarts[0], kStarts) == kStarts[1];
  LACONIC_RETURN_IF_ERROR(arguments.Finish());
  return spec;
}

std::string ControlSpec::ToString() const {
  std::string arguments;
  const auto add = [&](std::string_view key, std::string_view value) {
    arguments += fmt::format("{}{}={}", arguments.empty() ? "" : ", ", key, value);
  };
  for (auto [key, value] : Numbers(*this)) {
    if (*value) add(key, FormatNumber(**value));
  }
  if (nesterov) add("nesterov", "true");
  if (dense_start) add("init", "dense");
  return arguments.empty() ? Info(method).name : fmt::format("{}({})", Info(method).name, arguments);
}

absl::StatusOr<ControlOptions> ResolveControl(const ControlSpec& spec, const Traits& traits,
                                              std::string_view codec_spec) {
  const ControlInfo& info = Info(spec.method);
  const bool is_enough = spec.method == ControlMethod::kEf && BoundsFedBackError(traits);
  if (info.needs == "contractive" && !is_enough)
    LACONIC_RETURN_IF_ERROR(CheckContractive(info.name, traits, codec_spec));
  if (info.needs == "sparse") LACONIC_RETURN_IF_ERROR(CheckSparse(info.name, traits, codec_spec));
  if (info.needs == "unbiased") LACONIC_RETURN_IF_ERROR(CheckUnbiased(info.name, traits, codec_spec));

  const double largest_alpha = 1 / (1 + traits.omega.value_or(0));
  LACONIC_ASSIGN_OR_RETURN(const double eta, Given(info, "eta", spec.eta, traits.suggested_eta));
  LACONIC_ASSIGN_OR_RETURN(const double alpha, Given(info, "alpha", spec.alpha, largest_alpha));
  LACONIC_ASSIGN_OR_RETURN(const double beta,
                           Given(info, "beta", spec.beta, spec.method == ControlMethod::kEf21Sgdm ? 0.1 : 1));
  LACONIC_ASSIGN_OR_RETURN(const double decay, Given(info, "decay", spec.decay, 1));
  LACONIC_ASSIGN_OR_RETURN(const double momentum, Given(info, "momentum", spec.momentum, 0.9));
  LACONIC_ASSIGN_OR_RETURN(const double participation, Given(info, "participation", spec.participation, 1));
  for (const auto& [key, given] : {std::pair{"nesterov", spec.nesterov}, {"init", spec.dense_start}}) {
    if (given && !Takes(info, key)) {
      return absl::InvalidArgumentError(fmt::format("{} has no parameter {}", info.name, key));
    }
  }
  if (alpha > largest_alpha * (1 + 1e-9)) {  // omega itself is rounded
    return absl::InvalidArgumentError(
        fmt::format("{}: alpha = {} exceeds 1/(1+omega) = {} of {}, above which the shift need not converge", info.name,
                    FormatNumber(alpha), FormatNumber(largest_alpha), codec_spec));
  }

  ControlOptions options{.decay = decay, .participation = participation, .dense_start = spec.dense_start};
  switch (spec.method) {
    case ControlMethod::kNone:
      break;
    case ControlMethod::kEf:
      options.eta = 1;
      break;
    case ControlMethod::kEf21:
      options.alpha = 1;
      break;
    case ControlMethod::kEf21Sgdm:
      options.alpha = 1;
      options.momentum = Momentum::Average(beta);
      break;
    case ControlMethod::kDiana:
      options.alpha = alpha;
      break;
    case ControlMethod::kEControl:
      options.eta = eta;
      options.alpha = 1;
      options.momentum = Momentum::Average(beta);
      break;
    case ControlMethod::kDgc:
      options.eta = 1;
      // u <- m u + g; e <- e + u. With Nesterov's look-ahead u <- m (u + g); e <- e + u + g.
      options.momentum = {.keep = momentum,
                          .take = spec.nesterov ? momentum : 1,
                          .weight = spec.nesterov ? 1 + momentum : 1,
                          .masked = true};
      break;
  }
  return options;
}

ControlOptions OwnerControl(const ControlOptions& worker, const Traits& traits, OwnerSends sends) {
  const bool worker_keeps_state = worker.keeps_error() || worker.keeps_shift() || worker.keeps_momentum();
  if (!worker_keeps_state || !BoundsFedBackError(traits)) return {};
  ControlOptions owner{.eta = 1, .decay = worker.keeps_shift() ? 1 : worker.decay};
  if (sends == OwnerSends::kDirection && worker.keeps_shift()) owner.momentum = {.keep = 1, .take = worker.alpha};
  return owner;
}

absl::Status CheckOwner(const ControlOptions& worker, const Traits& traits, std::string_view codec_spec) {
  if (!worker.keeps_shift()) return absl::OkStatus();
  if (!Contraction(traits)) {
    return absl::InvalidArgumentError(fmt::format(
        "a method with shifts cannot be compressed twice with {}, which is not contractive: the owner could not "
        "make up for its own loss and the shift average would drift; take strategy gather",
        codec_spec));
  }
  if (worker.participation < 1 && worker.alpha < 1) {
    return absl::InvalidArgumentError(fmt::format(
        "shifts that move at a rate below 1 (diana: alpha = {}) and ranks that come and go (participation = {}) cannot "
        "be "
        "compressed twice: what the owner still owes would count at another rate each step; take strategy gather",
        FormatNumber(worker.alpha), FormatNumber(worker.participation)));
  }
  return absl::OkStatus();
}

}  // namespace laconic
