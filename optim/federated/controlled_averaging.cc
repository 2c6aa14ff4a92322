// Stochastic controlled averaging: every client keeps a control variate c_i, an estimate of its own gradient, the
// server their mean c = (1/N) sum c_i, and local steps go along grad F_i - c_i + c, so that all clients walk towards
// the same place however their data differ. With G_i the mean of what client i stepped along, g_i = G_i + c_i - c is
// its mean gradient. One vector goes up, two come down (x and c). For the S of N clients that take part:
//
//   client i   m_i = ...                       s_i = C(m_i)               c_i <- c_i + s_i
//   server     x <- x - eta_g eta_l K (c + mean(s_i))                     c <- c + (S/N) mean(s_i)
//
//   SCAFFOLD   Karimireddy et al. 2020 (arXiv 1910.06378), option II, in the form of Huang, Li and Li that sends one
//              vector: m_i = g_i - c_i = G_i - c, uncompressed. So c_i becomes g_i.
//   SCALLION   Huang, Li and Li 2024 (arXiv 2308.08165), Algorithm 2, for unbiased C: m_i = alpha (g_i - c_i). alpha <=
//              1/(1+omega), the default, keeps the variates from amplifying what C adds; where omega is small (4 bits
//              and more) alpha = 1 is as safe and learns faster.
//   SCAFCOM    the same paper, Algorithm 3, for contractive C: v_i <- (1 - beta) v_i + beta g_i,  m_i = v_i - c_i. With
//              S = N and K = 1 it is EF21-SGDM.
//
// c = (1/N) sum c_i holds after every round, whoever took part, because both sides add the same decoded s_i.
#include <array>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "optim/federated/families.h"
#include "optim/federated/recurrence_method.h"

namespace laconic::internal {
namespace {

using Method = std::unique_ptr<FederatedMethod>;

constexpr LocalRule kCorrected{.corrected = true};

// Shifts that move by all of s.
ControlOptions Variates() {
  ControlOptions options;
  options.alpha = 1;
  return options;
}

absl::StatusOr<Method> MakeScaffold(const SpecCall& call, const Traits& traits, std::string_view codec) {
  LACONIC_RETURN_IF_ERROR(SpecArguments(call, {}).Finish());
  if (traits.omega != 0.0) {
    return absl::InvalidArgumentError(fmt::format(
        "scaffold takes messages as they are and {} changes them; with the codec identity it is scaffold, with an "
        "unbiased codec take scallion, with a contractive one scafcom",
        codec));
  }
  return std::make_unique<RecurrenceMethod>("scaffold", Variates(), kCorrected);
}

const std::array<ParameterInfo, 1>& ScallionParameters() {
  static const std::array<ParameterInfo, 1> parameters = {
      {{"alpha", "number in (0, 1]", "1/(1+omega)", "scale of what is sent; 1 is safe where omega is well below 1"}}};
  return parameters;
}

absl::StatusOr<Method> MakeScallion(const SpecCall& call, const Traits& traits, std::string_view codec) {
  SpecArguments arguments(call, ScallionParameters());
  const double alpha = arguments.Number("alpha", 1 / (1 + traits.omega.value_or(0)), kSmallestPositive, 1);
  LACONIC_RETURN_IF_ERROR(arguments.Finish());
  LACONIC_RETURN_IF_ERROR(ClientControl("scallion", {.method = ControlMethod::kDiana}, traits, codec).status());
  ControlOptions control = Variates();
  control.kappa = alpha;
  return std::make_unique<RecurrenceMethod>(fmt::format("scallion(alpha={})", FormatNumber(alpha)), control,
                                            kCorrected);
}

const std::array<ParameterInfo, 1>& ScafcomParameters() {
  static const std::array<ParameterInfo, 1> parameters = {
      {{"beta", "number in (0, 1]", "0.2", "weight of the new gradient in the client's momentum"}}};
  return parameters;
}

absl::StatusOr<Method> MakeScafcom(const SpecCall& call, const Traits& traits, std::string_view codec) {
  SpecArguments arguments(call, ScafcomParameters());
  const double beta = arguments.Number("beta", 0.2, kSmallestPositive, 1);
  LACONIC_RETURN_IF_ERROR(arguments.Finish());
  const ControlSpec spec{.method = ControlMethod::kEf21Sgdm, .beta = beta};
  LACONIC_ASSIGN_OR_RETURN(const ControlOptions control, ClientControl("scafcom", spec, traits, codec));
  return std::make_unique<RecurrenceMethod>(fmt::format("scafcom(beta={})", FormatNumber(beta)), control, kCorrected);
}

}  // namespace

std::vector<FederatedMethodInfo> ControlledAveragingMethods() {
  return {{.name = "scaffold",
           .summary = "control variates steer all clients to one place; exact where data differ",
           .source = "Karimireddy et al. 2020 (arXiv 1910.06378)",
           .needs = "identity",
           .client_keeps = "c_i",
           .server_keeps = "c",
           .broadcast = "x, c",
           .parameters = {},
           .make = MakeScaffold},
          {.name = "scallion",
           .summary = "scaffold with one vector up, through an unbiased codec",
           .source = "Huang, Li, Li 2024 (arXiv 2308.08165)",
           .needs = "unbiased",
           .client_keeps = "c_i",
           .server_keeps = "c",
           .broadcast = "x, c",
           .parameters = {ScallionParameters().begin(), ScallionParameters().end()},
           .make = MakeScallion},
          {.name = "scafcom",
           .summary = "scaffold with one vector up, through a contractive codec, on a local momentum",
           .source = "Huang, Li, Li 2024 (arXiv 2308.08165)",
           .needs = "contractive",
           .client_keeps = "c_i, v_i",
           .server_keeps = "c",
           .broadcast = "x, c",
           .parameters = {ScafcomParameters().begin(), ScafcomParameters().end()},
           .make = MakeScafcom}};
}

}  // namespace laconic::internal
