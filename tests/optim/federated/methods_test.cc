#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "laconic/optim/federated/method.h"
#include "laconic/optim/federated/vector_codec.h"
#include "tests/base/status_macros.h"
#include "tests/optim/federated/quadratic.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kRandK[] = "randk(ratio=0.2, scale=unbiased)";  // omega = 4
constexpr char kTopK[] = "topk(ratio=0.2)";                    // delta = 0.2

absl::StatusOr<std::unique_ptr<FederatedMethod>> Make(std::string_view method, std::string_view codec) {
  const std::vector<Parameter> model = {{.name = "x", .shape = Shape::Flat(100)}};
  LACONIC_ASSIGN_OR_RETURN(const VectorCodec vector_codec, VectorCodec::Create(codec, model));
  return MakeFederatedMethod(method, vector_codec.traits(), vector_codec.ToString());
}

std::string Canonical(std::string_view method, std::string_view codec) {
  const auto made = Make(method, codec);
  return made.ok() ? (*made)->ToString() : made.status().ToString();
}

std::string Refusal(std::string_view method, std::string_view codec) {
  return std::string(Make(method, codec).status().message());
}

TEST(FederatedMethods, CanonicalSpec_HasDefaultsWrittenOut) {
  EXPECT_EQ(Canonical("fedavg", "sign"), "fedavg");
  EXPECT_EQ(Canonical("fedprox", "identity"), "fedprox(mu=0.01)");
  EXPECT_EQ(Canonical("fedpaq", kRandK), "fedpaq");
  EXPECT_EQ(Canonical("scaffold", "identity"), "scaffold");
  EXPECT_EQ(Canonical("scallion", kRandK), "scallion(alpha=0.2)");  // 1 / (1 + omega)
  EXPECT_EQ(Canonical("scallion", "identity"), "scallion(alpha=1)");
  EXPECT_EQ(Canonical("scallion(alpha=1)", kRandK), "scallion(alpha=1)");
  EXPECT_EQ(Canonical("scafcom", kTopK), "scafcom(beta=0.2)");
  EXPECT_EQ(Canonical("fed-ef(decay=0.9)", kTopK), "fed-ef(decay=0.9)");
  EXPECT_EQ(Canonical("ef21", kTopK), "ef21");
  EXPECT_EQ(Canonical("ef21-sgdm", kTopK), "ef21-sgdm(beta=0.1)");
  EXPECT_EQ(Canonical("econtrol", kTopK), "econtrol(eta=0.2, beta=1, decay=1)");
  EXPECT_EQ(Canonical("diana", kRandK), "diana(alpha=0.2)");
}

TEST(FederatedMethods, CanonicalSpec_MakesTheSameMethod) {
  for (const FederatedMethodInfo& info : BuiltInFederatedMethods()) {
    const std::string canonical = Canonical(info.name, "identity");
    EXPECT_EQ(Canonical(canonical, "identity"), canonical);
  }
}

TEST(FederatedMethods, Table_SaysWhatTheMethodsKeep) {
  const auto count = [](const std::string& list) {
    return list == "-" ? 0u : 1u + static_cast<size_t>(std::ranges::count(list, ','));
  };
  for (const FederatedMethodInfo& info : BuiltInFederatedMethods()) {
    LACONIC_ASSERT_OK_AND_ASSIGN(const auto method, Make(info.name, "identity"));
    EXPECT_EQ(method->client_vectors().size(), count(info.client_keeps)) << info.name;
    EXPECT_EQ(method->server_vectors().size(), count(info.server_keeps)) << info.name;
    EXPECT_EQ(method->broadcast_vectors() + 1, count(info.broadcast)) << info.name;
  }
  LACONIC_ASSERT_OK_AND_ASSIGN(const auto scafcom, Make("scafcom", kTopK));
  EXPECT_THAT(scafcom->client_vectors(), ElementsAre("shift", "momentum"));
  EXPECT_THAT(scafcom->server_vectors(), ElementsAre("shift_average"));
  LACONIC_ASSERT_OK_AND_ASSIGN(const auto fedavg, Make("fedavg", kTopK));
  EXPECT_THAT(fedavg->client_vectors(), IsEmpty());
}

TEST(FederatedMethods, BiasedCodec_IsRefusedWithWhatToTakeInstead) {
  EXPECT_THAT(Refusal("fedpaq", kTopK), AllOf(HasSubstr("fedpaq needs an unbiased codec and topk(ratio=0.2"),
                                              HasSubstr("such as scafcom or fed-ef")));
  EXPECT_THAT(Refusal("scallion", kTopK),
              AllOf(HasSubstr("scallion keeps its clients' state as diana does: diana needs an unbiased codec"),
                    HasSubstr("quantize(rounding=stochastic)")));
  EXPECT_THAT(Refusal("diana", kTopK), testing::StartsWith("diana needs an unbiased codec"));
  EXPECT_THAT(Refusal("scaffold", kTopK), HasSubstr("with an unbiased codec take scallion, with a contractive one"));
}

TEST(FederatedMethods, AmplifyingCodec_IsRefusedWithItsWrapper) {
  for (const char* method : {"scafcom", "fed-ef", "ef21", "ef21-sgdm", "econtrol"}) {
    EXPECT_THAT(Refusal(method, kRandK),
                AllOf(HasSubstr(method), HasSubstr("needs a contractive codec"), HasSubstr("write scaled(randk(")));
    EXPECT_THAT(Make(method, "scaled(randk(ratio=0.2, scale=unbiased))"), IsOk());
  }
}

TEST(FederatedMethods, BadSpecs_NameTheColumn) {
  EXPECT_THAT(Refusal("fedavgg", "identity"),
              AllOf(HasSubstr("spec column 1: unknown federated method \"fedavgg\"; known are fedavg, fedprox"),
                    HasSubstr("scafcom")));
  EXPECT_THAT(Refusal("scallion(alpha=2)", kRandK), HasSubstr("spec column 16: scallion does not take alpha=2"));
  EXPECT_THAT(Refusal("scafcom(alpha=1)", kTopK), HasSubstr("scafcom has no key \"alpha\""));
  EXPECT_THAT(Refusal("econtrol(participation=0.5)", kTopK), HasSubstr("no key \"participation\""));
  EXPECT_THAT(Refusal("fedavg(1)", kTopK), HasSubstr("spec column 8"));
}

// Two steps on f(y) = (y - 1)^2 (curvature 2) from 0.
class ParabolaObjective final : public LocalObjective {
 public:
  std::span<const Parameter> parameters() const override { return parameters_; }
  std::span<float> weights() override { return {&y_, 1}; }
  std::span<const float> gradient() const override { return {&gradient_, 1}; }
  absl::StatusOr<double> Evaluate(const MinibatchKey&) override {
    if (fails) return absl::OutOfRangeError("no such client here");
    gradient_ = 2 * (y_ - 1);
    return (y_ - 1) * (y_ - 1);
  }
  bool fails = false;

 private:
  float y_ = 0, gradient_ = 0;
  std::vector<Parameter> parameters_ = {{.name = "y", .shape = Shape::Flat(1)}};
};

struct ParabolaRound {
  ParabolaObjective objective;
  std::vector<float> model = {0}, gradient = {9}, message = {9};
  ClientRound round{.client = 3, .round = 7, .work = {.steps = 2, .learning_rate = 0.25}};

  ParabolaRound() {
    round.objective = &objective;
    round.model = model;
    round.gradient = gradient;
    round.message = message;
  }
};

TEST(TakeLocalSteps, LeavesTheMeanOfWhatWasSteppedAlong) {
  ParabolaRound parabola;
  LACONIC_ASSERT_OK(TakeLocalSteps(parabola.round, {}));
  // -2 takes y to 0.5, -1 to 0.75; losses 1 and 0.25.
  EXPECT_THAT(parabola.gradient, ElementsAre(-1.5));
  EXPECT_EQ(parabola.objective.weights()[0], 0.75);
  EXPECT_EQ(parabola.round.loss, 0.625);
}

TEST(TakeLocalSteps, Correction_IsSteppedAlong) {
  ParabolaRound parabola;
  const std::vector<float> correction = {2};
  LACONIC_ASSERT_OK(TakeLocalSteps(parabola.round, {.correction = correction}));
  EXPECT_THAT(parabola.gradient, ElementsAre(0));  // -2 + 2, twice
}

TEST(TakeLocalSteps, Proximity_PullsBack) {
  ParabolaRound parabola;
  LACONIC_ASSERT_OK(TakeLocalSteps(parabola.round, {.proximity = 1}));
  EXPECT_THAT(parabola.gradient, ElementsAre(-1.25));  // -2, then -1 + (0.5 - 0)
}

TEST(TakeLocalSteps, NotFinite_NamesClientRoundAndStep) {
  ParabolaRound parabola;
  parabola.round.work.learning_rate = 3e38;
  EXPECT_THAT(TakeLocalSteps(parabola.round, {}),
              HasStatus(absl::StatusCode::kInvalidArgument,
                        HasSubstr("client 3, round 7, local step 0: the weights are not finite")));
  parabola.model[0] = 1e30f;
  parabola.round.work.learning_rate = 0.25;
  EXPECT_THAT(TakeLocalSteps(parabola.round, {}),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("local step 0: the loss is not finite")));
}

TEST(TakeLocalSteps, ObjectivesError_IsPassedOn) {
  ParabolaRound parabola;
  parabola.objective.fails = true;
  EXPECT_THAT(TakeLocalSteps(parabola.round, {}),
              HasStatus(absl::StatusCode::kOutOfRange, HasSubstr("no such client")));
}

}  // namespace
}  // namespace laconic
