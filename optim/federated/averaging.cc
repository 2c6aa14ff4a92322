// Averaging: clients take K steps of their own and send how far they came; the server steps along the mean. For G_i =
// (x - y_i) / (eta_l K), the mean gradient along client i's way:
//
//   client i   s_i = C(G_i)                    server   x <- x - eta_g eta_l K mean(s_i)
//
//   FedAvg    McMahan et al. 2017 (arXiv 1602.05629). Where clients' data differ it stalls beside the optimum, at a
//             distance in proportion to eta_l K: their ways lead to different places (client drift).
//   FedProx   Li et al. 2020 (arXiv 1812.06127). Each gradient has mu (y - x) added, which keeps y_i near x.
//   FedPAQ    Reisizadeh et al. 2020 (arXiv 1909.13014); FedCOM: Haddadpour et al. 2021 (arXiv 2007.01154). FedAvg with
//             an unbiased C: what the codec adds is noise, omega / S of it.
#include <array>
#include <limits>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "optim/federated/families.h"
#include "optim/federated/recurrence_method.h"

namespace laconic::internal {
namespace {

using Method = std::unique_ptr<FederatedMethod>;

absl::StatusOr<Method> MakeFedAvg(const SpecCall& call, const Traits&, std::string_view) {
  LACONIC_RETURN_IF_ERROR(SpecArguments(call, {}).Finish());
  return std::make_unique<RecurrenceMethod>("fedavg", ControlOptions{});
}

const std::array<ParameterInfo, 1>& FedProxParameters() {
  static const std::array<ParameterInfo, 1> parameters = {
      {{"mu", "number > 0", "0.01", "pull of the round's model on each local step"}}};
  return parameters;
}

absl::StatusOr<Method> MakeFedProx(const SpecCall& call, const Traits&, std::string_view) {
  SpecArguments arguments(call, FedProxParameters());
  const double mu = arguments.Number("mu", 0.01, kSmallestPositive, std::numeric_limits<float>::max());
  LACONIC_RETURN_IF_ERROR(arguments.Finish());
  return std::make_unique<RecurrenceMethod>(fmt::format("fedprox(mu={})", FormatNumber(mu)), ControlOptions{},
                                            LocalRule{.proximity = mu});
}

absl::StatusOr<Method> MakeFedPaq(const SpecCall& call, const Traits& traits, std::string_view codec) {
  LACONIC_RETURN_IF_ERROR(SpecArguments(call, {}).Finish());
  if (!traits.omega) {
    return absl::InvalidArgumentError(
        fmt::format("fedpaq needs an unbiased codec and {} is biased: what it loses of every client, round after "
                    "round, would not average out; take an unbiased codec, such as quantize(rounding=stochastic), or a "
                    "method for biased ones, such as scafcom or fed-ef",
                    codec));
  }
  return std::make_unique<RecurrenceMethod>("fedpaq", ControlOptions{});
}

}  // namespace

std::vector<FederatedMethodInfo> AveragingMethods() {
  return {{.name = "fedavg",
           .summary = "averages what clients' local steps did; stalls where their data differ",
           .source = "McMahan et al. 2017 (arXiv 1602.05629)",
           .needs = "any",
           .client_keeps = "-",
           .server_keeps = "-",
           .broadcast = "x",
           .parameters = {},
           .make = MakeFedAvg},
          {.name = "fedprox",
           .summary = "fedavg whose local steps are pulled back to the round's model",
           .source = "Li et al. 2020 (arXiv 1812.06127)",
           .needs = "any",
           .client_keeps = "-",
           .server_keeps = "-",
           .broadcast = "x",
           .parameters = {FedProxParameters().begin(), FedProxParameters().end()},
           .make = MakeFedProx},
          {.name = "fedpaq",
           .summary = "fedavg with unbiased compression, which adds noise and no bias",
           .source = "Reisizadeh et al. 2020 (arXiv 1909.13014); FedCOM: Haddadpour et al. 2021 (arXiv 2007.01154)",
           .needs = "unbiased",
           .client_keeps = "-",
           .server_keeps = "-",
           .broadcast = "x",
           .parameters = {},
           .make = MakeFedPaq}};
}

}  // namespace laconic::internal
