#include "compressors/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/compressors/dense_codec.h"

namespace laconic {
namespace {

using ::testing::AnyOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::shared_ptr<const Compressor> Quantize(const std::string& spec) { return *Create(QuantizeInfo(), spec); }

TEST(Quantize, FourBitsNearest_HasSevenLevelsASide) {
  // Norm 7: steps of 1.
  EXPECT_THAT(RoundTrip(*Quantize("quantize"), Floats{7.0f, -7.0f, 0.0f, 2.4f, -2.6f, 0.49f}),
              ElementsAre(7.0f, -7.0f, 0.0f, 2.0f, -3.0f, 0.0f));
}

TEST(Quantize, TwoBitsNearest_IsTernary) {
  EXPECT_THAT(RoundTrip(*Quantize("quantize(bits=2)"), Floats{-4.0f, 1.9f, 2.1f, 0.0f, -3.0f}),
              ElementsAre(-4.0f, 0.0f, 4.0f, 0.0f, -4.0f));
}

TEST(Quantize, OneBitNearest_IsSignTimesMeanMagnitude) {
  EXPECT_THAT(RoundTrip(*Quantize("quantize(bits=1)"), Floats{1.0f, -2.0f, 3.0f, -6.0f}),
              ElementsAre(3.0f, -3.0f, 3.0f, -3.0f));
}

TEST(Quantize, OneBitStochastic_IsPlusOrMinusTheNorm) {
  // P(+2) = (1 + 1/2) / 2 = 3/4 for x = 1: 7500 of 10000 (and the -2), deviation 43.3; five of them.
  Floats x(10001, 1.0f);
  x.back() = -2.0f;
  const Floats y = RoundTrip(*Quantize("quantize(bits=1, block=0, rounding=stochastic)"), x);
  EXPECT_EQ(y.back(), -2.0f);
  const auto plus = std::count(y.begin(), y.end(), 2.0f);
  EXPECT_EQ(plus + std::count(y.begin(), y.end(), -2.0f), 10001);
  EXPECT_NEAR(static_cast<double>(plus), 7500, 217);
}

TEST(Quantize, Blocks_HaveTheirOwnNorms) {
  EXPECT_THAT(RoundTrip(*Quantize("quantize(bits=2, block=2)"), Floats{1.0f, 0.1f, 100.0f, -90.0f, 5.0f}),
              ElementsAre(1.0f, 0.0f, 100.0f, -100.0f, 5.0f));
}

TEST(Quantize, Body_IsNormsThenPackedCodes) {
  // Codes are level + 7: 14, 0 | 7, 9, two to a byte, first lowest.
  EXPECT_EQ(EncodeBody(*Quantize("quantize"), Floats{7.0f, -7.0f, 0.0f, 2.0f}),
            Join({FloatBytes(7), MakeBytes({0x0e, 0x97})}));
  // Three bits, levels -3..3, codes 6, 3, 0 = 0b000'011'110 in two bytes.
  EXPECT_EQ(EncodeBody(*Quantize("quantize(bits=3)"), Floats{3.0f, 0.0f, -3.0f}),
            Join({FloatBytes(3), MakeBytes({0b00011110, 0b0})}));
}

TEST(Quantize, BodyBytes_AreWhatTheSpecSays) {
  // 10 000 elements in blocks of 512: 20 norms, 19 blocks of 512 and one of 272.
  for (int bits = 1; bits <= 8; ++bits) {
    const auto codec = Quantize("quantize(bits=" + std::to_string(bits) + ")");
    EXPECT_EQ(EncodeBody(*codec, Gaussian(10000)).size(), 20 * 4 + 19 * 64 * bits + 34 * bits) << bits;
  }
}

TEST(Quantize, Zeros_AreExact) {
  for (const char* spec : {"quantize(bits=2)", "quantize(bits=5, rounding=stochastic)",
                           "quantize(bits=8, rounding=stochastic, norm=l2)"}) {
    Floats x = Gaussian(1000);
    for (size_t i = 0; i < 1000; i += 3) x[i] = 0;
    const Floats y = RoundTrip(*Quantize(spec), x);
    for (size_t i = 0; i < 1000; i += 3) EXPECT_EQ(y[i], 0.0f) << spec;
    EXPECT_THAT(RoundTrip(*Quantize(spec), Floats(1000)), Each(0.0f)) << spec;
  }
  EXPECT_THAT(RoundTrip(*Quantize("quantize(bits=1)"), Floats(10)), Each(0.0f));
}

TEST(Quantize, LargestElement_IsExactUnderMaxNorm) {
  for (int bits = 2; bits <= 8; ++bits) {
    for (const std::string rounding : {"nearest", "stochastic"}) {
      const auto codec = Quantize("quantize(bits=" + std::to_string(bits) + ", block=0, rounding=" + rounding + ")");
      Floats x = Gaussian(100);
      x[41] = -12.34567f;
      for (uint64_t step = 0; step < 100; ++step) {
        EXPECT_EQ(RoundTrip(*codec, x, {.seed = step})[41], -12.34567f) << bits << rounding;
      }
    }
  }
}

TEST(Quantize, EncodeResidual_LeavesWhatRoundingTook) {
  EXPECT_THAT(Residual(*Quantize("quantize"), Floats{7.0f, 2.25f, -2.75f}), ElementsAre(0.0f, 0.25f, 0.25f));
}

// ---- Claims ----

TEST(Quantize, NearestMax_AttainsItsDelta) {
  // bits=3: s = 3. One element at the norm and B-1 just below half a step, the worst case of the derivation.
  const size_t block = 37;
  Floats x(block, std::nextafter(0.5f, 0.0f));
  x[0] = 3;
  const auto codec = Quantize("quantize(bits=3, block=64)");
  const double c = (static_cast<double>(block) - 1) / 36;
  EXPECT_DOUBLE_EQ(*codec->traits(Shape({block})).delta, 1 / (1 + c));
  EXPECT_NEAR(RelativeError(*codec, x), c / (1 + c), 1e-6);
}

TEST(Quantize, NearestL2_ClaimsOrRefuses) {
  // s = 127 at 8 bits: 1 - 512 / (4 * 127^2).
  EXPECT_DOUBLE_EQ(*Quantize("quantize(bits=8, norm=l2)")->traits(Shape({5000})).delta, 1 - 512.0 / 64516);
  EXPECT_THAT(Create(QuantizeInfo(), "quantize(bits=4, norm=l2)"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("use norm=max")));
  // The reason: 4 s^2 = 36 equal magnitudes lie at half a step of |x|_2 / 3.
  EXPECT_THAT(Create(QuantizeInfo(), "quantize(bits=3, block=36, norm=l2)"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("36 >= 4 s^2 = 36")));
  EXPECT_THAT(Create(QuantizeInfo(), "quantize(bits=3, block=35, norm=l2)"), IsOk());
  // Whole tensors: it depends on the shape.
  const auto whole = Quantize("quantize(bits=3, block=0, norm=l2)");
  EXPECT_THAT(whole->Supports(Shape({35})), IsOk());
  EXPECT_THAT(whole->Supports(Shape({36})), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("norm=l2")));
}

TEST(Quantize, StochasticMax_AttainsTheTernGradBound) {
  // algorithms.md, check 25: (sqrt d - 1)/2 = 49.5 at d = 10 000, attained by (1, p, ..., p), p = 1/(1 + sqrt d). The
  // error over |x|^2 is (B-1) p(1-p) in the mean with standard deviation sqrt((B-1) p (1-p)) (1-2p) over |x|^2 = 1.98;
  // 0.2 over 600 draws.
  const auto codec = Quantize("quantize(bits=2, block=0, rounding=stochastic)");
  Floats x(10000, 1.0f / 101);
  x[0] = 1;
  EXPECT_DOUBLE_EQ(*codec->traits(Shape({10000})).omega, 49.5);
  EXPECT_NEAR(RelativeError(*codec, x, 600), 49.5, 1.0);
}

TEST(Quantize, StochasticMax_AttainsItsOmegaWithMoreLevels) {
  // B = 1 + 3 s^2, so omega = (sqrt 4 - 1)/2 = 1/2 at p = 1/3. Error over |x|^2: mean 1/2 with s = 3, B = 28.
  const auto codec = Quantize("quantize(bits=3, block=28, rounding=stochastic)");
  Floats x(28, 1.0f / 9);
  x[0] = 1;
  EXPECT_DOUBLE_EQ(*codec->traits(Shape({28})).omega, 0.5);
  // One element's squared error, in steps, is 1/9 or 4/9: deviation sqrt(2)/3 * 1/3 = 0.157. The sum of 27 over |x|^2 =
  // 12 steps^2 deviates by 0.068, over 2000 draws by 0.0015; five of them.
  EXPECT_NEAR(RelativeError(*codec, x, 2000), 0.5, 0.0076);
}

TEST(Quantize, OneBitStochastic_ClaimsBMinusOne) {
  EXPECT_EQ(Quantize("quantize(bits=1, block=64, rounding=stochastic)")->traits(Shape({1000})).omega, 63);
  EXPECT_EQ(Quantize("quantize(bits=1, block=64)")->traits(Shape({1000})).delta, 1.0 / 64);
}

TEST(Quantize, Gaussian_HasTheErrorsOfDocsAlgorithms) {
  // algorithms.md, section 6: 15 levels a side in blocks of 512: l2 .394, max .0073. What varies from block to block is
  // the norm. The largest of 512 normals is 3.0 +- 0.3, so its square deviates by 20 %, over 20 blocks by 4.5 %; |x|_1
  // / |x|_2, to which the error under l2 is nearly proportional, by less than 1 % over 20 blocks. Five deviations.
  const Floats x = Gaussian(10240);
  EXPECT_NEAR(RelativeError(*Quantize("quantize(bits=5, rounding=stochastic, norm=l2)"), x, 10), 0.394, 0.02);
  EXPECT_NEAR(RelativeError(*Quantize("quantize(bits=5, rounding=stochastic)"), x, 10), 0.0073, 0.0016);
  // 7 levels a side, nearest: step^2/12 = (N/7)^2/12 with N about 3 over 512 normals: about .016.
  EXPECT_NEAR(RelativeError(*Quantize("quantize"), x), 0.016, 0.0036);
}

TEST(Quantize, Stochastic_MeanIsUnbiased) {
  const Floats x = Gaussian(600);
  for (const std::string spec : {"bits=1, block=16", "bits=2", "bits=4", "bits=8", "bits=2, norm=l2", "bits=5, norm=l2",
                                 "bits=3, block=7", "bits=4, block=0"}) {
    const auto codec = Quantize("quantize(rounding=stochastic, " + spec + ")");
    const double omega = *codec->traits(Shape({600})).omega;
    EXPECT_LT(RelativeBias(*codec, x, 4000), 3 * std::sqrt(omega / 4000)) << spec;
  }
}

TEST(Quantize, ElementsDraw_TheWordOfTheirIndex) {
  // Blocks of 3 do not align with anything, yet a prefix of whole blocks rounds as it does within the whole.
  const auto codec = Quantize("quantize(bits=4, block=3, rounding=stochastic)");
  const Floats x = Gaussian(1200);
  const Floats whole = RoundTrip(*codec, x);
  for (const ptrdiff_t count : {3, 9, 513, 1023}) {
    EXPECT_EQ(RoundTrip(*codec, Floats(x.begin(), x.begin() + count)), Floats(whole.begin(), whole.begin() + count));
  }
}

TEST(Quantize, WholeTensorOfSeveralRuns_HasOneNorm) {
  Floats x = Gaussian(2 * 65536 + 77);
  x[100000] = 50;
  const auto codec = Quantize("quantize(bits=4, block=0)");
  EXPECT_EQ(EncodeBody(*codec, x).size(), 4 + 65536 + 39);
  for (const float value : RoundTrip(*codec, x)) {
    EXPECT_THAT(std::abs(value), AnyOf(0.0f, 50 * (1.0f / 7), 50.0f));  // Gaussians lie within 1.5 steps of 50/7
  }
}

// ---- Extremes ----

TEST(Quantize, HugeValues_StayFinite) {
  const Floats x = {kLargestFloat, -kLargestFloat, kLargestFloat, 1.0f};
  for (int bits = 2; bits <= 8; ++bits) {
    const auto codec = Quantize("quantize(bits=" + std::to_string(bits) + ")");
    EXPECT_THAT(RoundTrip(*codec, x), ElementsAre(kLargestFloat, -kLargestFloat, kLargestFloat, 0.0f)) << bits;
  }
  // |x|_2 is no float: the largest one stands in, and nothing lies beyond it.
  EXPECT_THAT(RoundTrip(*Quantize("quantize(bits=8, norm=l2, rounding=stochastic)"), x),
              ElementsAre(kLargestFloat, -kLargestFloat, kLargestFloat, 0.0f));
  EXPECT_THAT(RoundTrip(*Quantize("quantize(bits=1)"), Floats(700, -kLargestFloat)), Each(-kLargestFloat));
}

TEST(Quantize, Denormals_AreQuantisedLikeAnyOthers) {
  const Floats x = {7 * kSmallestDenormal, -kSmallestDenormal, 3 * kSmallestDenormal, 0.0f};
  EXPECT_EQ(RoundTrip(*Quantize("quantize"), x), x);  // steps of the smallest denormal
  EXPECT_EQ(RoundTrip(*Quantize("quantize(bits=8, rounding=stochastic)"), Floats{kSmallestDenormal}),
            Floats{kSmallestDenormal});
}

TEST(Quantize, NonFiniteElement_IsInvalidArgumentThatNamesIt) {
  Floats x = Gaussian(2000);
  x[1234] = kNaN;
  for (const char* spec :
       {"quantize", "quantize(bits=1)", "quantize(block=0)", "quantize(rounding=stochastic, norm=l2)"}) {
    EXPECT_THAT(EncodeError(*Quantize(spec), x),
                HasStatus(absl::StatusCode::kInvalidArgument, "quantize: element 1234 of 2000 is nan"));
  }
}

TEST(Quantize, EmptyTensor_HasNoBody) { EXPECT_THAT(EncodeBody(*Quantize("quantize"), Floats{}), SizeIs(0)); }

// ---- Untrusted bodies ----

TEST(Quantize, DecodeAdd_RefusesMalformedBodies) {
  const auto codec = Quantize("quantize(bits=3, block=2)");
  const auto answer = [&](float norm, std::initializer_list<int> codes) {
    return Decode(*codec, Join({FloatBytes(1), FloatBytes(norm), MakeBytes(codes)}), 3);
  };
  EXPECT_THAT(answer(1, {0b110'000, 0b110}), IsOk());
  EXPECT_THAT(answer(1, {0}), HasStatus(absl::StatusCode::kDataLoss, "quantize body: 9 bytes, expected 10"));
  EXPECT_THAT(answer(kInfinity, {0, 0}), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("scale of block 1 is inf")));
  EXPECT_THAT(answer(-1, {0, 0}), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("scale of block 1 is -1")));
  EXPECT_THAT(answer(1, {0, 0b111}),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("code of element 2 is 7, expected 0..6")));
  EXPECT_THAT(answer(1, {0b111'000, 0}), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("code of element 1 is 7")));
  EXPECT_THAT(answer(1, {0, 0b1000}), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("padding of block 1")));
}

TEST(Quantize, Spec_PrintsCanonicallyAndRefusesWhatMakesNoSense) {
  EXPECT_EQ(Quantize("quantize")->ToString(), "quantize(bits=4, block=512, rounding=nearest, norm=max)");
  EXPECT_THAT(Create(QuantizeInfo(), "quantize(bits=9)"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("1..8")));
  EXPECT_THAT(Create(QuantizeInfo(), "quantize(bits=1, norm=l2)"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("norm=max only")));
}

}  // namespace
}  // namespace laconic
