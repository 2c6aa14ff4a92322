// One large tensor shared among threads: the same bytes, residual and decoded values for any number of them.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "compressors/blocks.h"
#include "laconic/base/parallel.h"
#include "tests/compressors/dense_codec.h"

namespace laconic {
namespace {

constexpr size_t kElements = 2 * (size_t{1} << 18) + 1000;  // two whole pieces of work and a part of one

// Zeros in runs and alone, so that bodies of sign differ in length from piece to piece.
Floats Sparse() {
  Floats x = Gaussian(kElements, 5);
  for (size_t i = 0; i < kElements; i += 3001) x[i] = 0;
  for (size_t i = kElements / 2; i < kElements / 2 + 10000; ++i) x[i] = 0;
  return x;
}

struct Outcome {
  Bytes body;
  Floats residual, decoded;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

Outcome EncodeAndDecode(const Compressor& codec, const Floats& x, const Floats& error) {
  const Shape shape = Shape::Flat(kElements);
  const RngKey key{.seed = 7};
  Outcome outcome{.body = Bytes(codec.MaxBodyBytes(shape)), .residual = Floats(kElements), .decoded = error};
  Message message(x);
  message.error = error;
  const absl::StatusOr<size_t> bytes = codec.EncodeResidual(message, shape, key, outcome.residual, outcome.body);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  outcome.body.resize(bytes.value_or(0));
  const absl::Status decoded = codec.DecodeAdd(outcome.body, shape, 0.25f, outcome.decoded);
  EXPECT_TRUE(decoded.ok()) << decoded;
  return outcome;
}

class Threads : public testing::TestWithParam<std::string> {};

TEST_P(Threads, AnyNumber_GivesTheSameBits) {
  const absl::StatusOr<std::shared_ptr<const Compressor>> codec = CodecRegistry::BuiltIn().Create(GetParam());
  ASSERT_TRUE(codec.ok()) << codec.status();
  const Floats x = Sparse(), error(kElements);
  const Outcome alone = EncodeAndDecode(**codec, x, error);
  for (const int threads : {1, 2, 3, 4}) {
    WorkerPool pool(threads);
    const ParallelScope scope(&pool);
    EXPECT_TRUE(EncodeAndDecode(**codec, x, error) == alone) << threads << " threads";
  }
}

TEST_P(Threads, FirstNonFiniteElement_IsTheOneNamed) {
  const absl::StatusOr<std::shared_ptr<const Compressor>> codec = CodecRegistry::BuiltIn().Create(GetParam());
  ASSERT_TRUE(codec.ok()) << codec.status();
  Floats x = Sparse();
  x[kElements - 1] = x[300000] = kNaN;
  x[300001] = kInfinity;
  WorkerPool pool(3);
  const ParallelScope scope(&pool);
  const Shape shape = Shape::Flat(kElements);
  Bytes body((*codec)->MaxBodyBytes(shape));
  const absl::StatusOr<size_t> bytes = (*codec)->Encode(x, shape, {}, body);
  EXPECT_EQ(bytes.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(bytes.status().message()), testing::HasSubstr("element 300000 of"));
}

// Among finite runs before and behind it, on one thread.
TEST_P(Threads, LoneNan_IsFoundWhereverItLies) {
  const absl::StatusOr<std::shared_ptr<const Compressor>> codec = CodecRegistry::BuiltIn().Create(GetParam());
  ASSERT_TRUE(codec.ok()) << codec.status();
  const Shape shape = Shape::Flat(kElements);
  Bytes body((*codec)->MaxBodyBytes(shape));
  Floats residual(kElements);
  for (const size_t at : {size_t{0}, size_t{5000}, kElements - 1}) {
    Floats x = Sparse();
    x[at] = kNaN;
    EXPECT_EQ((*codec)->Encode(x, shape, {}, body).status().code(), absl::StatusCode::kInvalidArgument) << at;
    EXPECT_EQ((*codec)->EncodeResidual(x, shape, {}, residual, body).status().code(),
              absl::StatusCode::kInvalidArgument)
        << at;
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, Threads,
                         testing::Values("identity", "cast(to=fp16)", "cast(to=bf16, scale=none)", "natural", "sign",
                                         "sign(block=0)", "sign(block=1000)", "sign(zeros=plus)", "quantize",
                                         "quantize(block=0)", "quantize(bits=3, block=700)",
                                         "quantize(bits=1, block=0)", "quantize(rounding=stochastic)",
                                         "quantize(bits=8, block=0, norm=l2, rounding=stochastic)",
                                         "topk(k=3, chunk=700)", "turboquant",
                                         "turboquant(bits=3, mode=unbiased, block=128)", "turboquant(mode=qjl)",
                                         "entropy(cast(to=bf16))", "entropy(identity)",
                                         "composite(quantize(bits=2), natural)",
                                         "composite(topk(ratio=0.01), entropy(quantize))"),
                         [](const testing::TestParamInfo<std::string>& info) {
                           std::string name;
                           for (const char c : info.param) name += std::isalnum(c) != 0 ? c : '_';
                           return name;
                         });

// A guess from a sample that the rest of the tensor refutes.
TEST(CastGuess, ALargerElementOutsideTheSample_IsTakenUp) {
  Floats x((size_t{1} << 20) + 1, 1.0f);
  x[600] = 0x1p40f;  // in the second run, which is not sampled
  const auto codec = CodecRegistry::BuiltIn().Create("cast(to=fp16)");
  ASSERT_TRUE(codec.ok());
  const Shape shape = Shape::Flat(x.size());
  Bytes body((*codec)->MaxBodyBytes(shape));
  ASSERT_TRUE((*codec)->Encode(x, shape, {}, body).ok());
  Floats decoded(x.size());
  ASSERT_TRUE((*codec)->DecodeAdd(body, shape, 1, decoded).ok());
  EXPECT_EQ(decoded[600], 0x1p40f);
  EXPECT_EQ(decoded[0], 0);  // 2^-40 of the largest
}

TEST(CastGuess, OfALargeTensor_LeavesFiveBinadesOfHeadroom) {
  Floats x((size_t{1} << 20) + 1, 1.0f);
  x[600] = 0x1.8p3f;
  const auto codec = CodecRegistry::BuiltIn().Create("cast(to=fp16)");
  ASSERT_TRUE(codec.ok());
  const Shape shape = Shape::Flat(x.size());
  Bytes body((*codec)->MaxBodyBytes(shape));
  ASSERT_TRUE((*codec)->Encode(x, shape, {}, body).ok());
  int32_t exponent = 0;
  std::memcpy(&exponent, body.data(), sizeof(exponent));
  EXPECT_EQ(exponent, -9);
}

}  // namespace
}  // namespace laconic
