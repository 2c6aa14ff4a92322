// Low-rank as one message, and the arithmetic under it.
#include "tests/compressors/lowrank_harness.h"

namespace laconic::internal {
namespace {

using ::testing::ElementsAre;

// ---- The arithmetic ----

TEST(FillNearlyNormal, ManyDraws_HaveTheMomentsOfTheSumOfEightUniforms) {
  const std::vector<float> x = Random(100'000, 1);
  double sum = 0, squares = 0, fourths = 0;
  for (const double value : x) {
    sum += value;
    squares += value * value;
    fourths += value * value * value * value;
  }
  const double n = static_cast<double>(x.size());
  // Five standard errors: sqrt(2/3) / sqrt(n) for the mean; sqrt(kurtosis - 1) * 2/3 / sqrt(n), kurtosis 3 - 1.2/8, for
  // the variance.
  EXPECT_NEAR(sum / n, 0, 5 * 0.8165 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 2.0 / 3, 5 * 0.907 / std::sqrt(n));
  EXPECT_NEAR((fourths / n) / (squares / n * squares / n), 2.85, 0.1);
}

TEST(Orthonormalize, RandomColumns_BecomeOrthonormal) {
  for (const size_t rows : {1u, 7u, 64u, 1000u}) {
    const size_t rank = std::min<size_t>(rows, 6);
    const std::vector<float> p = Orthonormal(rows, rank, rows);
    for (size_t a = 0; a < rank; ++a) {
      for (size_t b = 0; b <= a; ++b) {
        double dot = 0;
        for (size_t i = 0; i < rows; ++i) dot += static_cast<double>(p[a * rows + i]) * p[b * rows + i];
        // Entries are rounded to 2^-24 of themselves, so a dot product of unit vectors is off by at most 2 * 2^-24.
        EXPECT_NEAR(dot, a == b ? 1.0 : 0.0, 0x1p-23) << rows << " rows, columns " << a << " and " << b;
      }
    }
  }
}

TEST(Orthonormalize, FirstColumn_IsItselfScaled) {
  std::vector<float> p = {3, 0, 4, 3, 5, 4};  // two columns of three
  Orthonormalize(p, 3, CounterRng(RngKey{}), 0);
  EXPECT_THAT(std::span(p).first(3), ElementsAre(0.6f, 0, 0.8f));
  const float second[] = {0, 1, 0};  // (3, 5, 4) less its part along the first, up to the rounding of 0.6 and 0.8
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(p[3 + i], second[i], 0x1p-24);
}

TEST(Orthonormalize, DependentAndZeroColumns_AreReplacedByOrthonormalOnes) {
  std::vector<float> p = {0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 2, 4, 0, 0, 0};  // zero, (0,1,2) .., twice the second
  Orthonormalize(p, 5, CounterRng(RngKey{}), 0);
  for (size_t a = 0; a < 3; ++a) {
    for (size_t b = 0; b <= a; ++b) {
      double dot = 0;
      for (size_t i = 0; i < 5; ++i) dot += static_cast<double>(p[a * 5 + i]) * p[b * 5 + i];
      EXPECT_NEAR(dot, a == b ? 1.0 : 0.0, 0x1p-23) << a << " " << b;
    }
  }
}

TEST(Orthonormalize, ExtremeMagnitudes_AreTakenAsTheyAre) {
  for (const float scale : {1e-44f, 1e-30f, 1e30f}) {
    std::vector<float> p = {3 * scale, 4 * scale};
    Orthonormalize(p, 2, CounterRng(RngKey{}), 0);
    EXPECT_NEAR(p[0] * p[0] + p[1] * p[1], 1.0f, 1e-6f);
    EXPECT_NEAR(p[0] / p[1], (3 * scale) / (4 * scale), 1e-6f);
  }
}

TEST(ScaleColumns, AnyColumn_KeepsItsRatiosAndReachesOneHalf) {
  std::vector<float> q = {3, -6, 0, 0, 1e-40f, 1e30f};
  ScaleColumns(q, 2);
  EXPECT_THAT(q, ElementsAre(0.375f, -0.75f, 0, 0, 0, ::testing::AllOf(::testing::Ge(0.5f), ::testing::Lt(1.0f))));
}

// ---- One message ----

TEST(LowRank, MatrixOfLowerRank_IsReproduced) {
  const Shape shape({64, 48});
  const std::vector<float> x = Product(64, 48, Random(64 * 3, 1), Random(48 * 3, 2));
  for (int iterations = 0; iterations <= 2; ++iterations) {
    EXPECT_LT(RelativeError(RoundTrip(LowRank(4, iterations), shape, x), x), 1e-5) << iterations << " iterations";
  }
}

TEST(LowRank, FlatSpectrum_LosesExactlyOneMinusRankOverSide) {
  std::vector<float> identity(32 * 32);
  for (size_t i = 0; i < 32; ++i) identity[i * 33] = 1;
  // Any projection on 4 directions keeps 4 of the 32 units of energy; float factors are orthonormal to 2^-23.
  const double error = RelativeError(RoundTrip(LowRank(4, 1), Shape({32, 32}), identity), identity);
  EXPECT_NEAR(error * error, 0.875, 1e-6);
  EXPECT_DOUBLE_EQ(*LowRank(4, 1).traits(Shape({32, 32})).delta, 0.125);
}

TEST(LowRank, MoreIterations_ComeCloserToTheBestApproximation) {
  const std::vector<float> x = WithSpectrum(64, 48, Geometric(0.8, 48), 7);
  const Shape shape({64, 48});
  // Mean of 20 keys, because one draw may be lucky.
  const auto error = [&](int iterations) {
    double sum = 0;
    for (uint64_t seed = 0; seed < 20; ++seed) {
      sum += RelativeError(RoundTrip(LowRank(4, iterations), shape, x, seed), x) / 20;
    }
    return sum;
  };
  const double best = std::pow(0.8, 4);  // sqrt of the tail energy, 0.64^4, to 0.8^48
  EXPECT_GT(error(0), error(1));
  EXPECT_GT(error(1), error(3));
  EXPECT_GT(error(3), best * (1 - 1e-4));
  EXPECT_LT(error(8), best * 1.001);
}

TEST(LowRank, Body_IsColumnsOfPThenColumnsOfQ) {
  // A convolution of 3 x (1 x 3) is the matrix 3 x 3; P = (1, 0, 2), Q = (3, 0, -1).
  const Shape shape({3, 1, 3});
  const LowRank codec(1, 0);
  ASSERT_EQ(codec.MaxBodyBytes(shape), 24u);
  std::vector<float> acc = {1, 1, 1, 1, 1, 1, 1, 1, 1};
  ASSERT_EQ(codec.DecodeAdd(BodyOf({1, 0, 2, 3, 0, -1}), shape, 0.5f, acc), absl::OkStatus());
  EXPECT_THAT(acc, ElementsAre(2.5f, 1, 0.5f, 1, 1, 1, 4, 1, 0));
}

TEST(LowRank, ShapeThatWouldNotShrink_IsRefusedWithAReason) {
  const LowRank codec(4, 1);
  EXPECT_EQ(codec.Supports(Shape({16, 16})), absl::OkStatus());  // 128 of 256
  for (const Shape& shape : {Shape(), Shape::Flat(1000), Shape({1, 1000}), Shape({8, 8}), Shape({0, 5})}) {
    EXPECT_EQ(codec.Supports(shape).code(), absl::StatusCode::kInvalidArgument) << shape.ToString();
    EXPECT_EQ(codec.NewLinearSession(shape, kInit), nullptr);
  }
  EXPECT_EQ(codec.Supports(Shape({8, 8})).message(),
            "lowrank(rank=4) would not make [8, 8] smaller: as a 8 x 8 matrix its factors take 64 of 64 floats; "
            "send it dense");
}

TEST(LowRank, RankAboveTheSmallerSide_IsClamped) {
  const LowRank codec(100, 1);
  EXPECT_EQ(codec.MaxBodyBytes(Shape({3, 1000})), 3 * 1003 * sizeof(float));
  EXPECT_DOUBLE_EQ(*codec.traits(Shape({3, 1000})).delta, 1.0);
}

TEST(LowRank, EncodeOfNonFiniteOrHugeValues_IsRefused) {
  const Shape shape({16, 16});
  const LowRank codec(2, 1);
  std::vector<std::byte> body(codec.MaxBodyBytes(shape));
  std::vector<float> x = Random(256, 1);
  x[77] = kNan;
  x[78] = kInfinity;
  EXPECT_EQ(codec.Encode(x, shape, RngKey{}, body).status().message(), "lowrank: element 77 of 256 is nan");
  x[77] = 0;
  EXPECT_EQ(codec.Encode(x, shape, RngKey{}, body).status().message(), "lowrank: element 78 of 256 is inf");
  std::fill(x.begin(), x.end(), 3e38f);
  EXPECT_EQ(codec.Encode(x, shape, RngKey{}, body).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(LowRank, HugeAndTinyValues_SurviveSubspaceIteration) {
  const Shape shape({16, 16});
  const std::vector<float> unit = Product(16, 16, Random(16, 1), Random(16, 2));
  for (const float scale : {1e-30f, 1e30f}) {  // products of two such values leave the range of float
    std::vector<float> x = unit;
    for (float& value : x) value *= scale;
    EXPECT_LT(RelativeError(RoundTrip(LowRank(2, 4), shape, x), x), 1e-5) << scale;
  }
}

TEST(LowRank, DamagedBody_IsDataLossThatNamesTheDamage) {
  const Shape shape({3, 3});
  const LowRank codec(1, 0);
  std::vector<float> acc(9);
  const auto error = [&](std::vector<float> factors) {
    const absl::Status status = codec.DecodeAdd(BodyOf(std::move(factors)), shape, 1, acc);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    return std::string(status.message());
  };
  EXPECT_EQ(error({1, 2, 3, 4, 5}), "lowrank body: 20 bytes, expected 24");
  EXPECT_EQ(error({1, 2, 3, 4, 5, 6, 7}), "lowrank body: 28 bytes, expected 24");
  EXPECT_EQ(error({1, kNan, 3, 4, 5, 6}), "lowrank body: element 1 of P is nan");
  EXPECT_EQ(error({1, 2, 3, 4, 5, kInfinity}), "lowrank body: element 2 of Q is inf");
  EXPECT_EQ(error({1, 1, 1e20f, 1, 1e30f, 1}), "lowrank body: element 7 of P Q^T overflows");
}

TEST(LowRank, EncodeResidual_IsEncodeOfTheMessageAndWhatItDoesNotSay) {
  const Shape shape({40, 300});
  const LowRank codec(3, 1);
  const std::vector<float> gradient = Random(12'000, 1), error = Random(12'000, 2);
  Message message(gradient);
  message.error = error;
  std::vector<float> formed(12'000), residual(12'000);
  message.Form(0, formed);
  std::vector<std::byte> body(codec.MaxBodyBytes(shape)), expected_body(body.size());
  ASSERT_TRUE(codec.EncodeResidual(message, shape, RngKey{.seed = 5}, residual, body).ok());
  ASSERT_TRUE(codec.Encode(formed, shape, RngKey{.seed = 5}, expected_body).ok());
  EXPECT_EQ(body, expected_body);
  EXPECT_EQ(codec.DecodeAdd(body, shape, -1.0f, formed), absl::OkStatus());
  EXPECT_EQ(residual, formed);
}

TEST(LowRank, Threads_ChangeNoBits) {
  const Shape shape({600, 700});  // four pieces of rows, three of columns
  const std::vector<float> gradient = Random(420'000, 1), error = Random(420'000, 2);
  Message message(gradient);
  message.error = error;
  const auto step = [&](int threads) {
    WorkerPool pool(threads);
    const ParallelScope scope(&pool);
    const LowRank codec(3, 0);
    std::vector<float> encoded_residual(420'000), residual(420'000), mean(420'000), acc(420'000);
    std::vector<std::byte> body(codec.MaxBodyBytes(shape));
    EXPECT_TRUE(codec.EncodeResidual(message, shape, RngKey{}, encoded_residual, body).ok());
    EXPECT_EQ(codec.DecodeAdd(body, shape, 0.5f, acc), absl::OkStatus());
    LowRankSession session(600, 700, 3, kInit);
    session.Begin(RngKey{}, residual);
    for (int round = 0; round < 2; ++round) {
      std::vector<float> floats(session.RoundFloats(round));
      EXPECT_EQ(session.Produce(round, message, floats), absl::OkStatus());
      EXPECT_EQ(session.Consume(round, floats), absl::OkStatus());
    }
    session.Reconstruct(mean);
    return std::vector{encoded_residual, acc, residual, mean};
  };
  const auto alone = step(1);
  EXPECT_EQ(step(3), alone);
  EXPECT_GT(SquaredNorm(alone[3]), 0);
}

}  // namespace
}  // namespace laconic::internal
