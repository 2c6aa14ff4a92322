#include "laconic/compressors/error_control.h"

#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "laconic/base/state.h"
#include "rapidcheck/gtest.h"
#include "tests/base/matchers.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Writes the step's message where the codec will turn it into the residual.
void FormMessage(ErrorControl& control, std::span<const float> gradient, float error_scale = 1) {
  control.Prepare(gradient, error_scale).Form(0, control.residual());
}

// The message so far, keeping only its first element: sent = (m[0], 0, ...), residual = (0, m[1], ...).
template <typename T>
std::vector<T> SendFirst(BasicErrorControl<T>& control) {
  std::vector<T> sent(control.elements(), T(0));
  sent[0] = std::exchange(control.residual()[0], T(0));
  return sent;
}

// --- the recurrence, numbers checked by eye ---

TEST(ErrorControl, None_SendsTheGradientAndKeepsNothing) {
  ErrorControl control({}, 2);
  const std::vector<float> gradient = {3, 1};
  FormMessage(control, gradient);
  EXPECT_THAT(control.residual(), ElementsAre(3, 1));
  control.Commit(gradient, SendFirst(control));
  EXPECT_THAT(control.error(), IsEmpty());
  std::vector<float> mean = {3, 0};
  control.Direction(mean);
  EXPECT_THAT(mean, ElementsAre(3, 0));
}

TEST(ErrorControl, EtaOneAlphaZero_IsClassicErrorFeedback) {
  ErrorControl control({.eta = 1}, 2);
  const std::vector<float> gradient = {3, 1};
  for (const float owed : {1, 2, 3}) {
    FormMessage(control, gradient);
    EXPECT_THAT(control.residual(), ElementsAre(3, owed));  // g + e
    control.Commit(gradient, SendFirst(control));
    EXPECT_THAT(control.error(), ElementsAre(0, owed));  // p - C(p)
  }
}

TEST(ErrorControl, ErrorScale_MultipliesTheKeptErrorBeforeUse) {
  ErrorControl feedback({.eta = 1}, 2);
  ErrorControl econtrol({.eta = 0.5, .alpha = 1}, 2);
  const std::vector<float> gradient = {3, 1};
  for (ErrorControl* control : {&feedback, &econtrol}) {
    FormMessage(*control, gradient);
    control->Commit(gradient, SendFirst(*control));
    EXPECT_THAT(control->error(), ElementsAre(0, 1));
    FormMessage(*control, gradient, /*error_scale=*/10);
    // g - h + eta * 10 e; h = (3, 0) where there is one.
    EXPECT_THAT(control->residual(), control == &feedback ? ElementsAre(3, 11) : ElementsAre(0, 6));
    control->Commit(gradient, SendFirst(*control));
    EXPECT_THAT(control->error(), ElementsAre(0, 11));  // 10 e + g - h - s
  }
}

TEST(ErrorControl, EControl_FollowsItsAlgorithm) {
  ErrorControl control({.eta = 0.5, .alpha = 1}, 2);
  const std::vector<float> gradient = {4, 2};
  FormMessage(control, gradient);
  EXPECT_THAT(control.residual(), ElementsAre(4, 2));  // g - h + eta e, all zero but g
  control.Commit(gradient, SendFirst(control));
  EXPECT_THAT(control.error(), ElementsAre(0, 2));  // e + g - h - s with the old h
  EXPECT_THAT(control.shift(), ElementsAre(4, 0));
  std::vector<float> mean = {4, 0};
  control.Direction(mean);
  EXPECT_THAT(mean, ElementsAre(4, 0));
  EXPECT_THAT(control.shift_average(), ElementsAre(4, 0));

  FormMessage(control, gradient);
  EXPECT_THAT(control.residual(), ElementsAre(0, 3));  // (4 - 4 + 0, 2 - 0 + 0.5 * 2)
  const std::vector<float> sent = {0, 3};
  control.residual()[1] = 0;  // this time the codec loses nothing
  control.Commit(gradient, sent);
  EXPECT_THAT(control.error(), ElementsAre(0, 1));  // 2 + 2 - 0 - 3
  EXPECT_THAT(control.shift(), ElementsAre(4, 3));
}

TEST(ErrorControl, Diana_MovesTheShiftSlowlyAndStepsWithTheOldAverage) {
  ErrorControl control({.alpha = 0.25}, 1);
  const std::vector<float> gradient = {8};
  FormMessage(control, gradient);
  const std::vector<float> sent = {8};
  control.Commit(gradient, sent);
  EXPECT_THAT(control.shift(), ElementsAre(2));
  std::vector<float> mean = {8};
  control.Direction(mean);
  EXPECT_THAT(mean, ElementsAre(8));                     // H + mean(s), H = 0
  EXPECT_THAT(control.shift_average(), ElementsAre(2));  // H + alpha mean(s)
  mean = {8};
  control.Direction(mean);
  EXPECT_THAT(mean, ElementsAre(10));
}

TEST(ErrorControl, Momentum_ReplacesTheGradient) {
  ErrorControl control({.alpha = 1, .momentum = Momentum::Average(0.25)}, 1);
  const std::vector<float> gradient = {8};
  const std::vector<float> start = {4};
  control.SetMomentum(start);
  FormMessage(control, gradient);
  EXPECT_THAT(control.residual(), ElementsAre(5));  // 0.75 * 4 + 0.25 * 8
  EXPECT_THAT(control.momentum(), ElementsAre(4));
  const std::vector<float> sent = {5};
  control.Commit(gradient, sent);
  EXPECT_THAT(control.momentum(), ElementsAre(5));
}

TEST(ErrorControl, PartOfTheRanksTookPart_AverageMovesByTheirShare) {
  ErrorControl full_rate({.alpha = 1}, 1);
  std::vector<float> mean = {8};
  full_rate.Direction(mean, 0.25f);
  EXPECT_THAT(mean, ElementsAre(2));  // the new H
  EXPECT_THAT(full_rate.shift_average(), ElementsAre(2));

  ErrorControl slow({.alpha = 0.5}, 1);
  mean = {8};
  slow.Direction(mean, 0.25f);
  EXPECT_THAT(mean, ElementsAre(8));  // H + mean(s)
  EXPECT_THAT(slow.shift_average(), ElementsAre(1));
}

TEST(ErrorControl, EmptyTensor_IsLegal) {
  ErrorControl control({.eta = 0.5, .alpha = 1, .momentum = Momentum::Average(0.5)}, 0);
  FormMessage(control, {});
  control.Commit({}, {});
  control.Direction({});
  EXPECT_THAT(control.residual(), IsEmpty());
}

// --- transactions and state, for all methods ---

const std::vector<ControlOptions> kAllOptions = {
    {},
    {.eta = 1},
    {.alpha = 1},
    {.alpha = 1, .momentum = Momentum::Average(0.1)},
    {.alpha = 0.25},
    {.eta = 0.1, .alpha = 1},
    {.eta = 0.1, .alpha = 1, .momentum = Momentum::Average(0.5)},
    {.eta = 1, .alpha = 1},
    {.eta = 1, .decay = 0.75},
    {.eta = 0.1, .alpha = 1, .decay = 0.75},
    {.eta = 1, .momentum = {.keep = 0.5, .masked = true}},                              // dgc
    {.eta = 1, .momentum = {.keep = 0.5, .take = 0.5, .weight = 1.5, .masked = true}},  // with Nesterov's look-ahead
    {.eta = 1, .momentum = {.keep = 1, .take = 0.25}},                                  // an owner that keeps H
    {.alpha = 1, .averages_shifts = false},
};

struct Snapshot {
  std::vector<float> error, shift, average, momentum;
  friend bool operator==(const Snapshot&, const Snapshot&) = default;
};

Snapshot Take(const ErrorControl& control) {
  auto copy = [](std::span<const float> values) { return std::vector<float>(values.begin(), values.end()); };
  return {copy(control.error()), copy(control.shift()), copy(control.shift_average()), copy(control.momentum())};
}

void Step(ErrorControl& control, std::span<const float> gradient, float error_scale = 1) {
  FormMessage(control, gradient, error_scale);
  std::vector<float> sent = SendFirst(control);
  control.Commit(gradient, sent);
  control.Direction(sent);
}

// A few finite floats around 1, the same number for every call.
std::vector<float> DrawGradient() {
  const auto raw = *rc::gen::container<std::vector<int>>(5, rc::gen::inRange(-1000, 1000));
  std::vector<float> gradient;
  for (const int value : raw) gradient.push_back(static_cast<float>(value) / 37.0f);
  return gradient;
}

RC_GTEST_PROP(ErrorControlProperty, PrepareWithoutCommit_LeavesNoTrace, ()) {
  const std::vector<float> first = DrawGradient(), failed = DrawGradient(), second = DrawGradient();
  for (const ControlOptions& options : kAllOptions) {
    ErrorControl straight(options, 5), interrupted(options, 5);
    Step(straight, first);
    Step(interrupted, first);
    const Snapshot before = Take(interrupted);
    FormMessage(interrupted, failed, 3.0f);
    SendFirst(interrupted);  // the codec has already turned the message into a residual
    RC_ASSERT(Take(interrupted) == before);
    Step(straight, second, 0.5f);
    Step(interrupted, second, 0.5f);
    RC_ASSERT(Take(interrupted) == Take(straight));
  }
}

// e_new = c e + g - h - s, to the rounding of the way it is computed: four roundings of numbers below 1024.
RC_GTEST_PROP(ErrorControlProperty, WhatIsNotSent_IsKept, ()) {
  for (const ControlOptions& options : kAllOptions) {
    if (!options.keeps_error()) continue;
    ErrorControl control(options, 5);
    Step(control, DrawGradient());
    const Snapshot old = Take(control);
    const std::vector<float> gradient = DrawGradient();
    FormMessage(control, gradient, 2.0f);
    const std::vector<float> sent = SendFirst(control);
    control.Commit(gradient, sent);
    for (size_t i = 0; i < 5; ++i) {
      const Momentum& momentum = options.momentum;
      const double g =
          options.keeps_momentum() ? momentum.keep * old.momentum[i] + momentum.weight * gradient[i] : gradient[i];
      const double h = options.keeps_shift() ? old.shift[i] : 0.0;
      RC_ASSERT(std::abs(control.error()[i] - (2.0 * options.decay * old.error[i] + g - h - sent[i])) <=
                4 * 1024 * 0x1p-24);
    }
  }
}

RC_GTEST_PROP(ErrorControlProperty, SaveLoadContinue_EqualsContinue, ()) {
  for (const ControlOptions& options : kAllOptions) {
    ErrorControl original(options, 5), resumed(options, 5);
    Step(original, DrawGradient());
    StateArchive archive;
    StateWriter writer(&archive, "tensor/");
    original.Save(writer);
    RC_ASSERT(resumed.Load(StateReader(&archive, "tensor/")).ok());
    RC_ASSERT(Take(resumed) == Take(original));
    const std::vector<float> gradient = DrawGradient();
    Step(original, gradient);
    Step(resumed, gradient);
    RC_ASSERT(Take(resumed) == Take(original));
  }
}

TEST(ErrorControl, Save_WritesWhatIsKeptAndNoMore) {
  auto names = [](const ControlOptions& options) {
    StateArchive archive;
    StateWriter writer(&archive);
    ErrorControl(options, 2).Save(writer);
    std::vector<std::string> names;
    for (const auto& [name, entry] : archive.tensors) names.push_back(name);
    return names;
  };
  EXPECT_THAT(names({}), IsEmpty());
  EXPECT_THAT(names({.eta = 1}), ElementsAre("error"));
  EXPECT_THAT(names({.eta = 0.1, .alpha = 1, .momentum = Momentum::Average(0.5)}),
              ElementsAre("error", "momentum", "shift", "shift_average"));
}

TEST(ErrorControl, LoadOfAnIncompleteArchive_FailsAndChangesNothing) {
  ErrorControl feedback({.eta = 1}, 2);
  Step(feedback, std::vector<float>{1, 2});
  StateArchive archive;
  StateWriter writer(&archive);
  feedback.Save(writer);  // "error" only

  ErrorControl econtrol({.eta = 0.5, .alpha = 1}, 2);
  const absl::Status status = econtrol.Load(StateReader(&archive));
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
  EXPECT_THAT(econtrol.error(), ElementsAre(0, 0));

  ErrorControl longer({.eta = 1}, 3);
  EXPECT_EQ(longer.Load(StateReader(&archive)).code(), absl::StatusCode::kDataLoss);
}

// e <- 1/2 e before every use: m = g + e/2. The first element is sent, the second kept.
TEST(ErrorControl, DecayedFeedback_HalvesTheErrorBeforeItsUse) {
  ErrorControl control({.eta = 1, .decay = 0.5}, 2);
  const std::vector<float> g = {8, 8};
  for (const float kept : {8.0f, 12.0f, 14.0f}) {
    FormMessage(control, g);
    control.Commit(g, SendFirst(control));
    EXPECT_THAT(control.error(), ElementsAre(0, kept));
  }
}

// eta = 1/2, decay = 1/2: e' = e/2, m = g - h + e'/2, e <- e' + g - h - s.
TEST(ErrorControl, DecayedEControl_UsesTheDecayedErrorInAllLines) {
  ErrorControl control({.eta = 0.5, .alpha = 1, .decay = 0.5}, 2);
  const std::vector<float> g = {8, 8};
  FormMessage(control, g);
  control.Commit(g, SendFirst(control));  // m = (8, 8), s = (8, 0): e = (0, 8), h = (8, 0)
  FormMessage(control, g);
  EXPECT_THAT(control.residual(), ElementsAre(0, 10));  // 8 - 0 + (8/2)/2
  control.Commit(g, SendFirst(control));
  EXPECT_THAT(control.error(), ElementsAre(0, 12));  // 8/2 + 8 - 0 - 0
}

// Lin et al. 2018 by hand, m = 1/2: u <- u/2 + g, v <- v + u, the first element is sent, u and v are cleared there.
TEST(ErrorControl, Dgc_IsMomentumCorrectionWithFactorMasking) {
  ErrorControl control({.eta = 1, .momentum = {.keep = 0.5, .masked = true}}, 2);
  const std::vector<float> g = {8, 8};
  FormMessage(control, g);
  control.Commit(g, SendFirst(control));
  EXPECT_THAT(control.momentum(), ElementsAre(0, 8));
  EXPECT_THAT(control.error(), ElementsAre(0, 8));
  FormMessage(control, g);
  EXPECT_THAT(control.residual(), ElementsAre(8, 20));  // u = 8/2 + 8, v = 8 + 12
  control.Commit(g, SendFirst(control));
  EXPECT_THAT(control.momentum(), ElementsAre(0, 12));
  EXPECT_THAT(control.error(), ElementsAre(0, 20));
}

// u <- m (u + g), v <- v + u + g.
TEST(ErrorControl, DgcWithNesterov_LooksAhead) {
  ErrorControl control({.eta = 1, .momentum = {.keep = 0.5, .take = 0.5, .weight = 1.5, .masked = true}}, 2);
  const std::vector<float> g = {8, 8};
  FormMessage(control, g);
  EXPECT_THAT(control.residual(), ElementsAre(12, 12));  // u = 4, v = 12
  control.Commit(g, SendFirst(control));
  EXPECT_THAT(control.momentum(), ElementsAre(0, 4));
  FormMessage(control, g);
  EXPECT_THAT(control.residual(), ElementsAre(12, 26));  // u = 6, v = 12 + 6 + 8
}

// An owner that sends directions: g is mean(s), v is H, and H + mean(s) + E goes out.
TEST(ErrorControl, OwnerOfDirections_AddsTheAverageToTheMean) {
  ErrorControl owner({.eta = 1, .momentum = {.keep = 1, .take = 1, .weight = 1}}, 2);
  const std::vector<float> mean = {8, 8};
  FormMessage(owner, mean);
  owner.Commit(mean, SendFirst(owner));
  EXPECT_THAT(owner.momentum(), ElementsAre(8, 8));  // H
  FormMessage(owner, mean);
  EXPECT_THAT(owner.residual(), ElementsAre(16, 24));  // 8 + 8 + 0, 8 + 8 + 8
}

}  // namespace
}  // namespace laconic
