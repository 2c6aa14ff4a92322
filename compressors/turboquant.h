// A random rotation, then the best scalar quantiser for what every coordinate then looks like (Vargaftik et al. 2021
// (DRIVE), 2022 (EDEN); Zandieh et al. 2025 (TurboQuant)).
#pragma once

#include <span>
#include <string>

#include "compressors/gaussian_codebook.h"
#include "compressors/message_runs.h"
#include "compressors/rotation_blocks.h"
#include "laconic/base/rng.h"
#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/compressor.h"

namespace laconic::internal {

// A block x of P coefficients (rotation_blocks.h) is brought to root mean square 1 and rotated, z = R x / rms(x), R
// being `rounds` times a flip of random signs followed by the Hadamard transform (orthogonal). Any block's coordinates
// are then close to standard normal, and each is rounded to the b-bit Lloyd-Max codebook c of that law. Distortion, as
// a share of |x|^2: D_b = .3634, .1175, .0345, .0095, .0025, .00064, .00016, .00004 for 1 to 8 bits. Signs come from
// the key, rank included, so that the errors of ranks are independent and average out.
//
//   mse       C(x) = rms(x) R^T c(z). Least error, but shrinks: <C(x), x> is (1 - D_b) |x|^2.
//   unbiased  C(x) = s R^T c(z), s such that <C(x), x> = |x|^2 in every draw. Under a uniform rotation what is left
//             points anywhere across x, so E C(x) = x exactly, and E|C(x) - x|^2 = D_b/(1 - D_b) |x|^2 (EDEN).
//             Two rounds are not quite uniform: |E C(x) - x| is at most about .4 |x|/P (measured). One is far from it.
//   qjl       b - 1 bits as mse, then one bit a coordinate for the residual r = z - c(z), rotated once more (r' = H S
//             r): the sign of r'. C(x) = rms(x) R^T (c(z) + g S H sign(r')), g such that r is met in every draw: an
//             unbiased estimate of inner products with what is known in advance (c(z)) taken out. TurboQuant's second
//             stage has a Gaussian matrix in place of H S, which costs d^2 and, its rows not being orthogonal, pi/2 in
//             place of pi/2 - 1 of variance. unbiased at as many bits has less variance still.
//
// What is claimed holds for every input and any number of rounds from one on, in expectation over keys:
//
//   mse       delta = 1 - B_b, B_b = GaussianCodebook::error_bound. Whatever the round before gives, a coordinate of
//   the
//             last one is a sum of the coordinates of a vector of squared norm P under random signs and divided by
//             sqrt(P): of all such sums none is rounded worse than B_b.
//   unbiased  omega = B_b (1 + T), T = 2.5 B_b, from two rounds on. |C(x) - x|^2 / |x|^2 = tan^2 of the angle between z and c(z), and
//             sin^2 <= |z - c(z)|^2 / P, with expectation at most B_b. A draw with tan^2 > T is thrown away and the
//             next one taken, which a draw is with probability at most B_b (1 + T) / T < .91: at most 256 of them, so
//             that the last one counts for less than 1e-10. The choice looks at R x only and so takes nothing from
//             unbiasedness. Of those kept, tan^2 <= (1 + T) sin^2. It is all but never that one is not (5 standard
//             deviations for 64 coefficients, 1 bit); the first draw's norms are D_b / (1 - D_b).
//   qjl       omega = B_{b-1} omega_1, where omega_1 is unbiased's at one bit and B_0 = 1; the second rotation is what
//             is drawn anew.
//
// All this in exact arithmetic: float32 adds about 1e-7 of |x|. Values beyond the range of floats decode to its ends.
//
// Body, of fixed size: the 64-bit derived key; float32 scales, one a block; with unbiased and qjl the number of the
// draw, a byte a block; with qjl float32 g, one a block; then per block P codes of b bits (qjl: P codes of b - 1 bits,
// then P sign bits), first lowest, in whole bytes.
class TurboQuant final : public Compressor {
 public:
  enum class Mode { kMse, kUnbiased, kQjl };
  struct Options {
    int bits = 4;  // 1..8
    Mode mode = Mode::kMse;
    size_t block = 1024;  // a power of two, RotationBlocks::kMinBlock..kMaxBlock
    size_t rounds = 2;    // 1..kMaxRounds
  };
  static constexpr size_t kMaxRounds = 4;

  explicit TurboQuant(const Options& options) : options_(options) {}

  CodecId id() const override { return CodecId::kTurboQuant; }
  std::string ToString() const override;
  Traits traits(const Shape& shape) const override;
  size_t MaxBodyBytes(const Shape& shape) const override;
  absl::StatusOr<size_t> Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                std::span<std::byte> body) const override;
  absl::StatusOr<size_t> EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                        std::span<float> residual, std::span<std::byte> body) const override;
  absl::Status DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                         std::span<float> acc) const override;

 private:
  using Block = RotationBlocks::Block;
  // Where the parts of a body lie.
  struct Layout {
    size_t scales = 0, draws = 0, residual_scales = 0, codes = 0, end = 0;
  };
  // What a body says of one block.
  struct BlockCode {
    float scale = 0;  // 0: a block of zeros, whatever else is said
    uint8_t draw = 0;
    float residual_scale = 0;
  };
  class Worker;  // work memory for one block, and what is done in it

  bool is_qjl() const { return options_.mode == Mode::kQjl; }
  // Of the codes of the first stage.
  int code_bits() const { return is_qjl() ? options_.bits - 1 : options_.bits; }
  Layout LayoutOf(const RotationBlocks& blocks) const;
  // The codes of one block in a body.
  template <typename Byte>
  std::span<Byte> CodesOf(const Block& block, const Layout& layout, std::span<Byte> body) const {
    const auto bits = static_cast<size_t>(options_.bits);
    return body.subspan(layout.codes + block.first / 8 * bits, block.size / 8 * bits);
  }
  // residual: empty where nobody asks for it.
  absl::StatusOr<size_t> EncodeBlocks(const Message& message, std::span<float> residual, const Shape& shape,
                                      const RngKey& key, std::span<std::byte> body) const;

  Options options_;
};

}  // namespace laconic::internal

namespace laconic {

// turboquant(bits=4, mode=mse|unbiased|qjl, block=1024, rounds=2).
CodecInfo TurboQuantInfo();

}  // namespace laconic
