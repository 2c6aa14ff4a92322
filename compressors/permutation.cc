#include "compressors/permutation.h"

#include <cassert>
#include <cmath>

#include "laconic/base/rng.h"

namespace laconic::internal {
namespace {

uint64_t CeilSqrt(uint64_t value) {
  auto root = static_cast<uint64_t>(std::sqrt(static_cast<double>(value)));
  while (root * root < value) ++root;
  while (root > 0 && (root - 1) * (root - 1) >= value) --root;
  return root;
}

// The finalizer of SplitMix64 (Steele, Lea and Flood 2014): every bit of the input changes every bit of the output.
inline uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// value + F(half) mod bound, for value < bound.
inline uint64_t AddRound(uint64_t value, uint64_t half, uint64_t round_key, uint64_t bound) {
  __extension__ using Wide = unsigned __int128;
  const auto shift = static_cast<uint64_t>((static_cast<Wide>(Mix(half + round_key)) * bound) >> 64);
  const uint64_t sum = value + shift;
  return sum >= bound ? sum - bound : sum;
}

}  // namespace

KeyedPermutation::KeyedPermutation(uint64_t derived_key, uint64_t elements)
    : elements_(elements), rows_(CeilSqrt(elements)), columns_(elements / rows_ + (elements % rows_ != 0)) {
  assert(elements >= 1 && elements <= uint64_t{1} << 62);
  const CounterRng rng = CounterRng::FromDerivedKey(derived_key);
  for (size_t pair = 0; pair < kRounds / 2; ++pair) {
    const std::array<uint32_t, 4> words = rng.Block(pair);
    round_keys_[2 * pair] = words[0] | uint64_t{words[1]} << 32;
    round_keys_[2 * pair + 1] = words[2] | uint64_t{words[3]} << 32;
  }
}

void KeyedPermutation::Images(uint64_t first, std::span<uint64_t> images) const {
  uint64_t row = first / columns_;
  uint64_t column = first % columns_;
  for (uint64_t& image : images) {
    uint64_t left = row;
    uint64_t right = column;
    do {
      for (size_t round = 0; round < kRounds; round += 2) {
        left = AddRound(left, right, round_keys_[round], rows_);
        right = AddRound(right, left, round_keys_[round + 1], columns_);
      }
      image = left * columns_ + right;
    } while (image >= elements_);
    if (++column == columns_) {
      column = 0;
      ++row;
    }
  }
}

}  // namespace laconic::internal
