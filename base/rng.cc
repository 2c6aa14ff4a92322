#include "laconic/base/rng.h"

#include <Random123/philox.h>

#include <algorithm>
#include <cstring>

namespace laconic {
namespace {

using Philox = r123::Philox4x32;  // ten rounds

constexpr uint32_t Low(uint64_t value) { return static_cast<uint32_t>(value); }
constexpr uint32_t High(uint64_t value) { return static_cast<uint32_t>(value >> 32); }

Philox::ctr_type Permute(uint64_t key, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3) {
  return Philox()({{c0, c1, c2, c3}}, {{Low(key), High(key)}});
}

// Fourth counter word of the derivation; draws use 0 there. So no draw of a stream can equal a derived key of another.
constexpr uint32_t kDerivation = 0x4c41434fu;  // "LACO"

// Two chained applications take in all 224 bits of a key. The first is a bijection of (rank, stream, tensor) under the
// seed; all 128 bits of its image enter the second (two as key, two as counter) beside the step, which is again a
// bijection of the step. Distinct keys therefore reach distinct inputs of Philox, and meet only if 64 of its output
// bits happen to.
uint64_t DeriveKey(const RngKey& key) {
  const Philox::ctr_type who = Permute(key.seed, key.rank, key.stream, key.tensor, kDerivation);
  const uint64_t chained = who[0] | uint64_t{who[1]} << 32;
  const Philox::ctr_type when = Permute(chained, Low(key.step), High(key.step), who[2], who[3]);
  return when[0] | uint64_t{when[1]} << 32;
}

}  // namespace

CounterRng::CounterRng(const RngKey& key) : derived_key_(DeriveKey(key)) {}

CounterRng CounterRng::FromDerivedKey(uint64_t derived_key) {
  CounterRng rng;
  rng.derived_key_ = derived_key;
  return rng;
}

std::array<uint32_t, 4> CounterRng::Block(uint64_t index) const {
  const Philox::ctr_type block = Permute(derived_key_, Low(index), High(index), 0, 0);
  return {block[0], block[1], block[2], block[3]};
}

void CounterRng::Words(uint64_t first, std::span<uint32_t> out) const {
  uint64_t block = first / 4;
  for (size_t skip = first % 4; !out.empty(); skip = 0) {
    const std::array<uint32_t, 4> words = Block(block++);
    const size_t count = std::min(out.size(), words.size() - skip);
    std::memcpy(out.data(), words.data() + skip, count * sizeof(uint32_t));
    out = out.subspan(count);
  }
}

}  // namespace laconic
