#include "compressors/entropy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "compressors/ans.h"
#include "compressors/entropy_coding.h"
#include "compressors/float16.h"
#include "laconic/base/parallel.h"
#include "tests/compressors/dense_codec.h"

namespace laconic {
namespace {

using internal::DecodeNumbers;
using internal::EncodeNumbers;
using internal::Histogram;
using internal::MaxEncodedBytes;
using internal::SymbolTable;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// ---- Tables ----

TEST(SymbolTable, Places_FollowFrequenciesAndAddUp) {
  Histogram histogram{};
  histogram[3] = 60;
  histogram[7] = 30;
  histogram[200] = 10;
  const SymbolTable table = SymbolTable::For(histogram, 100);
  EXPECT_EQ(table.log, 5);  // 100 symbols need no finer one: 32 places
  EXPECT_EQ(table.places[3], 19);
  EXPECT_EQ(table.places[7], 10);
  EXPECT_EQ(table.places[200], 3);
  EXPECT_EQ(table.places[0], 0);
}

TEST(SymbolTable, RareSymbols_KeepAPlaceEach) {
  Histogram histogram;
  histogram.fill(1);
  histogram[100] = 1'000'000;
  const SymbolTable table = SymbolTable::For(histogram, 1'000'255);
  size_t total = 0;
  for (size_t s = 0; s < 256; ++s) {
    EXPECT_GE(table.places[s], 1);
    total += table.places[s];
  }
  EXPECT_EQ(total, size_t{1} << table.log);
  EXPECT_EQ(table.places[100], (1 << table.log) - 255);
}

// ---- Numbers ----

Bytes EncodeAll(NumberFormat format, std::span<const std::byte> values, size_t count) {
  Bytes coded(MaxEncodedBytes(format, count));
  coded.resize(EncodeNumbers(format, values, coded));
  return coded;
}

template <typename T>
std::vector<T> RoundTripNumbers(NumberFormat format, const std::vector<T>& values, size_t* coded_bytes = nullptr) {
  const Bytes coded = EncodeAll(format, std::as_bytes(std::span(values)), values.size());
  if (coded_bytes != nullptr) *coded_bytes = coded.size();
  std::vector<T> decoded(values.size());
  EXPECT_THAT(DecodeNumbers(format, coded, std::as_writable_bytes(std::span(decoded))), IsOk());
  return decoded;
}

std::vector<uint16_t> Bfloat16s(const Floats& x) {
  std::vector<uint16_t> values(x.size());
  std::transform(x.begin(), x.end(), values.begin(), [](float value) { return FloatToBfloat16(value); });
  return values;
}

// Sign and mantissa as they are, and the zero-order entropy of the exponents, in bits a number.
double Yardstick(const std::vector<uint16_t>& values) {
  std::vector<double> counts(256);
  for (const uint16_t value : values) ++counts[value >> 7 & 0xff];
  double bits = 8;
  for (const double count : counts) {
    const double p = count / static_cast<double>(values.size());
    if (p > 0) bits -= p * std::log2(p);
  }
  return bits;
}

double BitsEach(size_t bytes, size_t count) { return 8 * static_cast<double>(bytes) / static_cast<double>(count); }

TEST(EncodeNumbers, EveryBitPattern_ComesBack) {
  // All 65536 patterns of 16 bits: every NaN payload, both infinities and zeros, all denormals.
  std::vector<uint16_t> halves(65536);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i * 40503);
  EXPECT_EQ(RoundTripNumbers(NumberFormat::kBf16, halves), halves);
  EXPECT_EQ(RoundTripNumbers(NumberFormat::kFp16, halves), halves);
  std::vector<uint32_t> words = {0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffffffff, 0,
                                 0x80000000, 1,          0x80000001, 0x007fffff, 0x3f800000};
  const CounterRng rng(RngKey{.seed = 1});
  for (uint64_t i = 0; i < 1000; ++i) words.push_back(rng.Word(i));
  EXPECT_EQ(RoundTripNumbers(NumberFormat::kFp32, words), words);
}

// Among Gaussians, which are coded and not stored.
TEST(EncodeNumbers, SpecialValuesAmongGaussians_ComeBack) {
  std::vector<uint16_t> halves = Bfloat16s(Gaussian(5000));
  size_t next = 0;
  for (const uint16_t special : {0x7f80, 0xff80, 0x7fc1, 0xffff, 0x0000, 0x8000, 0x0001, 0x807f}) {
    halves[next += 300] = static_cast<uint16_t>(special);
  }
  size_t coded_bytes = 0;
  EXPECT_EQ(RoundTripNumbers(NumberFormat::kBf16, halves, &coded_bytes), halves);
  EXPECT_LT(coded_bytes, 2 * halves.size() * 3 / 4);
}

TEST(EncodeNumbers, EveryLength_ComesBack) {
  const std::vector<uint16_t> halves = Bfloat16s(Gaussian(2 * 65536 + 9));
  for (const size_t count : {0, 1, 2, 7, 8, 9, 15, 16, 17, 63, 100, 1000, 65535, 65536, 65537, 2 * 65536 + 9}) {
    const std::vector<uint16_t> some(halves.begin(), halves.begin() + static_cast<ptrdiff_t>(count));
    EXPECT_EQ(RoundTripNumbers(NumberFormat::kBf16, some), some) << count;
  }
}

TEST(EncodeNumbers, GaussianBfloat16s_TakeTheirEntropy) {
  // docs/algorithms.md: N(0, 0.02^2) has 2.55 bits of entropy in its exponents, so 10.55 in all.
  Floats x = Gaussian(1 << 18);
  for (float& value : x) value *= 0.02f;
  const std::vector<uint16_t> halves = Bfloat16s(x);
  size_t coded_bytes = 0;
  EXPECT_EQ(RoundTripNumbers(NumberFormat::kBf16, halves, &coded_bytes), halves);
  EXPECT_NEAR(Yardstick(halves), 10.55, 0.02);
  // A table of 2^11 places costs some thousandths of a bit, its transmission 60 bytes of 86000.
  EXPECT_LT(BitsEach(coded_bytes, halves.size()), 1.002 * Yardstick(halves));
}

TEST(EncodeNumbers, SkewedExponents_StillTakeTheirEntropy) {
  // 99 % of one exponent: 0.08 bits, where a code of whole bits would spend one.
  std::vector<uint16_t> halves(65536);
  const CounterRng rng(RngKey{.seed = 2});
  for (size_t i = 0; i < halves.size(); ++i) {
    const uint32_t word = rng.Word(i);
    halves[i] = static_cast<uint16_t>((word % 100 == 0 ? 0x3f80 : 0x4000) | (word >> 24 & 0x7f));
  }
  size_t coded_bytes = 0;
  EXPECT_EQ(RoundTripNumbers(NumberFormat::kBf16, halves, &coded_bytes), halves);
  EXPECT_LT(BitsEach(coded_bytes, halves.size()), 1.002 * Yardstick(halves));
}

TEST(EncodeNumbers, Zeros_CostNeitherSignNorMantissa) {
  // Nine of ten are zero: 0.47 bits say which, and a tenth of 10.5 bits are left.
  Floats x = Gaussian(65536);
  for (size_t i = 0; i < x.size(); ++i) x[i] = CounterRng(RngKey{}).Word(i) % 10 == 0 ? x[i] : 0;
  const std::vector<uint16_t> halves = Bfloat16s(x);
  size_t coded_bytes = 0;
  EXPECT_EQ(RoundTripNumbers(NumberFormat::kBf16, halves, &coded_bytes), halves);
  EXPECT_LT(BitsEach(coded_bytes, halves.size()), 1.6);
  // A negative zero among them is not forgotten.
  std::vector<uint16_t> negative = halves;
  negative[std::find(halves.begin(), halves.end(), 0) - halves.begin()] = 0x8000;
  EXPECT_EQ(RoundTripNumbers(NumberFormat::kBf16, negative), negative);
}

TEST(EncodeNumbers, ConstantsAndNoise_AreTheExtremes) {
  const std::vector<uint32_t> same(70000, 0x3fc00000);
  size_t coded_bytes = 0;
  EXPECT_EQ(RoundTripNumbers(NumberFormat::kFp32, same, &coded_bytes), same);
  EXPECT_LT(BitsEach(coded_bytes, same.size()), 24.1);  // one exponent costs nothing
  std::vector<uint8_t> noise(70000);
  for (size_t i = 0; i < noise.size(); ++i) noise[i] = static_cast<uint8_t>(CounterRng(RngKey{}).Word(i));
  EXPECT_EQ(RoundTripNumbers(NumberFormat::kBytes, noise, &coded_bytes), noise);
  EXPECT_EQ(coded_bytes, noise.size() + 4 + 3);  // two blocks stored, with length and form
}

TEST(EncodeNumbers, AnyNumberOfThreads_GivesTheSameBytes) {
  const std::vector<uint16_t> halves = Bfloat16s(Gaussian(11 * 65536 + 77));
  const auto values = std::as_bytes(std::span(halves));
  const Bytes alone = EncodeAll(NumberFormat::kBf16, values, halves.size());
  for (const int threads : {1, 2, 3}) {
    WorkerPool pool(threads);
    const ParallelScope scope(&pool);
    EXPECT_EQ(EncodeAll(NumberFormat::kBf16, values, halves.size()), alone) << threads;
    EXPECT_EQ(RoundTripNumbers(NumberFormat::kBf16, halves), halves) << threads;
  }
}

TEST(DecodeNumbers, DamagedBytes_AreDataLossOrNumbers) {
  const std::vector<uint16_t> halves = Bfloat16s(Gaussian(500));
  const Bytes coded = EncodeAll(NumberFormat::kBf16, std::as_bytes(std::span(halves)), halves.size());
  std::vector<uint16_t> decoded(halves.size());
  const auto out = std::as_writable_bytes(std::span(decoded));
  size_t refused = 0;
  for (size_t bit = 0; bit < 8 * coded.size(); ++bit) {
    Bytes damaged = coded;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    const absl::Status status = DecodeNumbers(NumberFormat::kBf16, damaged, out);
    if (!status.ok()) {
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
      ++refused;
    }
  }
  // Signs and mantissas may be anything; a flip in table or streams leads astray the states that must end where they
  // began. A third of the bits are such, and few of their flips go unseen.
  EXPECT_GT(refused, 8 * coded.size() / 5);
  for (size_t bytes = 0; bytes < coded.size(); ++bytes) {
    EXPECT_EQ(DecodeNumbers(NumberFormat::kBf16, std::span(coded).first(bytes), out).code(),
              absl::StatusCode::kDataLoss)
        << bytes;
  }
}

// ---- The codec ----

absl::StatusOr<std::shared_ptr<const Compressor>> TryCreate(const std::string& spec) {
  return CodecRegistry::BuiltIn().Create(spec);
}
std::shared_ptr<const Compressor> Make(const std::string& spec) { return *TryCreate(spec); }

TEST(Entropy, AnyCodec_DecodesToTheSameBits) {
  const Floats x = Gaussian(3000);
  for (const char* inner : {"identity", "cast(to=bf16)", "cast(to=fp16)", "topk(ratio=0.1)", "sign", "natural",
                            "quantize(bits=3)", "randk(ratio=0.3, values=fp16)", "composite(topk(k=9), sign)"}) {
    for (const char* coder : {"auto", "zstd"}) {
      const auto codec = Make("entropy(" + std::string(inner) + ", coder=" + coder + ")");
      const auto plain = Make(inner);
      EXPECT_EQ(RoundTrip(*codec, x), RoundTrip(*plain, x)) << codec->ToString();
      EXPECT_EQ(Residual(*codec, x), Residual(*plain, x)) << codec->ToString();
      EXPECT_LE(EncodeBody(*codec, x).size(), EncodeBody(*plain, x).size() + 1) << codec->ToString();
    }
  }
}

TEST(Entropy, Claims_AreTheInnerCodecs) {
  const Shape shape({500});
  const Traits traits = Make("entropy(natural)")->traits(shape);
  EXPECT_EQ(traits.omega, 0.125);
  EXPECT_FALSE(traits.fixed_size);
  EXPECT_EQ(Make("entropy(topk(ratio=0.5))")->traits(shape).delta, 0.5);
}

TEST(Entropy, EachKindOfNumbers_GetsShorter) {
  const Floats x = Gaussian(20000);
  const auto share = [&](const std::string& codec) {
    return static_cast<double>(EncodeBody(*Make("entropy(" + codec + ")"), x).size()) /
           static_cast<double>(EncodeBody(*Make(codec), x).size());
  };
  EXPECT_NEAR(share("cast(to=bf16)"), 10.6 / 16, 0.01);  // exponents take 2.55 bits of 8
  EXPECT_NEAR(share("cast(to=fp16)"), 13.6 / 16, 0.02);  // of 5
  EXPECT_NEAR(share("identity"), 26.6 / 32, 0.01);
  EXPECT_NEAR(share("natural"), 3.7 / 9, 0.03);        // nothing but exponents and signs
  EXPECT_NEAR(share("quantize(bits=4)"), 0.83, 0.02);  // outer levels are rare
  EXPECT_LT(share("topk(ratio=0.1, values=bf16)"), 0.75);
}

TEST(Entropy, BodyThatDoesNotShrink_IsStored) {
  const Floats x = {1.0f, -2.0f};
  const Bytes stored = Join({MakeBytes({0}), EncodeBody(*Make("identity"), x)});
  EXPECT_EQ(EncodeBody(*Make("entropy(identity)"), x), stored);
  EXPECT_EQ(EncodeBody(*Make("entropy(identity, coder=zstd)"), x), stored);
  EXPECT_THAT(RoundTrip(*Make("entropy(identity)"), x), ElementsAre(1.0f, -2.0f));
}

TEST(Entropy, LinearCodec_KeepsItsSession) {
  EXPECT_NE(Make("entropy(lowrank(rank=2))")->NewLinearSession(Shape({40, 30}), {}), nullptr);
  EXPECT_EQ(Make("entropy(natural)")->NewLinearSession(Shape({40, 30}), {}), nullptr);
}

TEST(Entropy, NestedStages_UseWorkMemoryOfTheirOwn) {
  const auto codec = Make("entropy(entropy(composite(entropy(topk(ratio=0.1)), entropy(cast(to=bf16)))))");
  const auto plain = Make("composite(topk(ratio=0.1), cast(to=bf16))");
  const Floats x = Gaussian(2000);
  EXPECT_EQ(RoundTrip(*codec, x), RoundTrip(*plain, x));
}

TEST(Entropy, HostileBodies_AreDataLoss) {
  const auto codec = Make("entropy(topk(k=2))");
  EXPECT_THAT(Decode(*codec, {}, 100), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("entropy body: it is empty")));
  EXPECT_THAT(Decode(*codec, MakeBytes({3}), 100), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("form 3")));
  // A length of 2^28 would be a lot to allocate.
  EXPECT_THAT(Decode(*codec, MakeBytes({1, 0x80, 0x80, 0x80, 0x80, 1}), 100),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("bytes inside, expected")));
  EXPECT_THAT(Decode(*codec, MakeBytes({2, 5, 1, 2, 3}), 100),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("zstd:")));
  EXPECT_THAT(Decode(*Make("entropy(identity)"), Join({MakeBytes({0}), FloatBytes(kNaN)}), 1),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("identity body")));
}

TEST(Entropy, Spec_TakesOneCodecAndACoder) {
  EXPECT_EQ(Make("entropy(codec=natural, coder=zstd)")->ToString(), "entropy(natural, coder=zstd)");
  EXPECT_THAT(TryCreate("entropy"), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("takes one codec")));
  EXPECT_THAT(TryCreate("entropy(natural, sign)"), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("not 2")));
  EXPECT_THAT(TryCreate("entropy(natural, coder=huffman)"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("auto")));
  EXPECT_THAT(TryCreate("entropy(sign, coder=exponent)"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("column 9: coder=exponent needs floats")));
}

}  // namespace
}  // namespace laconic
