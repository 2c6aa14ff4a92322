// Philox4x32-10, as CounterRng draws it (laconic/base/rng.h).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compressors/kernels/random_simd.cc"
#include "hwy/foreach_target.h"
// Below foreach_target.h, which must come first.
#include "compressors/kernels/scalar.h"
#include "compressors/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace laconic::kernels::HWY_NAMESPACE {
#if LACONIC_PORTABLE_TARGET
using namespace scalar;
#else

// A lane is one block: each of its four words lies in the lower half of a 64-bit lane, and what the upper half holds
// does not matter.
using Blocks = hn::CappedTag<uint64_t, 8>;
using BlockVector = hn::Vec<Blocks>;
constexpr size_t kBlocks = hn::MaxLanes(Blocks());
// Vectors of blocks side by side: ten rounds are one long chain, of which a core's scheduler holds but one.
constexpr size_t kGroups = 2;

HWY_INLINE BlockVector MulLow32(BlockVector a, BlockVector b) {
  const hn::Repartition<uint32_t, Blocks> halves;
  return hn::MulEven(hn::BitCast(halves, a), hn::BitCast(halves, b));
}

void RandomWords(uint64_t key, uint64_t first, std::span<uint32_t> words) {
  const Blocks d;
  const hn::Repartition<uint32_t, Blocks> halves;
  const size_t head = std::min<size_t>(words.size(), (4 - first % 4) % 4);  // up to a whole block
  if (head > 0) scalar::RandomWords(key, first, words.first(head));

  // The lanes' blocks are so ordered that interleaving pairs of words puts blocks in their order.
  alignas(64) uint64_t order[kBlocks];
  for (size_t j = 0; j < kBlocks; ++j) order[j] = j / 2 + j % 2 * (kBlocks / 2);
  const auto lanes = hn::Load(d, order);
  const auto multiplier0 = hn::Set(d, 0xD2511F53u);
  const auto multiplier1 = hn::Set(d, 0xCD9E8D57u);
  BlockVector keys[10][2];
  for (uint32_t round = 0; round < 10; ++round) {
    keys[round][0] = hn::Set(d, static_cast<uint32_t>(key) + round * 0x9E3779B9u);
    keys[round][1] = hn::Set(d, static_cast<uint32_t>(key >> 32) + round * 0xBB67AE85u);
  }
  uint64_t block = (first + head) / 4;
  size_t i = head;
  for (; i + kGroups * 4 * kBlocks <= words.size(); i += kGroups * 4 * kBlocks, block += kGroups * kBlocks) {
    BlockVector c0[kGroups], c1[kGroups], c2[kGroups], c3[kGroups];
    for (size_t g = 0; g < kGroups; ++g) {
      c0[g] = hn::Add(lanes, hn::Set(d, block + g * kBlocks));
      c1[g] = hn::ShiftRight<32>(c0[g]);
      c2[g] = c3[g] = hn::Zero(d);
    }
    for (const auto& round_keys : keys) {
      for (size_t g = 0; g < kGroups; ++g) {
        const auto product0 = MulLow32(c0[g], multiplier0);
        const auto product1 = MulLow32(c2[g], multiplier1);
        c0[g] = hn::Xor3(hn::ShiftRight<32>(product1), c1[g], round_keys[0]);
        c2[g] = hn::Xor3(hn::ShiftRight<32>(product0), c3[g], round_keys[1]);
        c1[g] = product1;
        c3[g] = product0;
      }
    }
    for (size_t g = 0; g < kGroups; ++g) {
      const auto words01 = hn::OddEven(hn::BitCast(halves, hn::ShiftLeft<32>(c1[g])), hn::BitCast(halves, c0[g]));
      const auto words23 = hn::OddEven(hn::BitCast(halves, hn::ShiftLeft<32>(c3[g])), hn::BitCast(halves, c2[g]));
      const auto low = hn::InterleaveLower(d, hn::BitCast(d, words01), hn::BitCast(d, words23));
      const auto high = hn::InterleaveUpper(d, hn::BitCast(d, words01), hn::BitCast(d, words23));
      uint32_t* const to = words.data() + i + g * 4 * kBlocks;
      hn::StoreU(hn::BitCast(halves, low), halves, to);
      hn::StoreU(hn::BitCast(halves, high), halves, to + 2 * kBlocks);
    }
  }
  if (i < words.size()) scalar::RandomWords(key, first + i, words.subspan(i));
}

#endif  // LACONIC_PORTABLE_TARGET
}  // namespace laconic::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace laconic::kernels {

HWY_EXPORT(RandomWords);
void RandomWords(uint64_t key, uint64_t first, std::span<uint32_t> words) {
  HWY_DYNAMIC_DISPATCH(RandomWords)(key, first, words);
}

}  // namespace laconic::kernels
#endif  // HWY_ONCE
