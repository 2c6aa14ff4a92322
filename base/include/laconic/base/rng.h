// Counter-based randomness: a draw is a pure function of (seed, step, tensor, rank, stream, index), so that nothing has
// to be saved, any thread may draw any part, and a repeated step draws the same numbers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace laconic {

// Names one stream of random numbers. Give ranks different `rank` when their draws must be independent (stochastic
// rounding averages out only then), and Shared() where all ranks must draw the same (shared-seed rand-k).
struct RngKey {
  uint64_t seed = 0;
  uint64_t step = 0;
  uint32_t tensor = 0;
  uint32_t rank = 0;
  uint32_t stream = 0;  // tells uses within one (step, tensor, rank) apart, such as the shards of a scatter

  static constexpr uint32_t kSharedRank = 0xffffffffu;
  RngKey Shared() const {
    RngKey key = *this;
    key.rank = kSharedRank;
    return key;
  }
  RngKey WithStream(uint32_t which) const {
    RngKey key = *this;
    key.stream = which;
    return key;
  }
};

// Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011) under a 64-bit key derived from an RngKey. Thread-safe
// (immutable).
class CounterRng {
 public:
  explicit CounterRng(const RngKey& key);

  // The 64-bit derived key. It may travel in a payload: CounterRng::FromDerivedKey draws the same numbers from it.
  uint64_t derived_key() const { return derived_key_; }
  static CounterRng FromDerivedKey(uint64_t derived_key);

  // Four independent 32-bit words, the block at `index`.
  std::array<uint32_t, 4> Block(uint64_t index) const;

  // Word `index` of the stream: Block(index / 4)[index % 4].
  uint32_t Word(uint64_t index) const { return Block(index / 4)[index % 4]; }
  // Words first, first + 1, ... first + out.size() - 1.
  void Words(uint64_t first, std::span<uint32_t> out) const;

  // Word `index` as a float uniform on [0, 1): its top 24 bits times 2^-24, so exactly the same on every machine.
  float Uniform(uint64_t index) const { return ToUniform(Word(index)); }
  static float ToUniform(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }
  // Uniform on [0, bound) without bias beyond 2^-32 (multiply-shift). bound > 0.
  uint32_t Below(uint64_t index, uint32_t bound) const {
    return static_cast<uint32_t>((static_cast<uint64_t>(Word(index)) * bound) >> 32);
  }

 private:
  CounterRng() = default;
  uint64_t derived_key_ = 0;
};

}  // namespace laconic
