// A few bits an element on a uniform grid per block (Alistarh et al. 2017 (QSGD); Wen et al. 2017 (TernGrad); Markov et
// al. 2022 (CGX)).
#pragma once

#include <span>
#include <string>

#include "compressors/blocks.h"
#include "compressors/message_runs.h"
#include "laconic/base/rng.h"
#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/compressor.h"

namespace laconic::internal {

// With b >= 2 bits there are s = 2^(b-1) - 1 levels on each side of zero: C(x)_i = N l_i / s, l_i in -s..s, N the
// block's norm as a float32, max |x_i| (exact) or |x|_2 (rounded; never below max |x_i|; at most the largest float).
// l_i is x_i s / N rounded to nearest, or floor(x_i s / N + u) with word i of the key's stream as u; x_i s / N is taken
// as x_i times a float32 near s / N that brings N itself to s (kernels.h). Zero stays exactly
// zero; a block of zeros has N = 0. With one bit C(x)_i = N or -N. Stochastic: N = max |x_i|, P(N) = (1 + x_i/N) / 2.
// Nearest: N = mean |x_i|, and the sign bit decides.
//
// What is claimed, with B the elements of a block:
//
//   nearest, max     delta = 1/(1+c), c = (B-1)/(4s^2). The largest element is exact and the others err by at most
//                    min(|x_i|, N/(2s)): relative to |x|^2 that is worst when all of them are N/(2s), and then c/(1+c).
//   nearest, l2      delta = 1 - B/(4s^2), as the errors are at most N/(2s) and N = |x|_2. Refused for B >= 4s^2, where
//                    a block of equal magnitudes decodes to nothing but zeros.
//   stochastic, max  omega = (sqrt(1 + (B-1)/s^2) - 1) / 2. An element at fraction p between two levels has variance
//                    p(1-p) N^2/s^2, worst beside its own square between levels 0 and 1. With B-1 of them next to one
//                    at N the ratio is (B-1) p(1-p) / (s^2 + (B-1) p^2), largest at p = 1/(1 + sqrt(1 + (B-1)/s^2)),
//                    where it is 1/(2p) - 1. With s = 1 this is TernGrad's (sqrt(B) - 1)/2.
//   stochastic, l2   omega = min(B/s^2, sqrt(B)/s) (QSGD, Lemma 3.1).
//   one bit          nearest: delta = 1/B, as for sign(zeros=plus). Stochastic: omega = B-1, from the variances
//                    N^2 - x_i^2 and N <= |x|_2.
//
// All this in exact arithmetic: float32 adds at most 2^-22 of an element to its own error, draws of 24 bits add 2^-24
// of a step to its mean, and blocks whose N is near the denormal range (below 2^-126 s) err by 2^-150 more an element.
//
// Body, of fixed size: float32 norms, one a block; then per block its codes l_i + s (one bit: 1 for +N), b bits each,
// first lowest, padded to whole bytes. With one norm for the whole tensor codes are padded after every 65536 elements.
class Quantize final : public Compressor {
 public:
  enum class Rounding { kNearest, kStochastic };
  enum class Norm { kMax, kL2 };
  struct Options {
    int bits = 4;        // 1..8
    size_t block = 512;  // 1..Blocks::kMaxBlock, or 0 for the whole tensor
    Rounding rounding = Rounding::kNearest;
    Norm norm = Norm::kMax;  // one bit: kMax
  };

  explicit Quantize(const Options& options) : options_(options) {}

  CodecId id() const override { return CodecId::kQuantize; }
  std::string ToString() const override;
  Traits traits(const Shape& shape) const override;
  absl::Status Supports(const Shape& shape) const override;
  size_t MaxBodyBytes(const Shape& shape) const override;
  NumberSection Numbers(size_t body_bytes, const Shape& shape) const override;
  absl::StatusOr<size_t> Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                std::span<std::byte> body) const override;
  absl::StatusOr<size_t> EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                        std::span<float> residual, std::span<std::byte> body) const override;
  absl::Status DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                         std::span<float> acc) const override;

 private:
  struct Segment {
    size_t index = 0, first = 0, elements = 0;
    float norm = 0;
    bool is_formed = false;  // as the current run
  };

  int LevelsPerSide() const { return options_.bits == 1 ? 1 : (1 << (options_.bits - 1)) - 1; }
  float gain() const { return options_.bits == 1 ? 0.5f : static_cast<float>(LevelsPerSide()); }
  uint8_t last_code() const { return static_cast<uint8_t>(options_.bits == 1 ? 1 : 2 * LevelsPerSide()); }
  // The largest magnitude of a block, or the sum its norm is the mean or the root of. A block of one run is left
  // formed.
  double Measure(MessageRuns& runs, size_t first, size_t elements) const;
  float NormOf(double measured, uint64_t elements) const;
  // Writes the codes of one segment to `packed`.
  void EncodeSegment(const Segment& segment, const CounterRng& rng, MessageRuns& runs,
                     std::span<std::byte> packed) const;
  // acc: the whole tensor.   packed: the segment's codes, untrusted.
  absl::Status DecodeSegment(std::span<const std::byte> packed, const Segment& segment, float scale,
                             std::span<float> acc) const;
  // residual: empty where nobody asks for it.
  absl::StatusOr<size_t> EncodeBlocks(const Message& message, std::span<float> residual, const Shape& shape,
                                      const RngKey& key, std::span<std::byte> body) const;

  Options options_;
};

}  // namespace laconic::internal

namespace laconic {

// quantize(bits=4, block=512, rounding=nearest|stochastic, norm=max|l2).
CodecInfo QuantizeInfo();

}  // namespace laconic
