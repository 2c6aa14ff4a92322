#include "compressors/scaled.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "compressors/quantize.h"
#include "tests/compressors/dense_codec.h"

namespace laconic {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<std::shared_ptr<const Compressor>> TryCreate(const std::string& spec) {
  return CodecRegistry::BuiltIn().Create(spec);
}
std::shared_ptr<const Compressor> Make(const std::string& spec) { return *TryCreate(spec); }

TEST(Scaled, Natural_IsDividedByNineEighths) {
  // Powers of two are exact under natural, whose omega is 1/8: times 8/9.
  const float factor = static_cast<float>(8.0 / 9);
  EXPECT_THAT(RoundTrip(*Make("scaled(natural)"), Floats{1.0f, -4.0f, 0.0f}), ElementsAre(factor, -4 * factor, 0.0f));
  EXPECT_DOUBLE_EQ(*Make("scaled(natural)")->traits(Shape({10})).delta, 8.0 / 9);
}

TEST(Scaled, BodyAndId_AreTheInnerCodecs) {
  const Floats x = Gaussian(100);
  const auto inner = Make("quantize(bits=2, rounding=stochastic)");
  const auto scaled = Make("scaled(quantize(bits=2, rounding=stochastic))");
  EXPECT_EQ(EncodeBody(*scaled, x), EncodeBody(*inner, x));
  EXPECT_EQ(scaled->id(), CodecId::kQuantize);
}

TEST(Scaled, Claim_IsContractiveByShapeAndNoLongerUnbiased) {
  // block 64 at s = 1: omega = (sqrt 64 - 1)/2 = 3.5 on full blocks, (sqrt 4 - 1)/2 = 0.5 on a tensor of four.
  const auto codec = Make("scaled(quantize(bits=2, block=64, rounding=stochastic))");
  EXPECT_DOUBLE_EQ(*codec->traits(Shape({1000})).delta, 1 / 4.5);
  EXPECT_DOUBLE_EQ(*codec->traits(Shape({4})).delta, 1 / 1.5);
  EXPECT_FALSE(codec->traits(Shape({1000})).omega.has_value());
}

TEST(Scaled, UnbiasedCodecThatIsNot_Contracts) {
  // TernGrad on 4096 Gaussians errs by more than |x|^2; scaled it must not. The claim 1 - delta = .969 leaves room for
  // the deviation of 200 draws, some 1e-3.
  const Floats x = Gaussian(4096);
  EXPECT_GT(RelativeError(*Make("quantize(bits=2, block=0, rounding=stochastic)"), x, 20), 1.0);
  const auto scaled = Make("scaled(quantize(bits=2, block=0, rounding=stochastic))");
  EXPECT_LE(RelativeError(*scaled, x, 200), 1 - *scaled->traits(Shape({4096})).delta);
}

TEST(Scaled, EncodeResidual_LeavesInputMinusScaledValues) {
  const auto codec = Make("scaled(natural)");
  const Floats x = Gaussian(77);
  const Floats y = RoundTrip(*codec, x), residual = Residual(*codec, x);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(residual[i], x[i] - y[i]);
}

TEST(Scaled, LinearSession_ScalesBothReconstructions) {
  const std::string spec = "randk(k=4, scale=unbiased)";  // of 16: times 4; omega = 3, so scaled back by 4
  const auto inner = Make(spec)->NewLinearSession(Shape({16}), {});
  const auto scaled = Make("scaled(" + spec + ")")->NewLinearSession(Shape({16}), {});
  ASSERT_NE(scaled, nullptr);
  ASSERT_EQ(scaled->rounds(), inner->rounds());
  ASSERT_EQ(scaled->RoundFloats(0), inner->RoundFloats(0));
  const Floats x = Gaussian(16);
  for (LinearSession* session : {inner.get(), scaled.get()}) {
    Floats sum(session->RoundFloats(0));
    session->Begin(RngKey{.seed = 8}.Shared(), {});
    ASSERT_THAT(session->Produce(0, x, sum), IsOk());
    ASSERT_THAT(session->Consume(0, sum), IsOk());
  }
  Floats plain(16), quartered(16);
  inner->LocalReconstruction(plain);
  scaled->LocalReconstruction(quartered);
  for (size_t i = 0; i < 16; ++i) EXPECT_EQ(quartered[i], plain[i] * 0.25f);
  inner->MeanReconstruction(plain);
  scaled->MeanReconstruction(quartered);
  for (size_t i = 0; i < 16; ++i) EXPECT_EQ(quartered[i], plain[i] * 0.25f);
  EXPECT_EQ(Make("scaled(natural)")->NewLinearSession(Shape({16}), {}), nullptr);
}

TEST(Scaled, DecodeAdd_PassesErrorsOn) {
  EXPECT_THAT(Decode(*Make("scaled(natural)"), MakeBytes({255, 0}), 1),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("natural body")));
}

TEST(Scaled, BiasedCodec_IsRefusedWithTheReason) {
  EXPECT_THAT(TryCreate("scaled(topk(ratio=0.1))"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("column 8")));
  EXPECT_THAT(TryCreate("scaled(topk(ratio=0.1))"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("claims no omega")));
  EXPECT_THAT(TryCreate("scaled(quantize)"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("claims no omega")));
  EXPECT_THAT(TryCreate("scaled(scaled(natural))"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("claims no omega")));
}

TEST(Scaled, Spec_TakesOneCodecByPositionOrKey) {
  EXPECT_EQ(Make("scaled(codec=natural)")->ToString(), "scaled(natural)");
  EXPECT_THAT(TryCreate("scaled"), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("takes one codec")));
  EXPECT_THAT(TryCreate("scaled(natural, natural)"), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("not 2")));
}

}  // namespace
}  // namespace laconic
