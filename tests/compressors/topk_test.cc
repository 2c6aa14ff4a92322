#include "compressors/topk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "laconic/base/parallel.h"
#include "tests/compressors/sparse_codec.h"

namespace laconic {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Bytes = std::vector<std::byte>;

std::shared_ptr<const Compressor> TopK(const std::string& spec) { return *Create(TopKInfo(), spec); }

TEST(TopK, EncodeThenDecode_KeepsTheTwoLargestMagnitudes) {
  EXPECT_THAT(RoundTrip(*TopK("topk(k=2)"), std::vector<float>{0.5f, -3.0f, 1.0f, 2.0f}), ElementsAre(0, -3, 0, 2));
}

TEST(TopK, EncodeResidual_LeavesTheOthersAndExactZeros) {
  const std::vector<float> residual = Residual(*TopK("topk(k=2)"), std::vector<float>{0.5f, -3.0f, 1.0f, 2.0f});
  EXPECT_THAT(residual, ElementsAre(0.5f, 0, 1, 0));
  EXPECT_FALSE(std::signbit(residual[1]));
}

TEST(TopK, Bf16Values_LeaveTheirRoundingErrorInTheResidual) {
  const std::vector<float> x = {0.5f, 1 + 0x1p-8f, 0.25f};
  EXPECT_THAT(RoundTrip(*TopK("topk(k=1, values=bf16)"), x), ElementsAre(0, 1, 0));
  EXPECT_THAT(Residual(*TopK("topk(k=1, values=bf16)"), x), ElementsAre(0.5f, 0x1p-8f, 0.25f));
}

TEST(TopK, Fp16Values_HoldGradientsBelowTheRangeOfHalves) {
  const std::vector<float> x = {0, 0x1p-100f, -3 * 0x1p-101f};
  EXPECT_THAT(RoundTrip(*TopK("topk(k=2, values=fp16)"), x), ElementsAre(0, 0x1p-100f, -3 * 0x1p-101f));
}

TEST(TopK, DecodeAdd_AddsTheScaledEntriesOnly) {
  const auto codec = TopK("topk(k=1)");
  const Bytes body = EncodeBody(*codec, std::vector<float>{1, 8});
  std::vector<float> acc = {10, 20};
  ASSERT_THAT(codec->DecodeAdd(body, Shape::Flat(2), 0.25f, acc), IsOk());
  EXPECT_THAT(acc, ElementsAre(10, 22));
}

TEST(TopK, Ratio_KeepsAtLeastOneAndRoundsToNearest) {
  const auto kept = [](const std::string& spec, size_t elements) {
    const std::vector<float> y = RoundTrip(*TopK(spec), std::vector<float>(elements, 1.0f));
    return std::count(y.begin(), y.end(), 1.0f);
  };
  EXPECT_EQ(kept("topk(ratio=0.01)", 10), 1);
  EXPECT_EQ(kept("topk(ratio=0.3)", 5), 2);  // 1.5 rounds away from zero
  EXPECT_EQ(kept("topk(ratio=0.3)", 1000), 300);
  EXPECT_EQ(kept("topk(ratio=1)", 7), 7);
  EXPECT_EQ(kept("topk(k=9)", 7), 7);
  EXPECT_EQ(kept("topk(k=0)", 7), 0);
}

// What the base class does step by step: form, encode, subtract what was encoded.
TEST(TopK, EncodeResidualOfAnyMessage_IsFormEncodeSubtract) {
  constexpr size_t kElements = 100'000;
  std::mt19937 random(5);
  std::vector<float> parts[4];
  for (auto& part : parts) {
    part.resize(kElements);
    for (float& value : part) value = static_cast<float>(random() >> 8) * 0x1p-24f - 0.5f;
  }
  Message message(parts[0]);
  message.momentum = parts[1];
  message.shift = parts[2];
  message.error = parts[3];
  message.momentum_weight = 0.75f;
  message.gradient_weight = 0.25f;
  message.error_weight = 0.5f;
  message.kappa = 0.75f;
  for (const char* spec :
       {"topk(ratio=0.01)", "topk(ratio=0.3)", "topk(ratio=1)", "topk(k=0)", "topk(ratio=0.01, values=fp16)",
        "topk(ratio=0.01, values=bf16)", "topk(ratio=0.01, values=q2)", "topk(k=64, chunk=4096)",
        "topk(k=3, chunk=100, values=q2)", "topk(k=0, chunk=64)", "topk(ratio=0.01, warmup=100)"}) {
    const auto codec = TopK(spec);
    const Shape shape = Shape::Flat(kElements);
    Bytes body(codec->MaxBodyBytes(shape)), expected_body(body.size());
    std::vector<float> residual(kElements), expected(kElements);
    const absl::StatusOr<size_t> size = codec->EncodeResidual(message, shape, {}, residual, body);
    const absl::StatusOr<size_t> expected_size =
        codec->Compressor::EncodeResidual(message, shape, {}, expected, expected_body);
    ASSERT_THAT(size, IsOk());
    ASSERT_THAT(expected_size, IsOk());
    ASSERT_EQ(*size, *expected_size) << spec;
    EXPECT_EQ(body, expected_body) << spec;
    EXPECT_EQ(residual, expected) << spec;
  }
}

// Three pieces of up to 2^20 elements. Where nearly all large entries are in one piece, its share of the room is full.
TEST(TopK, EncodeResidualOnFourThreads_GivesTheSameBits) {
  std::vector<float> x(2'500'000);
  std::mt19937 random(5);
  for (float& value : x) value = static_cast<float>(random() >> 8) * 0x1p-24f - 0.5f;
  std::vector<float> clustered = x;
  for (size_t i = 1'200'000; i < 1'600'000; ++i) clustered[i] *= 8;
  WorkerPool pool(4);
  for (const auto& data : {x, clustered}) {
    Message message(data);
    message.error = x;
    for (const char* spec :
         {"topk(ratio=0.001)", "topk(ratio=0.1)", "topk(k=64, chunk=4096, values=q2)", "topk(ratio=0.1, chunk=100)"}) {
      const BodyAndResidual alone = EncodeWithResidual(*TopK(spec), message);
      const ParallelScope scope(&pool);
      EXPECT_TRUE(EncodeWithResidual(*TopK(spec), message) == alone) << spec;
    }
  }
}

TEST(TopK, Chunks_KeepTheLargestOfEach) {
  EXPECT_THAT(RoundTrip(*TopK("topk(k=1, chunk=2)"), std::vector<float>{1, -2, 9, 8, 5}), ElementsAre(0, -2, 9, 0, 5));
  EXPECT_THAT(Residual(*TopK("topk(k=1, chunk=2)"), std::vector<float>{1, -2, 9, 8, 5}), ElementsAre(1, 0, 0, 8, 0));
}

TEST(TopK, ChunkedTraits_ClaimTheLeastShare) {
  EXPECT_DOUBLE_EQ(*TopK("topk(k=64, chunk=4096)")->traits(Shape::Flat(8192)).delta, 1.0 / 64);
  EXPECT_DOUBLE_EQ(*TopK("topk(k=64, chunk=4096)")->traits(Shape::Flat(100)).delta, 0.64);
  // Chunks of 100 keep one, the last of 49 half a one, which rounds up: 1/49 is the larger share.
  EXPECT_DOUBLE_EQ(*TopK("topk(ratio=0.01, chunk=100)")->traits(Shape::Flat(249)).delta, 0.01);
  EXPECT_DOUBLE_EQ(TopK("topk(ratio=0.01, chunk=100)")->traits(Shape::Flat(249)).suggested_eta, 0.01);
}

// Heavy-tailed data, 1 of 64 kept: 0.4003 of the energy by all-over selection, 0.3996 and 0.3524 from chunks of 4096
// and of 64 (computed once, on other draws). The energy of the kept is that of some 1000 large values, most of it in a
// few: the difference between two selections from the same data is steadier, hence 0.01 around that.
TEST(TopK, SixtyFourOfEach4096_KeepsTheEnergyOfTheLargestOfAll) {
  std::mt19937 random(11);
  const auto uniform = [&] { return (static_cast<double>(random()) + 0.5) * 0x1p-32; };
  const auto normal = [&] { return std::sqrt(-2 * std::log(uniform())) * std::cos(2 * M_PI * uniform()); };
  std::vector<float> x(1 << 16);
  for (float& value : x) {
    const double a = normal(), b = normal(), c = normal();
    value = static_cast<float>(normal() / std::sqrt((a * a + b * b + c * c) / 3));
  }
  const auto energy = [](const std::vector<float>& y) {
    double sum = 0;
    for (const float value : y) sum += static_cast<double>(value) * value;
    return sum;
  };
  const auto kept = [&](const char* spec) { return energy(RoundTrip(*TopK(spec), x)) / energy(x); };
  const double all = kept("topk(k=1024)"), chunks = kept("topk(k=64, chunk=4096)");
  EXPECT_LE(chunks, all);
  EXPECT_NEAR(chunks, all - 0.0007, 0.01);
  EXPECT_LT(kept("topk(k=1, chunk=64)"), all - 0.02);
}

// 64 of each 4096 in 2 bits: Rice takes at most 8 bits an index (topk.h), 12 bits would be the plain way.
TEST(TopK, SparseLoCosSetting_TakesTenBitsAnEntry) {
  std::mt19937 random(3);
  std::vector<float> x(1 << 20);
  for (float& value : x) value = static_cast<float>(random() >> 8) * 0x1p-24f - 0.5f;
  const auto codec = TopK("topk(k=64, chunk=4096, values=q2)");
  const size_t entries = x.size() / 64;
  EXPECT_LE(EncodeBody(*codec, x).size(), (8 + 2) * entries / 8 + 8 * (entries / 1024) + 16);
  EXPECT_LE(codec->MaxBodyBytes(Shape::Flat(x.size())), (8 + 2) * entries / 8 + 8 * (entries / 1024) + 16);
}

// ratio 0.001: 0.001^(1/5) = 0.2512, 0.0631, 0.01585, 0.00398.
TEST(TopK, Warmup_KeepsFewerInFourStages) {
  const auto codec = TopK("topk(ratio=0.001, warmup=8)");
  const std::vector<float> x(10'000, 1.0f);
  const auto kept = [&](uint64_t step) {
    const std::vector<float> y = RoundTrip(*codec, x, {.step = step});
    return std::count(y.begin(), y.end(), 1.0f);
  };
  EXPECT_EQ(kept(0), 2512);
  EXPECT_EQ(kept(1), 2512);
  EXPECT_EQ(kept(2), 631);
  EXPECT_EQ(kept(4), 158);
  EXPECT_EQ(kept(7), 40);
  EXPECT_EQ(kept(8), 10);
  EXPECT_EQ(kept(1'000'000), 10);
  EXPECT_DOUBLE_EQ(*codec->traits(Shape::Flat(x.size())).delta, 0.001);
  EXPECT_GT(codec->MaxBodyBytes(Shape::Flat(x.size())), 2512 * sizeof(float));
}

// Fewer steps than stages: each step is the first of its own.
TEST(TopK, WarmupOfTwoSteps_BeginsAtTheFirstStage) {
  const auto codec = TopK("topk(ratio=0.001, chunk=4000, warmup=2)");
  const std::vector<float> x(8000, 1.0f);
  const auto kept = [&](uint64_t step) {
    const std::vector<float> y = RoundTrip(*codec, x, {.step = step});
    return std::count(y.begin(), y.end(), 1.0f);
  };
  EXPECT_EQ(kept(0), 2010);  // 2 round(1004.76)
  EXPECT_EQ(kept(1), 504);   // 2 round(252.38)
  EXPECT_EQ(kept(2), 8);
}

TEST(TopK, DecodeAdd_AnyStagesNumberOfEntriesAndNoOther) {
  const std::vector<float> x(100, 1.0f);
  const Bytes body = EncodeBody(*TopK("topk(ratio=0.2, warmup=4)"), x, {.step = 1});  // 100 * 0.2^(2/5) = 53
  EXPECT_THAT(DecodeBody(*TopK("topk(ratio=0.2, warmup=9)"), body, 100), IsOk());
  EXPECT_THAT(DecodeBody(*TopK("topk(ratio=0.2)"), body, 100),
              HasStatus(absl::StatusCode::kDataLoss, "topk body: 53 entries, expected 20"));
}

TEST(TopK, WarmupWithK_IsInvalidArgument) {
  EXPECT_THAT(Create(TopKInfo(), "topk(k=3, warmup=10)"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("warmup takes ratio")));
  EXPECT_THAT(Create(TopKInfo(), "topk(k=3, chunk=4097)"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("chunk (0..4096)")));
}

TEST(TopK, MoreThan32BitsOfElements_AreRefused) {
  EXPECT_THAT(TopK("topk(ratio=0.1)")->Supports(Shape::Flat(uint64_t{1} << 32)),
              HasStatus(absl::StatusCode::kInvalidArgument,
                        "topk takes at most 4294967295 elements, not 4294967296: cut the tensor into parts"));
}

TEST(TopK, KeepNone_LeavesAllInTheResidualAndTakesOneByte) {
  const auto codec = TopK("topk(k=0)");
  EXPECT_THAT(Residual(*codec, std::vector<float>{1, -0.0f}), ElementsAre(1, 0));
  EXPECT_EQ(codec->MaxBodyBytes(Shape::Flat(2)), 1u);
}

TEST(TopK, EmptyTensor_HasAnEmptyBody) {
  const auto codec = TopK("topk(ratio=0.01)");
  EXPECT_EQ(codec->MaxBodyBytes(Shape::Flat(0)), 0u);
  EXPECT_TRUE(EncodeBody(*codec, {}).empty());
  EXPECT_THAT(DecodeBody(*codec, Bytes(1), 0), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("topk body")));
}

TEST(TopK, Traits_ClaimTheShareThatIsKept) {
  const Traits traits = TopK("topk(ratio=0.01)")->traits(Shape({10, 100}));
  EXPECT_DOUBLE_EQ(*traits.delta, 0.01);
  EXPECT_DOUBLE_EQ(traits.suggested_eta, 0.01);
  EXPECT_FALSE(traits.omega.has_value());
  EXPECT_TRUE(traits.deterministic);
  EXPECT_FALSE(traits.fixed_size);
  EXPECT_FALSE(TopK("topk(k=0)")->traits(Shape({10})).delta.has_value());
  EXPECT_DOUBLE_EQ(*TopK("topk(ratio=0.5, values=bf16)")->traits(Shape({10})).delta, 0.5 * (1 - 0x1p-16));
}

TEST(TopK, ConstantVector_AttainsDelta) {
  const std::vector<float> residual = Residual(*TopK("topk(k=3)"), std::vector<float>(10, 2.0f));
  double energy = 0;
  for (const float r : residual) energy += r * r;
  EXPECT_EQ(energy, (1 - 3.0 / 10) * 40);
}

TEST(TopK, Canonical_SpecsReadBack) {
  EXPECT_EQ(TopK("topk(ratio=0.010)")->ToString(), "topk(ratio=0.01, values=fp32)");
  EXPECT_EQ(TopK("topk(values=fp16,k=12)")->ToString(), "topk(k=12, values=fp16)");
  EXPECT_EQ(TopK("topk(warmup=4,chunk=64,ratio=0.1)")->ToString(), "topk(ratio=0.1, values=fp32, chunk=64, warmup=4)");
  EXPECT_EQ(TopK("topk(k=12, values=fp16)")->ToString(), "topk(k=12, values=fp16)");
}

TEST(TopK, RatioAndKTogetherOrNeither_IsInvalidArgumentWithColumn) {
  for (const char* spec : {"topk", "topk(values=fp32)", "topk(ratio=0.1, k=3)"}) {
    EXPECT_THAT(Create(TopKInfo(), spec), HasStatus(absl::StatusCode::kInvalidArgument,
                                                    HasSubstr("spec column 1: topk takes exactly one of ratio")));
  }
}

TEST(TopK, ParametersOutOfRange_AreInvalidArgument) {
  for (const char* spec : {"topk(ratio=0)", "topk(ratio=1.01)", "topk(ratio=nan)", "topk(k=-1)", "topk(k=0.5)",
                           "topk(k=3, values=fp64)", "topk(k=3, x=1)", "topk(3)"}) {
    EXPECT_THAT(Create(TopKInfo(), spec), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("spec column")))
        << spec;
  }
}

TEST(TopK, Encode_NanOrShortBuffer_IsAnErrorAndLeavesTheInput) {
  const auto codec = TopK("topk(k=1)");
  std::vector<float> x = {1, std::numeric_limits<float>::quiet_NaN(), 2};
  Bytes body(codec->MaxBodyBytes(Shape::Flat(3)));
  std::vector<float> residual(3);
  EXPECT_THAT(codec->EncodeResidual(x, Shape::Flat(3), {}, residual, body),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("topk: element 1 of 3 is ")));
  x[1] = 5;
  EXPECT_THAT(codec->EncodeResidual(x, Shape::Flat(3), {}, residual, std::span(body).first(5)),
              HasStatus(absl::StatusCode::kResourceExhausted, HasSubstr("topk: body has room for")));
  EXPECT_THAT(x, ElementsAre(1, 5, 2));
}

// k = 2 of 4096: varint 2, Rice(10), indices {0, 4095} (index_coding_test.cc), values 1 and 2.
Bytes BodyOfTwo() {
  std::vector<float> x(4096);
  x[0] = 1;
  x[4095] = 2;
  return EncodeBody(*TopK("topk(k=2)"), x);
}

TEST(TopK, DecodeAdd_IndexEqualToLength_IsDataLoss) {
  std::vector<float> x(4097);
  x[0] = 1;
  x[4096] = 2;
  const Bytes body = EncodeBody(*TopK("topk(k=2)"), x);
  EXPECT_THAT(DecodeBody(*TopK("topk(k=2)"), body, 4096),
              HasStatus(absl::StatusCode::kDataLoss, "topk body: index 4096 >= 4096 elements"));
}

TEST(TopK, DecodeAdd_AnotherK_IsDataLoss) {
  EXPECT_THAT(DecodeBody(*TopK("topk(k=3)"), BodyOfTwo(), 4096),
              HasStatus(absl::StatusCode::kDataLoss, "topk body: 2 entries, expected 3"));
  Bytes padded = BodyOfTwo();
  padded[0] = std::byte{0x82};
  padded.insert(padded.begin() + 1, std::byte{0});
  EXPECT_THAT(DecodeBody(*TopK("topk(k=2)"), padded, 4096),
              HasStatus(absl::StatusCode::kDataLoss, "topk body: varint ends in a zero byte"));
}

TEST(TopK, DecodeAdd_InfiniteValue_IsDataLoss) {
  Bytes body = BodyOfTwo();
  body[body.size() - 1] = std::byte{0x7f};
  body[body.size() - 2] = std::byte{0x80};
  EXPECT_THAT(DecodeBody(*TopK("topk(k=2)"), body, 4096),
              HasStatus(absl::StatusCode::kDataLoss, "topk body: value 1 is inf"));
}

TEST(TopK, DecodeAdd_EveryTruncationAndOneByteMore_IsDataLoss) {
  Bytes body = BodyOfTwo();
  for (size_t size = 0; size < body.size(); ++size) {
    EXPECT_EQ(DecodeBody(*TopK("topk(k=2)"), std::span(body).first(size), 4096).status().code(),
              absl::StatusCode::kDataLoss)
        << size;
  }
  body.push_back(std::byte{0});
  EXPECT_EQ(DecodeBody(*TopK("topk(k=2)"), body, 4096).status().code(), absl::StatusCode::kDataLoss);
}

TEST(TopK, OnePercentOfBellShaped_TakesSeventyEightTimesFewerBytes) {
  // 32 bits of value and at most 1.05 * 8.08 of index for one of 100 entries of 32 bits: at least 78 times fewer bytes.
  std::mt19937 random(3);
  std::vector<float> x(1'000'000);
  for (float& value : x) {
    value = 0;
    for (int i = 0; i < 4; ++i) value += static_cast<float>(random() >> 8) * 0x1p-24f - 0.5f;
  }
  const Bytes body = EncodeBody(*TopK("topk(ratio=0.01)"), x);
  EXPECT_LE(8.0 * static_cast<double>(body.size()), 10'000 * (32 + 1.05 * 8.08) + 64);
  EXPECT_LE(body.size(), TopK("topk(ratio=0.01)")->MaxBodyBytes(Shape::Flat(x.size())));
}

}  // namespace
}  // namespace laconic
