// Check 14 of the federated methods through the whole library: codecs, bytes, both sides, in float. (In double, and to
// 1e-10: tests/golden/federated_quadratic_test.cc.)
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "laconic/base/status.h"
#include "tests/base/status_macros.h"
#include "tests/optim/federated/quadratic.h"

namespace laconic {
namespace {

using ::testing::Gt;
using ::testing::Lt;

constexpr char kRandK[] = "randk(ratio=0.2, scale=unbiased, seed=rank)";
constexpr char kTopK[] = "topk(ratio=0.2)";

absl::StatusOr<double> DistanceAfter(const FederatedPlan& plan, int rounds) {
  LACONIC_ASSIGN_OR_RETURN(auto simulation, Simulation::Create(plan, {}, Quadratics()));
  for (int r = 0; r < rounds; ++r) LACONIC_RETURN_IF_ERROR(simulation->Step().status());
  return DistanceToOptimum(simulation->model());
}

// Half as many rounds as to 1e-10 take the distance, at first .41, to about .41 sqrt(1e-10 / .41) = 6e-6 at a linear
// rate; 1e-5 allows for the clients drawn.
TEST(ControlledAveraging, PartialParticipation_ConvergesLinearly) {
  LACONIC_ASSERT_OK_AND_ASSIGN(const double scaffold, DistanceAfter(QuadraticPlan("scaffold"), 150));
  EXPECT_THAT(scaffold, Lt(1e-5));
  LACONIC_ASSERT_OK_AND_ASSIGN(const double scallion, DistanceAfter(QuadraticPlan("scallion(alpha=0.2)", kRandK), 600));
  EXPECT_THAT(scallion, Lt(1e-5));
  LACONIC_ASSERT_OK_AND_ASSIGN(const double scafcom, DistanceAfter(QuadraticPlan("scafcom", kTopK), 900));
  EXPECT_THAT(scafcom, Lt(1e-5));
}

// Clients work where the model was some rounds ago; half as many rounds again make up for it.
TEST(ControlledAveraging, CompressedDownlink_ConvergesToo) {
  FederatedPlan plan = QuadraticPlan("scafcom", kTopK);
  plan.downlink = kTopK;
  LACONIC_ASSERT_OK_AND_ASSIGN(const double scafcom, DistanceAfter(plan, 1350));
  EXPECT_THAT(scafcom, Lt(1e-5));
}

// The paper's recursion, in double (federated_quadratic.h), against 50 rounds of the library with everybody in. Each
// round rounds x, c and the gradients a few times at 2^-24 of numbers up to 2, and the recursion contracts.
TEST(ControlledAveraging, WithoutCodec_IsThePapersRecursion) {
  for (const bool momentum : {false, true}) {
    FederatedPlan plan = QuadraticPlan(momentum ? "scafcom(beta=0.2)" : "scallion(alpha=0.3)");
    plan.sampled = plan.clients;
    LACONIC_ASSERT_OK_AND_ASSIGN(auto simulation, Simulation::Create(plan, {}, Quadratics()));
    for (int r = 0; r < 50; ++r) LACONIC_ASSERT_OK(simulation->Step().status());
    const std::vector<double> expected = ControlledAveragingRecursion(0.3, 0.2, momentum, 50);
    double error = 0, norm = 0;
    for (size_t j = 0; j < kQuadraticElements; ++j) {
      error += std::pow(simulation->model()[j] - expected[j], 2);
      norm += std::pow(expected[j], 2);
    }
    EXPECT_LT(std::sqrt(error / norm), 1e-6);
  }
}

// With everybody in and one local step a correction of the step changes nothing, and the new H is H + mean(s).
TEST(ControlledAveraging, EverybodyAndOneLocalStep_IsEf21Sgdm) {
  FederatedPlan scafcom = QuadraticPlan("scafcom(beta=0.2)", kTopK), ef21 = QuadraticPlan("ef21-sgdm(beta=0.2)", kTopK);
  for (FederatedPlan* plan : {&scafcom, &ef21}) {
    plan->sampled = plan->clients;
    plan->work.steps = 1;
  }
  LACONIC_ASSERT_OK_AND_ASSIGN(auto a, Simulation::Create(scafcom, {}, Quadratics()));
  LACONIC_ASSERT_OK_AND_ASSIGN(auto b, Simulation::Create(ef21, {}, Quadratics()));
  for (int r = 0; r < 50; ++r) {
    LACONIC_ASSERT_OK(a->Step().status());
    LACONIC_ASSERT_OK(b->Step().status());
  }
  for (size_t j = 0; j < kQuadraticElements; ++j) EXPECT_NEAR(a->model()[j], b->model()[j], 1e-6);
}

TEST(Averaging, UnequalData_Stalls) {
  FederatedPlan plan = QuadraticPlan("fedavg");
  LACONIC_ASSERT_OK_AND_ASSIGN(const double partial, DistanceAfter(plan, 300));
  EXPECT_THAT(partial, Gt(0.1));
  // With everybody in every round what is left is the drift of local steps, the same to the digit in any arithmetic.
  plan.sampled = plan.clients;
  LACONIC_ASSERT_OK_AND_ASSIGN(const double full, DistanceAfter(plan, 300));
  EXPECT_NEAR(full, 6.66e-3, 5e-6);
}

// Shifts undo who was drawn and what the codec lost; the drift of plain local steps is left, 6.66e-3 as above. At these
// rates the rest is gone after 2000 rounds: the slowest factor is that of diana's shifts, (1 - 0.2 / 4)^2000 = e^-100.
TEST(ErrorFeedback, UnequalData_StallsAtTheDriftAlone) {
  for (const auto& [method, codec] :
       {std::pair{"ef21", kTopK}, std::pair{"econtrol", kTopK}, std::pair{"diana", kRandK}}) {
    LACONIC_ASSERT_OK_AND_ASSIGN(const double distance, DistanceAfter(QuadraticPlan(method, codec), 2000));
    EXPECT_NEAR(distance, 6.66e-3, 5e-6) << method;
  }
}

}  // namespace
}  // namespace laconic
