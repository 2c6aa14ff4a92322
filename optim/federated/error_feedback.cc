// The error-feedback family (compressors/error_control.h) with clients for ranks and their K local steps for a
// gradient: g_i = G_i = (x - y_i) / (eta_l K). The S of N clients that take part move their state, the others keep it
// as it is. H, where there is one, lies with the server alone.
//
//   Fed-EF      Li and Li 2023 (arXiv 2211.14292): m_i = e_i + g_i, e_i <- m_i - s_i; x along mean(s_i). Converges
//   where
//               clients' data are alike.
//   EF21        Richtarik, Sokolov and Fatkhullin 2021 (arXiv 2106.05203), with S < N EF21-PP (Fatkhullin et al. 2021,
//               arXiv 2110.03294): m_i = g_i - h_i, h_i <- h_i + s_i; H <- H + (S/N) mean(s_i), x along the new H.
//   EF21-SGDM   Fatkhullin, Tyurin and Richtarik 2023 (arXiv 2305.15155): the same of v_i <- (1 - beta) v_i + beta g_i.
//   EControl    Gao, Islamov and Stich 2024 (arXiv 2311.05645): m_i = g_i - h_i + eta e_i, e_i <- e_i + g_i - h_i -
//   s_i,
//               h_i <- h_i + s_i; x along the new H. With S < N not analysed in the paper (docs/algorithms.md).
//   DIANA       Mishchenko et al. 2019 (arXiv 1901.09269), unbiased C: m_i = g_i - h_i, h_i <- h_i + alpha s_i; x along
//               H + mean(s_i), H <- H + alpha (S/N) mean(s_i).
//
// The local steps are plain ones: with K > 1 all of these share the drift of averaging.cc, which controlled averaging
// alone takes out.
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "optim/federated/families.h"
#include "optim/federated/recurrence_method.h"

namespace laconic::internal {
namespace {

using Method = std::unique_ptr<FederatedMethod>;

const ControlInfo& Control(ControlMethod method) { return ControlTable()[static_cast<size_t>(method)]; }

// The keys of a control that make sense of a client: who takes part, and from where, is the run's business.
std::vector<ParameterInfo> Parameters(ControlMethod method) {
  std::vector<ParameterInfo> parameters;
  for (const ParameterInfo& parameter : Control(method).parameters) {
    if (parameter.key != "participation" && parameter.key != "init") parameters.push_back(parameter);
  }
  return parameters;
}

// The number of `options` that `key` sets.
double Number(const ControlOptions& options, std::string_view key) {
  if (key == "eta") return options.eta;
  if (key == "alpha") return options.alpha;
  return key == "beta" ? options.momentum.take : options.decay;
}

std::optional<double>& Number(ControlSpec& spec, std::string_view key) {
  if (key == "eta") return spec.eta;
  if (key == "alpha") return spec.alpha;
  return key == "beta" ? spec.beta : spec.decay;
}

// The method `name` whose clients keep their state as the control `method` does.
absl::StatusOr<Method> Make(std::string_view name, ControlMethod method, StepAlong along, const SpecCall& call,
                            const Traits& traits, std::string_view codec) {
  const std::vector<ParameterInfo> parameters = Parameters(method);
  SpecArguments arguments(call, parameters);
  ControlSpec spec{.method = method};
  for (const ParameterInfo& parameter : parameters) {
    if (!arguments.Has(parameter.key)) continue;
    Number(spec, parameter.key) = arguments.Number(parameter.key, 1, kSmallestPositive, 1);
  }
  LACONIC_RETURN_IF_ERROR(arguments.Finish());
  LACONIC_ASSIGN_OR_RETURN(const ControlOptions options, ClientControl(name, spec, traits, codec));

  std::string canonical(name);
  for (size_t i = 0; i < parameters.size(); ++i) {
    const std::string& key = parameters[i].key;
    canonical += fmt::format("{}{}={}", i == 0 ? "(" : ", ", key, FormatNumber(Number(options, key)));
  }
  if (!parameters.empty()) canonical += ")";
  return std::make_unique<RecurrenceMethod>(canonical, options, LocalRule{}, along);
}

// Without shifts a step goes along mean(s) whatever StepAlong says.
absl::StatusOr<Method> MakeFedEf(const SpecCall& call, const Traits& traits, std::string_view codec) {
  return Make("fed-ef", ControlMethod::kEf, StepAlong::kAveragePlusMean, call, traits, codec);
}
absl::StatusOr<Method> MakeEf21(const SpecCall& call, const Traits& traits, std::string_view codec) {
  return Make("ef21", ControlMethod::kEf21, StepAlong::kNewAverage, call, traits, codec);
}
absl::StatusOr<Method> MakeEf21Sgdm(const SpecCall& call, const Traits& traits, std::string_view codec) {
  return Make("ef21-sgdm", ControlMethod::kEf21Sgdm, StepAlong::kNewAverage, call, traits, codec);
}
absl::StatusOr<Method> MakeEControl(const SpecCall& call, const Traits& traits, std::string_view codec) {
  return Make("econtrol", ControlMethod::kEControl, StepAlong::kNewAverage, call, traits, codec);
}
absl::StatusOr<Method> MakeDiana(const SpecCall& call, const Traits& traits, std::string_view codec) {
  return Make("diana", ControlMethod::kDiana, StepAlong::kAveragePlusMean, call, traits, codec);
}

FederatedMethodInfo Info(std::string name, std::string summary, std::string source, ControlMethod method,
                         std::string client_keeps, std::string server_keeps, decltype(FederatedMethodInfo::make) make) {
  return {.name = std::move(name),
          .summary = std::move(summary),
          .source = std::move(source),
          .needs = Control(method).needs,
          .client_keeps = std::move(client_keeps),
          .server_keeps = std::move(server_keeps),
          .broadcast = "x",
          .parameters = Parameters(method),
          .make = make};
}

}  // namespace

std::vector<FederatedMethodInfo> ErrorFeedbackMethods() {
  return {Info("fed-ef", "fedavg with error feedback on each client; stalls where their data differ",
               "Li, Li 2023 (arXiv 2211.14292)", ControlMethod::kEf, "e_i", "-", MakeFedEf),
          Info("ef21", "sends differences to a shift that learns the client's gradient; ef21-pp where clients sit out",
               "Richtarik et al. 2021 (arXiv 2106.05203); Fatkhullin et al. 2021 (arXiv 2110.03294)",
               ControlMethod::kEf21, "h_i", "H", MakeEf21),
          Info("ef21-sgdm", "ef21 on a momentum of the client's gradients, which removes its noise floor",
               "Fatkhullin, Tyurin, Richtarik 2023 (arXiv 2305.15155)", ControlMethod::kEf21Sgdm, "h_i, v_i", "H",
               MakeEf21Sgdm),
          Info("econtrol", "controls error and shift with one message; exact on unequal data and under noise",
               "Gao, Islamov, Stich 2024 (arXiv 2311.05645)", ControlMethod::kEControl, "e_i, h_i", "H", MakeEControl),
          Info("diana", "sends differences to a shift that learns the client's gradient slowly, for unbiased codecs",
               "Mishchenko et al. 2019 (arXiv 1901.09269)", ControlMethod::kDiana, "h_i", "H", MakeDiana)};
}

}  // namespace laconic::internal
