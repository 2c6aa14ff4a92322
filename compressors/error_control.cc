#include "laconic/compressors/error_control.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <utility>

#include "fmt/format.h"
#include "laconic/base/status.h"

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

absl::Status CheckUnbiased(std::string_view method, const Traits& traits, std::string_view codec_spec) {
  if (traits.omega) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "{} needs an unbiased codec and {} is biased: its shifts would settle beside the gradients; take an unbiased "
      "codec, such as quantize(rounding=stochastic), or a method for biased ones, such as econtrol or ef21",
      method, codec_spec));
}

// The number given, or `fallback`; an error if it was given to a method without it or lies outside (0, 1].
absl::StatusOr<double> Given(const ControlInfo& method, std::string_view key, std::optional<double> given,
                             double fallback) {
  if (!given) return fallback;
  const bool known = std::any_of(method.parameters.begin(), method.parameters.end(),
                                 [&](const ParameterInfo& parameter) { return parameter.key == key; });
  if (!known) return absl::InvalidArgumentError(fmt::format("{} has no parameter {}", method.name, key));
  if (!(*given > 0 && *given <= 1)) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {} = {} is not in (0, 1]", method.name, key, FormatNumber(*given)));
  }
  return *given;
}

const ControlInfo& Info(ControlMethod method) { return ControlTable()[static_cast<size_t>(method)]; }

// Calls pass(keeps_error, keeps_shift, keeps_momentum) with compile-time booleans, so that each pass is a straight
// loop.
template <typename Pass>
void WithKept(const ControlOptions& options, Pass&& pass) {
  auto choose = [](bool value, auto&& next) { value ? next(std::true_type{}) : next(std::false_type{}); };
  choose(options.keeps_error(), [&](auto error) {
    choose(options.keeps_shift(),
           [&](auto shift) { choose(options.keeps_momentum(), [&](auto momentum) { pass(error, shift, momentum); }); });
  });
}

}  // namespace

std::span<const ControlInfo> ControlTable() {
  const ParameterInfo kDecay = {"decay", "number in (0, 1]", "1", "factor on the kept error, each step before its use"};
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
       .parameters = {kDecay}},
      {.method = ControlMethod::kEf21,
       .name = "ef21",
       .summary = "sends differences to a shift that learns the gradient; for full or large-batch gradients",
       .source = "Richtarik, Sokolov, Fatkhullin 2021 (arXiv 2106.05203)",
       .keeps = "h, H",
       .needs = "contractive",
       .parameters = {}},
      {.method = ControlMethod::kEf21Sgdm,
       .name = "ef21-sgdm",
       .summary = "ef21 on a momentum of the gradients, which removes its noise floor",
       .source = "Fatkhullin, Tyurin, Richtarik 2023 (arXiv 2305.15155)",
       .keeps = "h, H, v",
       .needs = "contractive",
       .parameters = {{"beta", "number in (0, 1]", "0.1", "weight of the new gradient in the momentum"}}},
      {.method = ControlMethod::kDiana,
       .name = "diana",
       .summary = "sends differences to a shift that learns the gradient slowly, for unbiased codecs",
       .source = "Mishchenko et al. 2019 (arXiv 1901.09269)",
       .keeps = "h, H",
       .needs = "unbiased",
       .parameters = {{"alpha", "number in (0, 1/(1+omega)]", "1/(1+omega)", "rate at which the shift moves"}}},
      {.method = ControlMethod::kEControl,
       .name = "econtrol",
       .summary = "controls error and shift with one message; exact on unequal data and under noise",
       .source = "Gao, Islamov, Stich 2024 (arXiv 2311.05645)",
       .keeps = "e, h, H",
       .needs = "contractive",
       .parameters = {{"eta", "number in (0, 1]", "the codec's suggestion, k/d for sparsifiers",
                       "weight of the kept error"},
                      {"beta", "number in (0, 1]", "1", "weight of the new gradient in a momentum; 1: none"},
                      kDecay}},
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
  for (auto [key, value] :
       {std::pair{"eta", &spec.eta}, {"alpha", &spec.alpha}, {"beta", &spec.beta}, {"decay", &spec.decay}}) {
    if (arguments.Has(key)) *value = arguments.Number(key, 1, kSmallestPositive, 1);
  }
  LACONIC_RETURN_IF_ERROR(arguments.Finish());
  return spec;
}

std::string ControlSpec::ToString() const {
  std::string arguments;
  for (auto [key, value] : {std::pair{"eta", eta}, {"alpha", alpha}, {"beta", beta}, {"decay", decay}}) {
    if (value) arguments += fmt::format("{}{}={}", arguments.empty() ? "" : ", ", key, FormatNumber(*value));
  }
  return arguments.empty() ? Info(method).name : fmt::format("{}({})", Info(method).name, arguments);
}

absl::StatusOr<ControlOptions> ResolveControl(const ControlSpec& spec, const Traits& traits,
                                              std::string_view codec_spec) {
  const ControlInfo& info = Info(spec.method);
  const bool is_enough = spec.method == ControlMethod::kEf && BoundsFedBackError(traits);
  if (info.needs == "contractive" && !is_enough) LACONIC_RETURN_IF_ERROR(CheckContractive(info.name, traits, codec_spec));
  if (info.needs == "unbiased") LACONIC_RETURN_IF_ERROR(CheckUnbiased(info.name, traits, codec_spec));

  const double largest_alpha = 1 / (1 + traits.omega.value_or(0));
  LACONIC_ASSIGN_OR_RETURN(const double eta, Given(info, "eta", spec.eta, traits.suggested_eta));
  LACONIC_ASSIGN_OR_RETURN(const double alpha, Given(info, "alpha", spec.alpha, largest_alpha));
  LACONIC_ASSIGN_OR_RETURN(const double beta,
                           Given(info, "beta", spec.beta, spec.method == ControlMethod::kEf21Sgdm ? 0.1 : 1));
  LACONIC_ASSIGN_OR_RETURN(const double decay, Given(info, "decay", spec.decay, 1));
  if (alpha > largest_alpha * (1 + 1e-9)) {  // omega itself is rounded
    return absl::InvalidArgumentError(
        fmt::format("{}: alpha = {} exceeds 1/(1+omega) = {} of {}, above which the shift need not converge", info.name,
                    FormatNumber(alpha), FormatNumber(largest_alpha), codec_spec));
  }

  switch (spec.method) {
    case ControlMethod::kNone:
      return ControlOptions{};
    case ControlMethod::kEf:
      return ControlOptions{.eta = 1, .decay = decay};
    case ControlMethod::kEf21:
      return ControlOptions{.alpha = 1};
    case ControlMethod::kEf21Sgdm:
      return ControlOptions{.alpha = 1, .beta = beta};
    case ControlMethod::kDiana:
      return ControlOptions{.alpha = alpha};
    case ControlMethod::kEControl:
      return ControlOptions{.eta = eta, .alpha = 1, .beta = beta, .decay = decay};
  }
  return absl::InternalError("unreachable: unknown control method");
}

ControlOptions OwnerControl(const ControlOptions& worker, const Traits& traits) {
  const bool worker_keeps_state = worker.keeps_error() || worker.keeps_shift() || worker.keeps_momentum();
  if (!worker_keeps_state || !BoundsFedBackError(traits)) return {};
  return {.eta = 1, .decay = worker.keeps_shift() ? 1 : worker.decay};
}

absl::Status CheckOwner(const ControlOptions& worker, const Traits& traits, std::string_view codec_spec) {
  if (!worker.keeps_shift() || Contraction(traits)) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "a method with shifts cannot be compressed twice with {}, which is not contractive: the owner could not "
      "make up for its own loss and the shift average would drift; take strategy gather",
      codec_spec));
}

template <typename T>
BasicErrorControl<T>::BasicErrorControl(const ControlOptions& options, size_t elements)
    : options_(options),
      elements_(elements),
      error_(options.keeps_error() ? elements : 0),
      shift_(options.keeps_shift() ? elements : 0),
      shift_average_(options.keeps_shift() ? elements : 0),
      momentum_(options.keeps_momentum() ? elements : 0) {
  assert(!options.keeps_error() || options.kappa == 1);  // else m - s is not the residual of g - h + eta e
}

template <typename T>
BasicMessage<T> BasicErrorControl<T>::Prepare(std::span<const T> gradient, T error_scale) {
  assert(gradient.size() == elements_);
  error_scale_ = error_scale * static_cast<T>(options_.decay);
  BasicMessage<T> message(gradient);
  message.momentum = momentum_;
  message.shift = shift_;
  message.error = error_;
  message.beta = static_cast<T>(options_.beta);
  message.error_weight = static_cast<T>(options_.eta) * error_scale_;
  message.kappa = static_cast<T>(options_.kappa);
  return message;
}

template <typename T>
std::span<T> BasicErrorControl<T>::residual() {
  residual_.resize(elements_);
  return residual_;
}

template <typename T>
void BasicErrorControl<T>::Commit(std::span<const T> gradient, std::span<const T> sent) {
  assert(gradient.size() == elements_);
  assert(!options_.keeps_shift() || sent.size() == elements_);
  // At eta = 1 the residual is the new error: no arithmetic, no pass.
  const bool error_is_residual = options_.eta == 1;
  if (error_is_residual) std::swap(residual_, error_);

  const T kept = (1 - static_cast<T>(options_.eta)) * error_scale_;
  const T alpha = static_cast<T>(options_.alpha);
  const T beta = static_cast<T>(options_.beta);
  const T keep = 1 - beta;
  const T* g = gradient.data();
  const T* s = sent.data();
  const T* r = residual_.data();
  T* e = error_.data();
  T* h = shift_.data();
  T* v = momentum_.data();
  ControlOptions pass = options_;
  if (error_is_residual) pass.eta = 0;
  WithKept(pass, [&](auto updates_error, auto keeps_shift, auto keeps_momentum) {
    if constexpr (!updates_error && !keeps_shift && !keeps_momentum) return;
    for (size_t i = 0; i < elements_; ++i) {
      if constexpr (updates_error) e[i] = r[i] + kept * e[i];          // e <- r + (1 - eta) e  =  e + g - h - s
      if constexpr (keeps_shift) h[i] += alpha * s[i];                 // h <- h + alpha s
      if constexpr (keeps_momentum) v[i] = keep * v[i] + beta * g[i];  // v <- (1 - beta) v + beta g
    }
  });
}

template <typename T>
void BasicErrorControl<T>::Direction(std::span<T> mean_sent_to_direction, T participation) {
  assert(mean_sent_to_direction.size() == elements_);
  if (!options_.keeps_shift()) return;  // d = mean(s)
  const T rate = static_cast<T>(options_.alpha) * participation;
  const bool new_average = options_.alpha == 1 && participation != 1;
  T* d = mean_sent_to_direction.data();
  T* average = shift_average_.data();
  if (new_average) {
    for (size_t i = 0; i < elements_; ++i) {
      average[i] += rate * d[i];
      d[i] = average[i];  // d = H + p mean(s)
    }
  } else {
    for (size_t i = 0; i < elements_; ++i) {
      const T mean = d[i];
      d[i] = average[i] + mean;   // d = H + mean(s)
      average[i] += rate * mean;  // H <- H + alpha p mean(s)
    }
  }
}

template <typename T>
void BasicErrorControl<T>::SetShift(std::span<const T> shift, std::span<const T> shift_average) {
  assert(shift.size() == shift_.size() && shift_average.size() == shift_average_.size());
  std::copy(shift.begin(), shift.end(), shift_.begin());
  std::copy(shift_average.begin(), shift_average.end(), shift_average_.begin());
}

template <typename T>
void BasicErrorControl<T>::SetMomentum(std::span<const T> momentum) {
  assert(momentum.size() == momentum_.size());
  std::copy(momentum.begin(), momentum.end(), momentum_.begin());
}

template <typename T>
void BasicErrorControl<T>::Save(StateWriter& out) const {
  if (options_.keeps_error()) out.Floats("error", error_);
  if (options_.keeps_shift()) out.Floats("shift", shift_);
  if (options_.keeps_shift()) out.Floats("shift_average", shift_average_);
  if (options_.keeps_momentum()) out.Floats("momentum", momentum_);
}

template <typename T>
absl::Status BasicErrorControl<T>::Load(const StateReader& in) {
  BasicErrorControl loaded(options_, elements_);
  if (options_.keeps_error()) LACONIC_RETURN_IF_ERROR(in.Floats("error", std::span<float>(loaded.error_)));
  if (options_.keeps_shift()) LACONIC_RETURN_IF_ERROR(in.Floats("shift", std::span<float>(loaded.shift_)));
  if (options_.keeps_shift())
    LACONIC_RETURN_IF_ERROR(in.Floats("shift_average", std::span<float>(loaded.shift_average_)));
  if (options_.keeps_momentum()) LACONIC_RETURN_IF_ERROR(in.Floats("momentum", std::span<float>(loaded.momentum_)));
  *this = std::move(loaded);
  return absl::OkStatus();
}

template class BasicErrorControl<float>;
template class BasicErrorControl<double>;

}  // namespace laconic
