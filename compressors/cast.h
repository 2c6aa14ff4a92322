// Half precision on the wire: IEEE binary16 or bfloat16, rounded to nearest, ties to even (float16.h).
#pragma once

#include <optional>

#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/compressor.h"

namespace laconic::internal {

// C(x)_i = 2^E round(x_i / 2^E) with one power of two for the tensor.
//
// scale=auto: E brings the largest magnitude into [2^14, 2^15), a binade below fp16's last, so that neither overflow
// nor denormal halves matter. Contractive for every finite tensor:
//
//   fp16  delta = 1 - 2^-22. Elements down to 2^-28 of the largest become normal halves, which err by at most u/(1+u)
//   of
//         themselves, u = 2^-11. Smaller ones err by at most 2^(E-25), that is 2^-39 of the largest, so all d of them
//         add at most d 2^-78 |x|^2. The sum stays below u^2 |x|^2 up to d = 2^45.
//   bf16  delta = 1 - 2^-16, by the same account with u = 2^-8 and denormals below 2^-140 of the largest.
//
// Finding the largest magnitude is a pass over the tensor before the one that encodes. Above 2^20 elements E therefore
// comes from a sample, one run of 512 elements in 256, whose largest magnitude it brings into [2^9, 2^10); only if the
// largest of all is then 2^15 or more is E what it says above. So the largest lies in [2^9, 2^15), smaller elements
// err by at most 2^-34 of it, and the same sums stay below u^2 |x|^2 up to d = 2^35.
//
// scale=none: E = 0, which is not on the wire, and no pass over x for its largest magnitude:
//
//   fp16  no claim: magnitudes below 2^-14 lose up to 2^-25, in the end all of themselves; those above 65504 saturate.
//   bf16  delta = 1 - 2^-16 for tensors of normal floats (at least 2^-126) and zeros; denormal floats lose up to
//   2^-134.
//
// A magnitude that would round beyond the largest float becomes the largest one that is a float, at an error below u.
//
// Body: scale=auto: int32 E (0 for a tensor of zeros); the elements as 16-bit values.
class Cast final : public Compressor {
 public:
  enum class Format { kFp16, kBf16 };
  enum class Scale { kAuto, kNone };

  Cast(Format format, Scale scale) : format_(format), scale_(scale) {}

  CodecId id() const override { return CodecId::kCast; }
  std::string ToString() const override;
  Traits traits(const Shape& shape) const override;
  size_t MaxBodyBytes(const Shape& shape) const override;
  NumberSection Numbers(size_t body_bytes, const Shape& shape) const override;
  absl::StatusOr<size_t> Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                std::span<std::byte> body) const override;
  absl::StatusOr<size_t> EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                        std::span<float> residual, std::span<std::byte> body) const override;
  absl::Status DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                         std::span<float> acc) const override;

 private:
  absl::StatusOr<size_t> EncodeElements(const Message& message, std::span<float> residual, const Shape& shape,
                                        std::span<std::byte> body) const;
  // E as a sample of a large message suggests it; none where the message is small or the sample is of no use.
  static std::optional<int32_t> GuessExponent(const Message& message);
  // Encodes under a given E; gives the largest magnitude of the message. Stops early where that is not finite.
  float EncodeScaled(const Message& message, std::span<float> residual, int exponent,
                     std::span<std::byte> elements) const;
  void FromWire(std::span<const uint16_t> wire, int exponent, std::span<float> x) const;

  static constexpr size_t kExactElements = size_t{1} << 20;

  Format format_;
  Scale scale_;
};

}  // namespace laconic::internal

namespace laconic {

// cast(to=fp16|bf16, scale=auto|none).
CodecInfo CastInfo();

}  // namespace laconic
