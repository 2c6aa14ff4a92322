#include "tools/sample_data.h"

#include <array>
#include <cmath>
#include <numbers>

#include "laconic/base/rng.h"

namespace laconic::tools {
namespace {

CounterRng Rng(uint64_t seed, uint32_t rank) { return CounterRng(RngKey{.seed = seed, .rank = rank}); }

// -2 log(1 - u) with u in [0, 1): the square of a two-dimensional normal's length.
float SquaredLength(uint32_t word) { return -2 * std::log(1 - CounterRng::ToUniform(word)); }
float Angle(uint32_t word) { return 2 * std::numbers::pi_v<float> * CounterRng::ToUniform(word); }

}  // namespace

std::vector<float> Gaussian(size_t count, uint64_t seed, uint32_t rank) {
  const CounterRng rng = Rng(seed, rank);
  std::vector<float> x(count);
  for (size_t i = 0; i < count; i += 4) {  // one block of four words gives two pairs
    const std::array<uint32_t, 4> words = rng.Block(i / 4);
    const float a = std::sqrt(SquaredLength(words[0])), b = std::sqrt(SquaredLength(words[1]));
    const float s = Angle(words[2]), t = Angle(words[3]);
    const float values[] = {a * std::cos(s), a * std::sin(s), b * std::cos(t), b * std::sin(t)};
    for (size_t j = 0; j < 4 && i + j < count; ++j) x[i + j] = values[j];
  }
  return x;
}

std::vector<float> StudentT3(size_t count, uint64_t seed, uint32_t rank) {
  const CounterRng rng = Rng(seed, rank);
  std::vector<float> x(count);
  for (size_t i = 0; i < count; ++i) {
    const std::array<uint32_t, 4> words = rng.Block(i);
    const float length = std::sqrt(SquaredLength(words[0])), angle = Angle(words[1]);
    const float normal = length * std::cos(angle), other = length * std::sin(angle);
    x[i] = normal / std::sqrt((SquaredLength(words[2]) + other * other) / 3 + 0x1p-60f);
  }
  return x;
}

std::vector<float> SmallIntegers(size_t count, uint64_t seed, uint32_t rank) {
  const CounterRng rng = Rng(seed, rank);
  std::vector<float> x(count);
  for (size_t i = 0; i < count; i += 4) {
    const std::array<uint32_t, 4> words = rng.Block(i / 4);
    for (size_t j = 0; j < 4 && i + j < count; ++j) x[i + j] = static_cast<float>(words[j] % 17) - 8;
  }
  return x;
}

Shape NearSquare(uint64_t count) {
  auto rows = static_cast<uint64_t>(std::sqrt(static_cast<double>(count)));
  while (count % rows != 0) --rows;
  return Shape({rows, count / rows});
}

}  // namespace laconic::tools
