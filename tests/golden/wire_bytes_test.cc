// Bytes that one of n = 8 ranks sends for d = 1 000 000 floats, bodies alone (a dense ring sends 7 000 000): the
// formulas of docs/algorithms.md against what the codecs really write. The strategies' tests count what transports were
// handed.
#include <cmath>
#include <cstddef>
#include <vector>

#include "gtest/gtest.h"
#include "tests/golden/codecs.h"

namespace laconic::golden {
namespace {

constexpr size_t kRanks = 8, kElements = 1'000'000, kShard = kElements / kRanks;

// Bytes of the body for d floats that look like noise.
size_t BodyBytes(std::string_view spec, size_t elements) {
  std::vector<float> x(elements);
  const CounterRng rng({.seed = 20});
  for (size_t i = 0; i < elements; ++i) x[i] = rng.Uniform(i) - 0.5f;
  const std::shared_ptr<const Compressor> codec = MakeCodec(spec);
  std::vector<std::byte> body(codec->MaxBodyBytes(Shape::Flat(elements)));
  return codec->Encode(x, Shape::Flat(elements), {}, body).value_or(0);
}

// Two phases, each n - 1 shards of d/n.
size_t TwoPhaseBytes(std::string_view spec) { return 2 * (kRanks - 1) * BodyBytes(spec, kShard); }

TEST(WireBytes, OneBitTwoPhase_IsThirtyTwoTimesBelowTheRing) {
  EXPECT_EQ(TwoPhaseBytes("sign(block=0, zeros=plus)"), 218'806u);
}

// 4 bits an element and one float scale per block of 512.
TEST(WireBytes, FourBitTwoPhase_PaysFourBytesABlock) {
  EXPECT_EQ(TwoPhaseBytes("quantize(bits=4, block=512)"), 2 * (kRanks - 1) * (kShard / 2 + 4 * ((kShard + 511) / 512)));
}

// 8 bytes an entry would be 560 000; floats and indices within 5 % of log2 binomial(d, k) plus 8 bytes are 354 000.
TEST(WireBytes, TopOnePercentGather_CodesIndicesNearTheEntropyBound) {
  const double d = kElements, k = d / 100;
  const double index_bits = (std::lgamma(d + 1) - std::lgamma(k + 1) - std::lgamma(d - k + 1)) / std::log(2.0);
  const double bound = 4 * k + (1.05 * index_bits + 64) / 8 + 16;  // 16: entry count and coding
  const size_t body = BodyBytes("topk(ratio=0.01)", kElements);
  EXPECT_LE(static_cast<double>(body), bound);
  EXPECT_LE((kRanks - 1) * body, 360'000u);
}

// P and Q of a 1000 x 1000 matrix at rank 4, each summed by a ring: 2 (n-1)/n * 4 bytes * 4 * (1000 + 1000).
TEST(WireBytes, LowRank_SendsTheTwoFactors) {
  const std::unique_ptr<LinearSession> session =
      MakeCodec("lowrank(rank=4)")->NewLinearSession(Shape({1000, 1000}), RngKey{}.Shared());
  ASSERT_NE(session, nullptr);
  ASSERT_EQ(session->rounds(), 2);
  EXPECT_EQ(2 * (kRanks - 1) * 4 * (session->RoundFloats(0) + session->RoundFloats(1)) / kRanks, 56'000u);
}

}  // namespace
}  // namespace laconic::golden
