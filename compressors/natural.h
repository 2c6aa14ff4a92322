// Natural compression: magnitudes rounded at random to one of the two nearest powers of two (Horvath et al. 2019,
// arXiv:1905.10988).
#pragma once

#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/compressor.h"

namespace laconic::internal {

// |x| = 2^e (1 + m) becomes 2^(e+1) with probability m, else 2^e (Horvath et al., Definition 1); the sign stays. The
// mantissa of a float is m in 23 bits, so a carry out of mantissa plus 23 random bits happens with exactly that
// probability. Element i draws word i of the key's stream.
//
// Unbiased with omega = 1/8 (their Theorem 4): the variance 2^2e m (1 - m) over 2^2e (1 + m)^2 is largest at m = 1/3.
// That holds for |x_i| in [2^-126, 2^127], and for 0, which is exact. Outside: denormal floats become 0 or 2^-126,
// unbiased, but with a variance of up to 2^-254; what exceeds 2^127 becomes 2^127, losing less than half of itself.
//
// Body, 9 bits an element: one byte each, the biased exponent of float32 (0: the value is 0; 255 does not occur); then
// ceil(elements/8) bytes of sign bits, 1 = negative, first element lowest.
class Natural final : public Compressor {
 public:
  CodecId id() const override { return CodecId::kNatural; }
  std::string ToString() const override { return "natural"; }
  Traits traits(const Shape& shape) const override;
  size_t MaxBodyBytes(const Shape& shape) const override;
  NumberSection Numbers(size_t body_bytes, const Shape& shape) const override { return {.count = shape.elements()}; }
  absl::StatusOr<size_t> Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                std::span<std::byte> body) const override;
  absl::StatusOr<size_t> EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                        std::span<float> residual, std::span<std::byte> body) const override;
  absl::Status DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                         std::span<float> acc) const override;

 private:
  absl::StatusOr<size_t> EncodeElements(const Message& message, std::span<float> residual, const Shape& shape,
                                        const RngKey& key, std::span<std::byte> body) const;
};

}  // namespace laconic::internal

namespace laconic {

// natural.
CodecInfo NaturalInfo();

}  // namespace laconic
