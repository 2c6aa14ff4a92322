#include "compressors/composite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "laconic/base/rng.h"
#include "tests/compressors/dense_codec.h"

namespace laconic {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<std::shared_ptr<const Compressor>> TryCreate(const std::string& spec) {
  return CodecRegistry::BuiltIn().Create(spec);
}
std::shared_ptr<const Compressor> Make(const std::string& spec) { return *TryCreate(spec); }

struct Encoded {
  size_t bytes = 0;
  Floats decoded;
};

Encoded EncodeMatrix(const Compressor& codec, const Floats& x, const Shape& shape) {
  Bytes body(codec.MaxBodyBytes(shape));
  const absl::StatusOr<size_t> bytes = codec.Encode(x, shape, {.seed = 2}, body);
  EXPECT_THAT(bytes.status(), IsOk());
  Encoded encoded{.bytes = bytes.value_or(0), .decoded = Floats(x.size())};
  EXPECT_THAT(codec.DecodeAdd(std::span(body).first(encoded.bytes), shape, 1, encoded.decoded), IsOk());
  return encoded;
}

double ErrorOnMatrix(const std::string& spec, const Floats& x, const Shape& shape) {
  return SquaredDistance(EncodeMatrix(*Make(spec), x, shape).decoded, x) / SquaredNorm(x);
}

TEST(Composite, SecondStage_CodesWhatTheFirstLeft) {
  // Top-1 takes -8; the largest of the rest is 3, which ternary codes exactly, with its kin: 0.5 and 1 go to zero.
  EXPECT_THAT(RoundTrip(*Make("composite(topk(k=1), quantize(bits=2))"), Floats{3.0f, -8.0f, 0.5f, 1.0f, -3.0f}),
              ElementsAre(3.0f, -8.0f, 0.0f, 0.0f, -3.0f));
}

TEST(Composite, Body_IsTheStagesBodiesWithLengthsWhereShapesDoNotGiveThem) {
  const Floats x = {3.0f, -8.0f, 0.5f, 1.0f, -3.0f};
  const Bytes first = EncodeBody(*Make("topk(k=1)"), x);
  const Bytes second = EncodeBody(*Make("quantize(bits=2)"), Floats{3.0f, 0.0f, 0.5f, 1.0f, -3.0f});
  const Bytes length = MakeBytes({static_cast<int>(first.size())});
  EXPECT_EQ(EncodeBody(*Make("composite(topk(k=1), quantize(bits=2))"), x), Join({length, first, second}));
  // A quantiser's length follows from the shape.
  EXPECT_EQ(EncodeBody(*Make("composite(quantize(bits=2), topk(k=1))"), x).size(),
            second.size() + EncodeBody(*Make("topk(k=1)"), Floats(5)).size());
}

TEST(Composite, LongBodies_CloseTheGapThatTheirLengthsLeave) {
  // 500 zeros: the bound of sign's body takes two bytes to write, the body that it gives takes one.
  const Floats x(500);
  const Bytes signs = EncodeBody(*Make("sign(block=64)"), x);
  ASSERT_LT(signs.size(), 0x80u);
  ASSERT_GE(Make("sign(block=64)")->MaxBodyBytes(Shape({500})), 0x80u);
  const Bytes length = MakeBytes({static_cast<int>(signs.size())});
  const Bytes body = EncodeBody(*Make("composite(sign(block=64), natural)"), x);
  EXPECT_EQ(body, Join({length, signs, EncodeBody(*Make("natural"), x)}));
}

TEST(Composite, SingleStage_IsThatCodecUnderAnotherId) {
  const Floats x = Gaussian(100);
  EXPECT_EQ(EncodeBody(*Make("composite(natural)"), x), EncodeBody(*Make("natural"), x));
  EXPECT_EQ(Make("composite(natural)")->id(), CodecId::kComposite);
}

TEST(Composite, EqualStages_DrawIndependently) {
  // Eight random positions of 64 twice: were they the same, the second stage would find zeros there and keep nothing.
  const Floats x(64, 1.0f);
  const auto kept = [&](const std::string& spec) {
    const Floats y = RoundTrip(*Make(spec), x);
    return std::count(y.begin(), y.end(), 1.0f);
  };
  EXPECT_EQ(kept("randk(k=8)"), 8);
  EXPECT_GT(kept("composite(randk(k=8), randk(k=8))"), 8);
  EXPECT_GT(kept("composite(randk(k=8), composite(randk(k=8), randk(k=8)))"),
            kept("composite(randk(k=8), randk(k=8))"));
}

TEST(Composite, ContractiveStages_MultiplyWhatTheyLeave) {
  const Shape shape({1000});
  EXPECT_DOUBLE_EQ(*Make("composite(topk(ratio=0.1), topk(ratio=0.2))")->traits(shape).delta, 1 - 0.9 * 0.8);
  // natural is unbiased with omega = 1/8: as it is, it leaves no more than an eighth.
  EXPECT_DOUBLE_EQ(*Make("composite(natural, topk(ratio=0.1))")->traits(shape).delta, 1 - 0.9 / 8);
  EXPECT_FALSE(Make("composite(natural, topk(ratio=0.1))")->traits(shape).omega.has_value());
}

TEST(Composite, UnbiasedLastStage_MakesTheWholeUnbiased) {
  // Induced: omega = (1 - delta_1) omega_2, and here delta_2 of scaled(...) does not count.
  const Traits traits = Make("composite(topk(ratio=0.1), natural)")->traits(Shape({1000}));
  EXPECT_DOUBLE_EQ(*traits.omega, 0.9 / 8);
  EXPECT_DOUBLE_EQ(*traits.delta, 1 - 0.9 / 8);
  EXPECT_FALSE(Make("composite(topk(ratio=0.1), scaled(natural))")->traits(Shape({1000})).omega.has_value());
}

TEST(Composite, InducedCompressor_MeasuresAsClaimed) {
  // Top-50 and then unbiased rand-50 of 1000 Gaussians: omega = 19 |x - top(x)|^2 / |x|^2. The mean of 4000 draws of
  // E|C(x) - x|^2 lies within 5 % of it (their spread is below 20 %, so that is 15 standard errors).
  const Floats x = Gaussian(1000);
  const Floats outliers = RoundTrip(*Make("topk(k=50)"), x);
  const double expected = 19 * SquaredDistance(x, outliers) / SquaredNorm(x);
  const auto codec = Make("composite(topk(k=50), randk(k=50, scale=unbiased, seed=rank))");
  EXPECT_NEAR(RelativeError(*codec, x, 4000), expected, 0.05 * expected);
  // |mean - x| / |x| has root mean square sqrt(omega / 4000) = 0.06.
  EXPECT_LT(RelativeBias(*codec, x, 4000), 3 * std::sqrt(expected / 4000));
}

TEST(Composite, ScaledWithinAndAround_UseWorkMemoryOfTheirOwn) {
  // scaled decodes into work memory, and so does the composite inside of it, and the scaled codec in that.
  const auto codec = Make("scaled(composite(scaled(natural), natural))");
  const Floats x = Gaussian(500);
  const Floats residual = Residual(*codec, x), y = RoundTrip(*codec, x);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(residual[i], x[i] - y[i]);
  EXPECT_LT(RelativeError(*codec, x, 100), 1 - *codec->traits(Shape({500})).delta);
}

// ---- Contraction ----

Floats Spiky() {
  Floats x = Gaussian(2048);
  for (size_t i = 0; i < x.size(); i += 97) x[i] *= 20;
  return x;
}

TEST(Composite, Claim_IsAtLeastThatOfTheBestStage) {
  const Shape shape({64, 32});
  const std::vector<std::string> stages = {"topk(ratio=0.02)", "lowrank(rank=2)", "quantize(bits=3, block=64)", "sign",
                                           "natural",          "scaled(natural)"};
  for (const std::string& a : stages) {
    for (const std::string& b : stages) {
      const double whole = *Make("composite(" + a + ", " + b + ")")->traits(shape).delta;
      for (const std::string& stage : {a, b}) EXPECT_GE(whole, Make(stage)->traits(shape).delta.value_or(0));
    }
  }
}

TEST(Composite, AnyOrder_LosesNoMoreThanItsBestStage) {
  const Shape shape({64, 32});
  const std::vector<std::string> stages = {"topk(ratio=0.02)", "lowrank(rank=2)", "quantize(bits=3, block=64)"};
  for (const Floats& x : {Gaussian(2048), Spiky(), Floats(2048, 0.5f)}) {
    double best = 1;
    for (const std::string& stage : stages) best = std::min(best, ErrorOnMatrix(stage, x, shape));
    std::vector<std::string> order = stages;
    std::sort(order.begin(), order.end());
    do {
      const std::string spec = "composite(" + order[0] + ", " + order[1] + ", " + order[2] + ")";
      // An exact stage leaves rounding errors of 2^-24, squared and with a factor to spare 1e-12.
      EXPECT_LE(ErrorOnMatrix(spec, x, shape), best + 1e-12) << spec;
    } while (std::next_permutation(order.begin(), order.end()));
  }
}

// What an earlier stage takes can spoil the structure that a later one lives on: on a matrix of rank one lowrank alone
// is exact, and behind a quantiser it is not. First, it is, whatever follows.
TEST(Composite, BestStageFirst_LosesNoMoreOnAnyData) {
  const Shape shape({64, 32});
  Floats x(2048);
  for (size_t i = 0; i < 2048; ++i) x[i] = static_cast<float>((1.0 + static_cast<double>(i / 32)) * (1.0 + i % 32));
  const double alone = ErrorOnMatrix("lowrank(rank=2)", x, shape);
  EXPECT_LT(alone, 2e-12);
  EXPECT_LE(ErrorOnMatrix("composite(lowrank(rank=2), quantize(bits=3, block=64))", x, shape), alone);
  EXPECT_LE(ErrorOnMatrix("composite(lowrank(rank=2), topk(ratio=0.02))", x, shape), alone);
  EXPECT_GT(ErrorOnMatrix("composite(quantize(bits=3, block=64), lowrank(rank=2))", x, shape), alone);
}

// ---- At equal bytes ----

// Two strong directions, noise, and 60 outliers: what gradients of matrices and keys of attention look like.
Floats LowRankWithOutliers(float noise, float outlier, uint64_t seed) {
  constexpr size_t kRows = 256, kCols = 128;
  const Floats p = Gaussian(2 * kRows, seed), q = Gaussian(2 * kCols, seed + 1), n = Gaussian(kRows * kCols, seed + 2);
  Floats x(kRows * kCols);
  for (size_t i = 0; i < kRows; ++i) {
    for (size_t j = 0; j < kCols; ++j) {
      x[i * kCols + j] = p[i] * q[j] + p[kRows + i] * q[kCols + j] + noise * n[i * kCols + j];
    }
  }
  const CounterRng rng(RngKey{.seed = seed + 3});
  for (uint64_t t = 0; t < 60; ++t) x[rng.Below(2 * t, kRows * kCols)] += rng.Word(2 * t + 1) % 2 ? outlier : -outlier;
  return x;
}

// The least error among those of `specs` whose body takes no more than `bytes`.
double BestWithin(const std::vector<std::string>& specs, const Floats& x, const Shape& shape, size_t bytes) {
  double best = 1;
  for (const std::string& spec : specs) {
    const Encoded encoded = EncodeMatrix(*Make(spec), x, shape);
    if (encoded.bytes <= bytes) best = std::min(best, SquaredDistance(encoded.decoded, x) / SquaredNorm(x));
  }
  return best;
}

TEST(Composite, LowRankWithOutliersAtEqualBytes_BeatsEverySingleStage) {
  const Shape shape({256, 128});
  const std::string composite = "composite(topk(ratio=0.002), lowrank(rank=2), quantize(bits=2, block=256))";
  std::vector<std::string> singles;
  for (int bits = 1; bits <= 8; ++bits) {
    for (const int block : {32, 64, 128, 256, 512, 1024}) {
      singles.push_back("quantize(bits=" + std::to_string(bits) + ", block=" + std::to_string(block) + ")");
    }
  }
  for (int rank = 1; rank <= 80; ++rank) singles.push_back("lowrank(rank=" + std::to_string(rank) + ")");
  for (int percent = 1; percent <= 30; ++percent) {
    for (const char* values : {"fp32", "fp16", "bf16"}) {
      singles.push_back("topk(ratio=" + std::to_string(percent / 100.0) + ", values=" + values + ")");
    }
  }
  for (const auto& [noise, outlier] : {std::pair{0.3f, 15.0f}, {0.1f, 15.0f}, {0.3f, 40.0f}}) {
    for (const uint64_t seed : {10, 20}) {
      const Floats x = LowRankWithOutliers(noise, outlier, seed);
      const Encoded whole = EncodeMatrix(*Make(composite), x, shape);
      const double error = SquaredDistance(whole.decoded, x) / SquaredNorm(x);
      const double best = BestWithin(singles, x, shape, whole.bytes);
      EXPECT_LT(error, best / 5) << "noise " << noise << ", outliers " << outlier;
    }
  }
}

TEST(Composite, OutliersAndLowRankBeforeTheQuantiser_IsTheBetterOrder) {
  const Shape shape({256, 128});
  const Floats x = LowRankWithOutliers(0.3f, 15, 10);
  const double alone = ErrorOnMatrix("quantize(bits=2, block=64)", x, shape);
  const double outliers = ErrorOnMatrix("composite(topk(ratio=0.01), quantize(bits=2, block=64))", x, shape);
  const double gear =
      ErrorOnMatrix("composite(topk(ratio=0.01), quantize(bits=2, block=64), lowrank(rank=4))", x, shape);
  const double first =
      ErrorOnMatrix("composite(topk(ratio=0.01), lowrank(rank=2), quantize(bits=2, block=64))", x, shape);
  EXPECT_LT(outliers, alone);  // .465, .328
  EXPECT_LT(gear, outliers);   // .211
  EXPECT_LT(first, gear / 2);  // .055
}

// ---- What is refused ----

TEST(Composite, StageThatDoesNotTakeTheShape_IsRefusedWithItsReason) {
  const absl::Status status = Make("composite(topk(k=1), lowrank(rank=2))")->Supports(Shape({100}));
  EXPECT_THAT(status, HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("composite stage 2, lowrank(rank=2")));
  EXPECT_THAT(status, HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("would not make [100] smaller")));
}

TEST(Composite, DamagedBody_NamesTheStage) {
  const auto codec = Make("composite(topk(k=1), natural)");
  const Bytes body = EncodeBody(*codec, Floats{1.0f, 2.0f, 4.0f});
  Bytes long_first = body;
  long_first[0] = std::byte{0x7f};
  EXPECT_THAT(Decode(*codec, long_first, 3), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("composite stage 1")));
  EXPECT_THAT(Decode(*codec, Bytes(body.begin(), body.end() - 1), 3),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("composite stage 2, natural: natural body")));
}

TEST(Composite, FiniteStagesWhoseSumOverflows_AreRefused) {
  const auto codec = Make("composite(identity, identity)");
  const Bytes huge = FloatBytes(3e38f);
  EXPECT_THAT(Decode(*codec, Join({huge, huge}), 1),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("sum overflows at element 0")));
}

TEST(Composite, Spec_TakesOneToSixteenCodecs) {
  EXPECT_THAT(TryCreate("composite"), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("not 0")));
  EXPECT_THAT(TryCreate("composite()"), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("column")));
  std::string many = "composite(natural";
  for (int stage = 1; stage < 17; ++stage) many += ", natural";
  EXPECT_THAT(TryCreate(many + ")"), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("not 17")));
  EXPECT_THAT(TryCreate("composite(topk(k=1), nonsense)"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("column 22")));
  EXPECT_EQ(Make("composite(sign,natural)")->ToString(),
            "composite(" + Make("sign")->ToString() + ", " + Make("natural")->ToString() + ")");
}

}  // namespace
}  // namespace laconic
