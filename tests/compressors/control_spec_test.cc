// Names of error controls, their parameters, what they ask of a codec, and what the owner of a shard runs.
#include <cmath>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "laconic/compressors/error_control.h"
#include "tests/base/matchers.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const Traits kTopK = [] {
  Traits traits;
  traits.delta = 0.01;
  traits.suggested_eta = 0.01;
  return traits;
}();
const Traits kSparse = [] {
  Traits traits = kTopK;
  traits.sparse = true;
  return traits;
}();
const Traits kUnbiased = [] {
  Traits traits;
  traits.omega = 99;
  return traits;
}();
const Traits kUnclaimed;

ControlSpec Parse(std::string_view text) {
  const absl::StatusOr<SpecCall> call = ParseSpecCall(text);
  EXPECT_TRUE(call.ok()) << call.status();
  const absl::StatusOr<ControlSpec> spec = ParseControl(*call);
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.value_or(ControlSpec());
}

std::string ParseFailure(std::string_view text) {
  const absl::StatusOr<SpecCall> call = ParseSpecCall(text);
  EXPECT_TRUE(call.ok()) << call.status();
  return std::string(ParseControl(*call).status().message());
}

std::string Refusal(std::string_view control, const Traits& traits, std::string_view codec) {
  const absl::StatusOr<ControlOptions> options = ResolveControl(Parse(control), traits, codec);
  EXPECT_EQ(options.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(options.status().message());
}

ControlOptions Resolve(std::string_view control, const Traits& traits) {
  const absl::StatusOr<ControlOptions> options = ResolveControl(Parse(control), traits, "codec");
  EXPECT_TRUE(options.ok()) << options.status();
  return options.value_or(ControlOptions());
}

TEST(ControlTable, EveryEntry_IsFoundByNameAndPrintsBack) {
  for (const ControlInfo& info : ControlTable()) {
    EXPECT_EQ(FindControl(info.name), &info);
    const ControlSpec spec = Parse(info.name);
    EXPECT_EQ(spec.method, info.method);
    EXPECT_EQ(spec.ToString(), info.name);
    EXPECT_FALSE(info.summary.empty() || info.source.empty() || info.keeps.empty()) << info.name;
  }
  EXPECT_EQ(ControlTable().size(), 7u);
  EXPECT_EQ(FindControl("sgd"), nullptr);
}

TEST(ControlSpec, Parse_KeepsWhatWasGivenAndPrintsItCanonically) {
  EXPECT_EQ(Parse("econtrol(beta=0.50,eta=5e-2)").ToString(), "econtrol(eta=0.05, beta=0.5)");
  EXPECT_EQ(Parse("diana(alpha=0.1)").ToString(), "diana(alpha=0.1)");
  EXPECT_FALSE(Parse("econtrol").eta.has_value());
}

TEST(ControlSpec, UnknownNameKeyOrValue_SaysWhatIsAccepted) {
  EXPECT_THAT(ParseFailure("momentum"),
              AllOf(HasSubstr("column 1"), HasSubstr("\"momentum\""), HasSubstr("ef21-sgdm")));
  EXPECT_THAT(ParseFailure("ef(eta=0.1)"), HasSubstr("\"eta\""));
  EXPECT_THAT(ParseFailure("econtrol(eta=0)"), AllOf(HasSubstr("spec column "), HasSubstr("(0, 1]")));
  EXPECT_THAT(ParseFailure("econtrol(eta=1.5)"), HasSubstr("(0, 1]"));
}

TEST(ResolveControl, DefaultsComeFromTheCodec) {
  EXPECT_EQ(Resolve("econtrol", kTopK).eta, 0.01);  // the codec's suggestion
  EXPECT_EQ(Resolve("econtrol", kTopK).alpha, 1);
  EXPECT_FALSE(Resolve("econtrol", kTopK).keeps_momentum());
  EXPECT_EQ(Resolve("ef21-sgdm", kTopK).momentum.weight, 0.1);
  EXPECT_EQ(Resolve("ef21-sgdm", kTopK).momentum.keep, 0.9);
  EXPECT_EQ(Resolve("diana", kUnbiased).alpha, 0.01);  // 1/(1+99)
  EXPECT_EQ(Resolve("diana(alpha=0.01)", kUnbiased).alpha, 0.01);
  EXPECT_EQ(Resolve("ef", kTopK).eta, 1);
  EXPECT_EQ(Resolve("ef", kTopK).alpha, 0);
}

TEST(ResolveControl, Dgc_NeedsASparseCodec) {
  EXPECT_THAT(Refusal("dgc", kTopK, "sign"), AllOf(HasSubstr("sparse"), HasSubstr("sign"), HasSubstr("take topk")));
  const ControlOptions dgc = Resolve("dgc", kSparse);
  EXPECT_EQ(dgc.eta, 1);
  EXPECT_EQ(dgc.momentum.keep, 0.9);
  EXPECT_EQ(dgc.momentum.weight, 1);
  EXPECT_TRUE(dgc.needs_sent() && !dgc.keeps_shift());
  const ControlOptions nesterov = Resolve("dgc(momentum=0.5, nesterov=true)", kSparse);
  EXPECT_EQ(nesterov.momentum.take, 0.5);
  EXPECT_EQ(nesterov.momentum.weight, 1.5);
  EXPECT_EQ(Parse("dgc(nesterov=true,momentum=0.5)").ToString(), "dgc(momentum=0.5, nesterov=true)");
  EXPECT_EQ(Parse("dgc(nesterov=false)").ToString(), "dgc");
}

TEST(ResolveControl, OwnerThatSendsDirections_KeepsTheAverageAsItsMomentum) {
  const ControlOptions ef21 = Resolve("ef21(init=dense, participation=0.5)", kTopK);
  EXPECT_TRUE(ef21.dense_start);
  EXPECT_EQ(ef21.participation, 0.5);
  EXPECT_FALSE(OwnerControl(ef21, kTopK).keeps_momentum());
  const ControlOptions owner = OwnerControl(ef21, kTopK, OwnerSends::kDirection);
  EXPECT_EQ(owner.eta, 1);
  EXPECT_EQ(owner.momentum.keep, 1);
  EXPECT_EQ(owner.momentum.take, 1);
  EXPECT_EQ(owner.momentum.weight, 1);
  EXPECT_FALSE(OwnerControl(Resolve("ef", kTopK), kTopK, OwnerSends::kDirection).keeps_momentum());
  EXPECT_EQ(Parse("ef21(participation=0.5,init=dense)").ToString(), "ef21(participation=0.5, init=dense)");
}

TEST(CheckOwner, SlowShiftsOfRanksThatComeAndGo_AreRefused) {
  Traits natural;
  natural.omega = 0.125;
  EXPECT_TRUE(CheckOwner(Resolve("diana", natural), natural, "natural").ok());
  EXPECT_THAT(std::string(CheckOwner(Resolve("diana(participation=0.5)", natural), natural, "natural").message()),
              AllOf(HasSubstr("participation = 0.5"), HasSubstr("gather")));
}

TEST(ResolveControl, Decay_ReachesTheOwnerUnlessThereAreShifts) {
  const ControlOptions ef = Resolve("ef(decay=0.95)", kTopK);
  EXPECT_EQ(ef.decay, 0.95);
  EXPECT_EQ(OwnerControl(ef, kTopK).decay, 0.95);
  const ControlOptions econtrol = Resolve("econtrol(decay=0.95)", kTopK);
  EXPECT_EQ(econtrol.decay, 0.95);
  EXPECT_EQ(OwnerControl(econtrol, kTopK).decay, 1);  // there it is what H lacks of mean(h)
  EXPECT_EQ(Parse("ef(decay=0.95)").ToString(), "ef(decay=0.95)");
  EXPECT_THAT(ParseFailure("ef21(decay=0.9)"), HasSubstr("\"decay\""));
}

TEST(ResolveControl, None_TakesAnyCodec) {
  for (const Traits& traits : {kTopK, kUnbiased, kUnclaimed}) {
    const ControlOptions options = Resolve("none", traits);
    EXPECT_FALSE(options.keeps_error() || options.keeps_shift() || options.keeps_momentum());
  }
}

TEST(ResolveControl, UnbiasedCodecWhereContractionIsNeeded_NamesTheWrapper) {
  for (const std::string control : {"ef", "ef21", "ef21-sgdm", "econtrol"}) {
    EXPECT_THAT(Refusal(control, kUnbiased, "randk(ratio=0.01, scale=unbiased)"),
                AllOf(HasSubstr(control + " needs a contractive codec"), HasSubstr("omega = 99"),
                      HasSubstr("scaled(randk(ratio=0.01, scale=unbiased))"), HasSubstr("= 0.01")));
  }
}

TEST(ResolveControl, CodecWithoutClaims_IsRefusedByAllButNone) {
  for (const std::string control : {"ef", "ef21", "ef21-sgdm", "econtrol", "diana"}) {
    EXPECT_THAT(Refusal(control, kUnclaimed, "mystery"), AllOf(HasSubstr(control), HasSubstr("mystery")));
  }
}

TEST(ResolveControl, DianaOnBiasedCodec_SaysWhatToTakeInstead) {
  EXPECT_THAT(
      Refusal("diana", kTopK, "topk(ratio=0.01)"),
      AllOf(HasSubstr("needs an unbiased codec"), HasSubstr("topk(ratio=0.01) is biased"), HasSubstr("econtrol")));
}

TEST(ResolveControl, DianaAlphaAboveItsBound_IsRefused) {
  EXPECT_THAT(Refusal("diana(alpha=0.5)", kUnbiased, "codec"), AllOf(HasSubstr("alpha = 0.5"), HasSubstr("= 0.01")));
}

// E|C(x) - x|^2 <= omega |x|^2 with omega < 1 is a contraction, delta = 1 - omega.
TEST(ResolveControl, UnbiasedCodecWithSmallVariance_IsContractive) {
  Traits natural;
  natural.omega = 0.125;
  EXPECT_EQ(Resolve("ef", natural).eta, 1);
}

TEST(ResolveControl, NumbersSetByHand_AreCheckedToo) {
  EXPECT_FALSE(
      ResolveControl({.method = ControlMethod::kEControl, .eta = 2.0, .alpha = {}, .beta = {}}, kTopK, "c").ok());
  EXPECT_FALSE(ResolveControl({.method = ControlMethod::kEf, .eta = 0.5, .alpha = {}, .beta = {}}, kTopK, "c").ok());
  EXPECT_FALSE(
      ResolveControl({.method = ControlMethod::kEControl, .eta = std::nan(""), .alpha = {}, .beta = {}}, kTopK, "c")
          .ok());
}

// sign(scale=rms): the largest error shrinks, the whole one need not. Error feedback, and nothing else, takes it.
TEST(ResolveControl, MaxNormDeltaAlone_IsEnoughForErrorFeedbackOnly) {
  const Traits traits{.delta = {}, .omega = {}, .max_norm_delta = 1e-3};
  const auto resolve = [&](ControlMethod method) {
    return ResolveControl({.method = method}, traits, "sign(scale=rms)");
  };
  ASSERT_TRUE(resolve(ControlMethod::kEf).ok());
  EXPECT_EQ(resolve(ControlMethod::kEf)->eta, 1);
  EXPECT_EQ(OwnerControl(*resolve(ControlMethod::kEf), traits).eta, 1);
  EXPECT_EQ(OwnerControl(ControlOptions{}, traits).eta, 0);
  for (const ControlMethod method : {ControlMethod::kEf21, ControlMethod::kEf21Sgdm, ControlMethod::kEControl}) {
    EXPECT_THAT(resolve(method).status(),
                HasStatus(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("contractive"), HasSubstr("or ef"))));
  }
}

TEST(OwnerControl, WorkerKeepsState_OwnerRunsErrorFeedbackWhereItMay) {
  const ControlOptions econtrol = Resolve("econtrol", kTopK);
  EXPECT_EQ(OwnerControl(econtrol, kTopK).eta, 1);
  EXPECT_EQ(OwnerControl(econtrol, kTopK).alpha, 0);
  EXPECT_EQ(OwnerControl(Resolve("diana", kUnbiased), kUnbiased).eta, 0);  // error feedback would diverge
  EXPECT_EQ(OwnerControl(ControlOptions{}, kTopK).eta, 0);
}

TEST(CheckOwner, ShiftsOnACodecThatIsNotContractive_AreRefused) {
  const absl::Status status = CheckOwner(Resolve("diana", kUnbiased), kUnbiased, "randk(k=1, scale=unbiased)");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("randk(k=1, scale=unbiased)"), HasSubstr("gather")));
  EXPECT_TRUE(CheckOwner(Resolve("econtrol", kTopK), kTopK, "topk").ok());
  EXPECT_TRUE(
      CheckOwner(ControlOptions{}, kUnbiased, "quantize").ok());  // the mean of unbiased messages, unbiased again
}

}  // namespace
}  // namespace laconic
