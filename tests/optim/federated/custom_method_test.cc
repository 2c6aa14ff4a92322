// The worked example of docs/how-to-add-a-federated-method.md, which quotes what lies between the two lines of dashes
// word for word (test federated_method_guide_is_current).
// -------------------------------------------------------------------------------------------------------------------
#include <array>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/optim/federated/method.h"

namespace {

// FedDyn (Acar et al. 2021, arXiv 2111.04263): every client keeps l_i, which comes to be its own gradient at the
// optimum, and takes its local steps along grad F_i(y) - l_i + alpha (y - x). With G_i the mean of those:
//   client i   l_i <- l_i + alpha eta_l K s_i,   s_i = C(G_i)
//   server     H <- H + (S/N) mean(s_i);   x <- x - eta_g eta_l K (H + mean(s_i))
class FedDyn final : public laconic::FederatedMethod {
 public:
  explicit FedDyn(double alpha) : alpha_(alpha) {}

  std::string ToString() const override { return fmt::format("feddyn(alpha={})", laconic::FormatNumber(alpha_)); }
  std::vector<std::string> client_vectors() const override { return {"gradient"}; }  // l_i
  std::vector<std::string> server_vectors() const override { return {"drift"}; }     // H

  absl::Status Prepare(laconic::ClientRound& round) const override {
    // -l_i lies where the message will.
    for (size_t j = 0; j < round.message.size(); ++j) round.message[j] = -round.state[0][j];
    LACONIC_RETURN_IF_ERROR(laconic::TakeLocalSteps(round, {.correction = round.message, .proximity = alpha_}));
    std::copy(round.gradient.begin(), round.gradient.end(), round.message.begin());
    return absl::OkStatus();
  }

  void Commit(laconic::ClientRound& round, std::span<const float> sent) const override {
    const auto way = static_cast<float>(alpha_ * round.work.learning_rate * round.work.steps);
    for (size_t j = 0; j < sent.size(); ++j) round.state[0][j] += way * sent[j];
  }

  void Update(laconic::ServerRound& round) const override {
    const auto share = static_cast<float>(round.participation);
    for (size_t j = 0; j < round.mean_to_direction.size(); ++j) {
      float& mean = round.mean_to_direction[j];
      float& drift = round.state[0][j];
      drift += share * mean;
      mean += drift;
    }
  }

 private:
  const double alpha_;
};

laconic::FederatedMethodInfo FedDynInfo() {
  static const std::array<laconic::ParameterInfo, 1> parameters = {
      {{"alpha", "number in [1e-6, 1e6]", "1", "pull of the round's model on each local step"}}};
  return {.name = "feddyn",
          .summary = "every client learns its gradient at the optimum, and takes it off its local steps",
          .source = "Acar et al. 2021 (arXiv 2111.04263)",
          .needs = "contractive",
          .client_keeps = "l_i",
          .server_keeps = "H",
          .broadcast = "x",
          .parameters = {parameters.begin(), parameters.end()},
          .make = [](const laconic::SpecCall& call, const laconic::Traits& traits,
                     std::string_view codec) -> absl::StatusOr<std::unique_ptr<laconic::FederatedMethod>> {
            laconic::SpecArguments arguments(call, parameters);
            const double alpha = arguments.Number("alpha", 1, 1e-6, 1e6);
            LACONIC_RETURN_IF_ERROR(arguments.Finish());
            if (!traits.delta) {
              return absl::InvalidArgumentError(
                  fmt::format("feddyn needs a contractive codec and {} is none; take scaled({})", codec, codec));
            }
            return std::make_unique<FedDyn>(alpha);
          }};
}

}  // namespace
// -------------------------------------------------------------------------------------------------------------------

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/base/status_macros.h"
#include "tests/optim/federated/quadratic.h"

namespace laconic {
namespace {

using ::testing::HasSubstr;

TEST(CustomMethod, FedDyn_GetsPastTheDriftOfFedAvg) {
  const std::vector<FederatedMethodInfo> methods = {FedDynInfo()};
  for (const char* uplink : {"identity", "topk(ratio=0.2)"}) {
    FederatedPlan plan = QuadraticPlan("feddyn", uplink);
    LACONIC_ASSERT_OK_AND_ASSIGN(auto simulation, Simulation::Create(plan, {}, Quadratics(), methods));
    for (int t = 0; t < 2000; ++t) LACONIC_ASSERT_OK(simulation->Step().status());
    EXPECT_LT(DistanceToOptimum(simulation->model()), 1e-4);  // FedAvg: 0.4 with five clients a round
    EXPECT_EQ(simulation->store().touched_clients(), kQuadraticClients);
  }
}

TEST(CustomMethod, BesideTheBuiltInOnes_IsFoundByName) {
  std::vector<FederatedMethodInfo> methods(BuiltInFederatedMethods().begin(), BuiltInFederatedMethods().end());
  methods.push_back(FedDynInfo());
  QuadraticObjective objective;
  for (const char* method : {"feddyn(alpha=0.5)", "scaffold"}) {
    EXPECT_THAT(FederatedServer::Create(QuadraticPlan(method), objective.parameters(), methods), IsOk());
  }
  EXPECT_THAT(FederatedServer::Create(QuadraticPlan("feddyn", "randk(ratio=0.1, scale=unbiased)"),
                                      objective.parameters(), methods),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("feddyn needs a contractive codec")));
}

}  // namespace
}  // namespace laconic
