#include "compressors/randk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "compressors/permutation.h"
#include "laconic/base/parallel.h"
#include "tests/compressors/sparse_codec.h"

namespace laconic {
namespace {

using internal::KeyedPermutation;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Bytes = std::vector<std::byte>;

std::shared_ptr<const Compressor> RandK(const std::string& spec) { return *Create(RandKInfo(), spec); }

uint64_t DerivedKey(uint64_t step) { return CounterRng({.seed = 1, .step = step}).derived_key(); }

std::vector<uint32_t> Images(uint64_t derived_key, uint64_t elements, uint64_t first, size_t count) {
  std::vector<uint32_t> images(count);
  KeyedPermutation(derived_key, elements).Images(first, images);
  return images;
}

// A chi-square variable with n degrees of freedom exceeds this with probability at most e^-14 < 10^-6
// (Laurent and Massart 2000, Lemma 1: n + 2 sqrt(n x) + 2 x).
double ChiSquareBound(double n) { return n + 2 * std::sqrt(n * 14) + 2 * 14; }

TEST(KeyedPermutation, AllImages_AreAllElements) {
  for (const uint64_t elements : {1u, 2u, 3u, 4u, 5u, 7u, 16u, 17u, 97u, 1000u, 4096u}) {
    for (uint64_t step = 0; step < 20; ++step) {
      std::vector<uint32_t> images = Images(DerivedKey(step), elements, 0, elements);
      std::sort(images.begin(), images.end());
      std::vector<uint32_t> all(elements);
      std::iota(all.begin(), all.end(), 0u);
      EXPECT_EQ(images, all) << elements;
    }
  }
}

TEST(KeyedPermutation, PartOfTheImages_IsThatPartOfAll) {
  const std::vector<uint32_t> all = Images(DerivedKey(0), 1000, 0, 1000);
  const std::vector<uint32_t> part = Images(DerivedKey(0), 1000, 333, 400);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + 333));
}

TEST(KeyedPermutation, LargestDomain_StaysInside) {
  const uint64_t elements = KeyedPermutation::kMaxElements;
  for (const uint32_t image : Images(DerivedKey(0), elements, elements - 100, 100)) EXPECT_LT(image, elements);
}

TEST(KeyedPermutation, EveryElement_IsAmongTheFirstKEquallyOften) {
  constexpr uint64_t kDraws = 4000;
  for (const auto& [d, k] : {std::pair(2, 1), {3, 1}, {5, 2}, {7, 3}, {10, 9}, {64, 8}, {100, 10}, {1000, 10}}) {
    std::vector<double> counts(static_cast<size_t>(d));
    for (uint64_t step = 0; step < kDraws; ++step) {
      for (const uint32_t image : Images(DerivedKey(step), static_cast<uint64_t>(d), 0, static_cast<size_t>(k)))
        ++counts[image];
    }
    // Inclusions have variance p (1 - p) and covariance -p (1 - p) / (d - 1), so that (d - 1) / d times the sum of
    // squared standard scores is asymptotically chi-square with d - 1 degrees of freedom.
    const double p = static_cast<double>(k) / d;
    double sum = 0;
    for (const double count : counts) sum += std::pow(count - kDraws * p, 2) / (kDraws * p * (1 - p));
    EXPECT_LE(sum * (d - 1) / d, ChiSquareBound(d - 1)) << d << " choose " << k;
  }
}

TEST(KeyedPermutation, OrderedPairs_AreEquallyLikely) {
  constexpr uint64_t kDraws = 20'000;
  for (const uint64_t d : {3u, 4u, 5u, 6u, 9u, 16u, 20u}) {
    std::vector<double> counts(d * d);
    for (uint64_t step = 0; step < kDraws; ++step) {
      const std::vector<uint32_t> pair = Images(DerivedKey(step), d, 0, 2);
      ++counts[pair[0] * d + pair[1]];
    }
    const double cells = static_cast<double>(d * (d - 1));
    const double expected = kDraws / cells;
    double chi_square = 0;
    for (uint64_t a = 0; a < d; ++a) {
      for (uint64_t b = 0; b < d; ++b) {
        if (a != b) chi_square += std::pow(counts[a * d + b] - expected, 2) / expected;
      }
    }
    EXPECT_LE(chi_square, ChiSquareBound(cells - 1)) << d;
  }
}

TEST(DrawPositions, AreTheFirstImagesInOrder) {
  for (const auto& [elements, count] :
       {std::pair(uint64_t{1}, 1u), {2, 0}, {2, 1}, {10, 10}, {2049, 1000}, {100'000, 5000}, {0xffffffffu, 300}}) {
    std::vector<uint32_t> positions(count), work(count);
    internal::DrawPositions(DerivedKey(1), elements, positions, work);
    std::vector<uint32_t> images = Images(DerivedKey(1), elements, 0, count);
    std::sort(images.begin(), images.end());
    EXPECT_EQ(positions, images) << elements;
  }
}

TEST(RandK, EncodeThenDecode_KeepsKEntriesAsTheyAre) {
  const std::vector<float> x = {1, -2, 3, -4, 5, -6};
  const std::vector<float> y = RoundTrip(*RandK("randk(k=2)"), x, {.seed = 1});
  int kept = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_TRUE(y[i] == 0 || y[i] == x[i]);
    kept += y[i] != 0;
  }
  EXPECT_EQ(kept, 2);
}

TEST(RandK, EncodeResidual_LeavesExactZerosAtTheKept) {
  const std::vector<float> x = {0.1f, -0.2f, 0.3f, -0.4f};
  const std::vector<float> y = RoundTrip(*RandK("randk(k=3)"), x);
  const std::vector<float> residual = Residual(*RandK("randk(k=3)"), x);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(residual[i], y[i] == 0 ? x[i] : 0.0f);
}

// What the base class does step by step: form, encode, subtract what was encoded.
TEST(RandK, EncodeResidualOfAnyMessage_IsFormEncodeSubtract) {
  constexpr size_t kElements = 3001;
  std::vector<float> gradient(kElements), error(kElements);
  for (size_t i = 0; i < kElements; ++i) {
    gradient[i] = 1.0f / static_cast<float>(i + 1);
    error[i] = 0.1f * static_cast<float>(i % 7);
  }
  Message message(gradient);
  message.error = error;
  message.error_weight = 0.5f;
  for (const char* spec : {"randk(ratio=0.1)", "randk(ratio=1)", "randk(k=0)", "randk(ratio=0.1, scale=unbiased)",
                           "randk(ratio=0.1, values=fp16)", "randk(ratio=0.1, seed=rank, values=bf16)"}) {
    const auto codec = RandK(spec);
    const Shape shape = Shape::Flat(kElements);
    Bytes body(codec->MaxBodyBytes(shape)), expected_body(body.size());
    std::vector<float> residual(kElements), expected(kElements);
    ASSERT_THAT(codec->EncodeResidual(message, shape, {.seed = 2}, residual, body), IsOk());
    ASSERT_THAT(codec->Compressor::EncodeResidual(message, shape, {.seed = 2}, expected, expected_body), IsOk());
    EXPECT_EQ(body, expected_body) << spec;
    EXPECT_EQ(residual, expected) << spec;
  }
}

TEST(RandK, EncodeResidualOnFourThreads_GivesTheSameBits) {
  std::vector<float> x(2'500'000);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 1009) - 504;
  const BodyAndResidual alone = EncodeWithResidual(*RandK("randk(ratio=0.01)"), x);
  WorkerPool pool(4);
  const ParallelScope scope(&pool);
  EXPECT_TRUE(EncodeWithResidual(*RandK("randk(ratio=0.01)"), x) == alone);
  x[2'000'000] = x[1'500'000] = std::numeric_limits<float>::infinity();
  std::vector<float> residual(x.size());
  Bytes body(alone.body.size());
  EXPECT_THAT(RandK("randk(ratio=0.01)")->EncodeResidual(x, Shape::Flat(x.size()), {}, residual, body),
              HasStatus(absl::StatusCode::kInvalidArgument, "randk: element 1500000 of 2500000 is inf"));
}

TEST(RandK, MoreThan32BitsOfElements_AreRefused) {
  EXPECT_THAT(RandK("randk(k=1)")->Supports(Shape::Flat(uint64_t{1} << 32)),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("randk takes at most 4294967295 elements")));
}

TEST(RandK, Unbiased_MultipliesByDOverK) {
  const std::vector<float> x(8, 1.0f);
  const std::vector<float> y = RoundTrip(*RandK("randk(k=2, scale=unbiased)"), x);
  EXPECT_EQ(std::count(y.begin(), y.end(), 4.0f), 2);
  EXPECT_EQ(std::count(y.begin(), y.end(), 0.0f), 6);
}

TEST(RandK, Unbiased_MeanOverStepsIsTheInput) {
  constexpr int kDraws = 4000;
  const std::vector<float> x = {1, -2, 3, -4, 5, -6, 7, -8};
  const auto codec = RandK("randk(k=2, scale=unbiased)");
  std::vector<float> mean(8);
  for (int step = 0; step < kDraws; ++step) {
    const Bytes body = EncodeBody(*codec, x, {.seed = 1, .step = static_cast<uint64_t>(step)});
    ASSERT_THAT(codec->DecodeAdd(body, Shape::Flat(8), 1.0f / kDraws, mean), IsOk());
  }
  // |mean - x|^2 has expectation omega |x|^2 / N = 3 * 204 / 4000 = 0.153; three times its root is never seen but by a
  // bug.
  double distance = 0;
  for (size_t i = 0; i < 8; ++i) distance += std::pow(mean[i] - x[i], 2);
  EXPECT_LE(std::sqrt(distance), 3 * std::sqrt(0.153));
}

TEST(RandK, SharedSeed_KeepsTheSamePositionsOnAllRanks) {
  const std::vector<float> x(1000, 1.0f);
  const auto shared = RandK("randk(ratio=0.1)");
  EXPECT_EQ(RoundTrip(*shared, x, {.step = 5, .rank = 0}), RoundTrip(*shared, x, {.step = 5, .rank = 3}));
  EXPECT_NE(RoundTrip(*shared, x, {.step = 5}), RoundTrip(*shared, x, {.step = 6}));
  const auto own = RandK("randk(ratio=0.1, seed=rank)");
  EXPECT_NE(RoundTrip(*own, x, {.step = 5, .rank = 0}), RoundTrip(*own, x, {.step = 5, .rank = 3}));
}

TEST(RandK, Traits_FollowFromScaleAndSeed) {
  const Shape shape({20, 5});
  const Traits contractive = RandK("randk(ratio=0.1)")->traits(shape);
  EXPECT_DOUBLE_EQ(*contractive.delta, 0.1);
  EXPECT_FALSE(contractive.omega.has_value());
  EXPECT_DOUBLE_EQ(contractive.suggested_eta, 0.1);
  EXPECT_TRUE(contractive.fixed_size);
  EXPECT_TRUE(contractive.linear);
  const Traits unbiased = RandK("randk(ratio=0.1, scale=unbiased, seed=rank)")->traits(shape);
  EXPECT_DOUBLE_EQ(*unbiased.omega, 9);
  EXPECT_FALSE(unbiased.delta.has_value());
  EXPECT_FALSE(unbiased.linear);
  EXPECT_FALSE(RandK("randk(ratio=0.1, values=fp16)")->traits(shape).linear);
  EXPECT_FALSE(RandK("randk(k=0, scale=unbiased)")->traits(shape).omega.has_value());
}

TEST(RandK, Canonical_SpecsReadBack) {
  EXPECT_EQ(RandK("randk(ratio=0.1)")->ToString(), "randk(ratio=0.1, scale=contractive, seed=shared, values=fp32)");
  EXPECT_EQ(RandK("randk(seed=rank,scale=unbiased,k=7)")->ToString(),
            "randk(k=7, scale=unbiased, seed=rank, values=fp32)");
}

TEST(RandK, UnbiasedHalves_AreRefusedWithTheReason) {
  EXPECT_THAT(Create(RandKInfo(), "randk(k=3, scale=unbiased, values=fp16)"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("rounding to nearest biases the mean")));
  EXPECT_THAT(Create(RandKInfo(), "randk"), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("exactly one of")));
}

TEST(RandK, KeepNoneAndKeepAll_AreLegal) {
  const std::vector<float> x = {1, 2, 3};
  EXPECT_THAT(RoundTrip(*RandK("randk(k=0)"), x), ElementsAre(0, 0, 0));
  EXPECT_THAT(RoundTrip(*RandK("randk(k=0, scale=unbiased)"), x), ElementsAre(0, 0, 0));
  EXPECT_THAT(RoundTrip(*RandK("randk(ratio=1, scale=unbiased)"), x), ElementsAre(1, 2, 3));
  EXPECT_TRUE(EncodeBody(*RandK("randk(ratio=0.1)"), {}).empty());
}

TEST(RandK, Encode_NanOrOverflow_IsInvalidArgument) {
  std::vector<float> x(10, 1.0f);
  x[3] = std::numeric_limits<float>::quiet_NaN();
  const auto codec = RandK("randk(k=1, scale=unbiased)");
  Bytes body(codec->MaxBodyBytes(Shape::Flat(10)));
  EXPECT_THAT(codec->Encode(x, Shape::Flat(10), {}, body),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("randk: element 3 of 10 is ")));
  x.assign(10, std::numeric_limits<float>::max());
  EXPECT_THAT(codec->Encode(x, Shape::Flat(10), {}, body),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("overflows")));
  EXPECT_THAT(RandK("randk(k=1)")->Encode(x, Shape::Flat(10), {}, std::span(body).first(11)),
              HasStatus(absl::StatusCode::kResourceExhausted, HasSubstr("randk: body has room for")));
}

TEST(RandK, DecodeAdd_OtherLengthOrInfinity_IsDataLoss) {
  const auto codec = RandK("randk(k=2)");
  Bytes body = EncodeBody(*codec, std::vector<float>{1, 2, 3});
  ASSERT_EQ(body.size(), 16u);
  for (size_t size = 0; size < body.size(); ++size) {
    EXPECT_THAT(DecodeBody(*codec, std::span(body).first(size), 3),
                HasStatus(absl::StatusCode::kDataLoss, HasSubstr("randk body")));
  }
  body[15] = std::byte{0x7f};
  body[14] = std::byte{0x80};
  EXPECT_THAT(DecodeBody(*codec, body, 3), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("value 1 is ")));
}

TEST(RandKSession, OneRound_ReconstructsLocalAndMean) {
  const auto codec = RandK("randk(k=2)");
  const RngKey key = {.seed = 1, .step = 9, .rank = 1};
  const std::vector<float> x0 = {1, 2, 3, 4};
  const std::vector<float> x1 = {5, 6, 7, 8};
  const auto session = codec->NewLinearSession(Shape::Flat(4), key);
  ASSERT_NE(session, nullptr);
  EXPECT_EQ(session->rounds(), 1);
  EXPECT_EQ(session->RoundFloats(0), 2u);
  session->Begin(key.Shared(), {});
  std::vector<float> out0(2), out1(2);
  ASSERT_THAT(session->Produce(0, x1, out1), IsOk());
  ASSERT_THAT(session->Produce(0, x0, out0), IsOk());
  ASSERT_THAT(session->Consume(0, std::vector<float>{(out0[0] + out1[0]) / 2, (out0[1] + out1[1]) / 2}), IsOk());
  std::vector<float> local(4, 99), mean(4, 99);
  session->LocalReconstruction(local);
  session->MeanReconstruction(mean);
  EXPECT_EQ(local, RoundTrip(*codec, x0, key));  // both faces of the codec keep the same entries
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(mean[i], local[i] == 0 ? 0 : (x0[i] + x1[i]) / 2);
}

TEST(RandKSession, Residual_IsTheMessageWithoutWhatWasProduced) {
  const auto session = RandK("randk(k=2)")->NewLinearSession(Shape::Flat(4), {});
  const std::vector<float> gradient = {1, 2, 3, 4};
  Message message(gradient);
  message.error = gradient;
  std::vector<float> residual(4), out(2), local(4), mean(4);
  session->Begin({.step = 3}, residual);
  ASSERT_THAT(session->Produce(0, message, out), IsOk());
  ASSERT_THAT(session->Consume(0, out), IsOk());
  session->LocalReconstruction(local);
  session->Reconstruct(mean);
  EXPECT_EQ(mean, local);  // of one rank
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(residual[i] + local[i], 2 * gradient[i]);
  EXPECT_EQ(std::count(residual.begin(), residual.end(), 0.0f), 2);
}

TEST(RandKSession, NonFiniteInputOrMean_IsAnError) {
  const auto session = RandK("randk(k=1)")->NewLinearSession(Shape::Flat(2), {});
  session->Begin({}, {});
  std::vector<float> out(1);
  EXPECT_THAT(session->Produce(0, std::vector<float>{1, INFINITY}, out),
              HasStatus(absl::StatusCode::kInvalidArgument, "randk: element 1 of 2 is inf"));
  EXPECT_THAT(session->Consume(0, std::vector<float>{INFINITY}),
              HasStatus(absl::StatusCode::kDataLoss, "randk mean: element 0 of 1 is inf"));
  EXPECT_EQ(RandK("randk(k=1, seed=rank)")->NewLinearSession(Shape::Flat(2), {}), nullptr);
}

}  // namespace
}  // namespace laconic
