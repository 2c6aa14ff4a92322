#include "compressors/kernels/rotation_scalar.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

namespace laconic::kernels::scalar {
namespace {

void FlipSigns(std::span<const uint32_t> signs, std::span<float> x) {
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = std::bit_cast<float>(std::bit_cast<uint32_t>(x[i]) ^ (signs[i / 32] >> (i % 32)) << 31);
  }
}

void Hadamard(std::span<float> x) {
  for (size_t h = 1; h < x.size(); h *= 2) {
    for (size_t block = 0; block < x.size(); block += 2 * h) {
      for (size_t j = block; j < block + h; ++j) {
        const float sum = x[j] + x[j + h], difference = x[j] - x[j + h];
        x[j] = sum;
        x[j + h] = difference;
      }
    }
  }
}

size_t RankOf(const Codebook& codebook, float magnitude) {
  if (codebook.cell_ranks.empty()) {
    size_t rank = 0;
    for (const float boundary : codebook.boundaries) rank += magnitude > boundary ? 1 : 0;
    return rank;
  }
  const auto last = static_cast<float>(codebook.cell_ranks.size() - 1);
  const auto cell = static_cast<size_t>(std::min(magnitude * codebook.cells_per_unit, last) + 0.5f);
  return static_cast<size_t>(codebook.cell_ranks[cell]) + (magnitude > codebook.cell_boundaries[cell] ? 1 : 0);
}

float ValueOf(float v, const Scale& scale) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  return std::clamp(v * scale.unit * scale.scale, -kLargest, kLargest);
}

}  // namespace

void ScaleAndRotate(std::span<const float> x, float up, float steps, std::span<const uint32_t> signs,
                    std::span<float> out) {
  for (size_t i = 0; i < x.size(); ++i) out[i] = x[i] * up * steps;
  scalar::Rotate(signs, out);
}

void Rotate(std::span<const uint32_t> signs, std::span<float> x) {
  FlipSigns(signs, x);
  Hadamard(x);
}

void RotateBack(std::span<const uint32_t> signs, std::span<float> x) {
  Hadamard(x);
  FlipSigns(signs, x);
}

void RoundToCodebook(const Codebook& codebook, std::span<float> z, std::span<uint8_t> codes) {
  for (size_t i = 0; i < z.size(); ++i) {
    const size_t rank = RankOf(codebook, std::fabs(z[i]));
    codes[i] = static_cast<uint8_t>(rank + (std::signbit(z[i]) ? codebook.sign_code() : 0));
    z[i] = std::copysign(codebook.codewords[rank], z[i]);
  }
}

Fit RoundToCodebookAndFit(const Codebook& codebook, std::span<float> z, std::span<uint8_t> codes) {
  std::array<double, 16> inner{}, squares{};
  for (size_t i = 0; i < z.size(); ++i) {
    const float before = z[i];
    scalar::RoundToCodebook(codebook, z.subspan(i, 1), codes.subspan(i, 1));
    inner[i % 16] += static_cast<double>(before) * static_cast<double>(z[i]);
    squares[i % 16] += static_cast<double>(z[i]) * static_cast<double>(z[i]);
  }
  for (size_t step = 8; step > 0; step /= 2) {
    for (size_t j = 0; j < step; ++j) inner[j] += inner[j + step], squares[j] += squares[j + step];
  }
  return {.inner = inner[0], .squares = squares[0]};
}

void LookUpCodebook(const Codebook& codebook, std::span<const uint8_t> codes, std::span<float> z) {
  for (size_t i = 0; i < z.size(); ++i) {
    const float codeword = codebook.codewords[codes[i] & (codebook.sign_code() - 1)];
    z[i] = (codes[i] & codebook.sign_code()) != 0 ? -codeword : codeword;
  }
}

void SubtractScaled(std::span<const float> x, std::span<const float> v, const Scale& scale, const Sink& sink) {
  for (size_t i = 0; i < x.size(); ++i) sink.out[i] = x[i] - ValueOf(v[i], scale);
}

void AddScaled(std::span<const float> v, const Scale& scale, float weight, std::span<float> acc) {
  for (size_t i = 0; i < acc.size(); ++i) acc[i] += weight * ValueOf(v[i], scale);
}

}  // namespace laconic::kernels::scalar
