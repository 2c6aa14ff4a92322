// The inner loops of rotation codecs: randomised Hadamard transforms and codebooks of few levels. As in kernels.h: any
// alignment, the same bits on every instruction set, no allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "compressors/kernels/kernels.h"

namespace laconic::kernels {

// ---- Randomised Hadamard transform ----

// S x is x with the sign of element i flipped where bit i % 32 of signs[i / 32] is set. H x is the Walsh-Hadamard
// transform of entries +-1: for h = 1, 2, 4, ..., size / 2, every pair x_j, x_{j+h} with j & h == 0 becomes x_j +
// x_{j+h}, x_j - x_{j+h}. H H = size times the identity. O(size log size).
//   sizes of spans of floats: a power of two from kMinRotation to kMaxRun.   signs: size / 32 words.
inline constexpr size_t kMinRotation = 64;

// out = H S y, y_i = (x_i * up) * steps, both products rounded.   x and out: of one size.
void ScaleAndRotate(std::span<const float> x, float up, float steps, std::span<const uint32_t> signs,
                    std::span<float> out);
// x <- H S x and x <- S H x: each undoes the other, up to the factor size.
void Rotate(std::span<const uint32_t> signs, std::span<float> x);
void RotateBack(std::span<const uint32_t> signs, std::span<float> x);

// ---- Codebooks ----

// 2^bits levels, symmetric about 0. |z| has rank j, the number of boundaries below it; z stands for codeword j with the
// sign bit of z, and its code is j + 2^(bits-1) * sign bit.
struct Codebook {
  std::span<const float> codewords;   // 2^(bits-1), ascending, positive
  std::span<const float> boundaries;  // one fewer: boundary j lies between codewords j and j+1
  // With 8 codewords or more magnitudes are sorted into cells: cell i has those within 1/2 of i when multiplied by
  // cells_per_unit (a power of two), the last all beyond it too. In cell i ranks are cell_ranks[i] up to
  // cell_boundaries[i], and one more above (infinity: none above). Cells agree on the magnitudes between them.
  float cells_per_unit = 0;
  std::span<const float> cell_boundaries;
  std::span<const int32_t> cell_ranks;

  size_t sign_code() const { return codewords.size(); }
};

// How z lies to what it was rounded to, c: sums in double as those of kernels.h.
struct Fit {
  double inner = 0;    // sum z_i c_i
  double squares = 0;  // sum c_i^2
};

// codes_i = the code of z_i, and z_i <- what it stands for.   z: finite, below 2^24 in magnitude.   codes: as many.
void RoundToCodebook(const Codebook& codebook, std::span<float> z, std::span<uint8_t> codes);
Fit RoundToCodebookAndFit(const Codebook& codebook, std::span<float> z, std::span<uint8_t> codes);
// z_i = what codes_i stands for.   codes: z.size(), below 2 * codewords.size().
void LookUpCodebook(const Codebook& codebook, std::span<const uint8_t> codes, std::span<float> z);

// ---- Scaled values ----

// Value i is (v_i * unit) * scale, both products rounded, but at most the largest float and at least its negative.
struct Scale {
  float unit = 1, scale = 1;
};

// sink.out_i = x_i - value i.   x: v.size().
void SubtractScaled(std::span<const float> x, std::span<const float> v, const Scale& scale, const Sink& sink);
// acc_i += weight * value i, both operations rounded.   v: acc.size().
void AddScaled(std::span<const float> v, const Scale& scale, float weight, std::span<float> acc);

}  // namespace laconic::kernels
