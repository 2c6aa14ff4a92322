// No compression: the floats as they are.
#pragma once

#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/compressor.h"

namespace laconic::internal {

// C(x) = x: delta = 1, omega = 0.   Body: the elements as float32.
class Identity final : public Compressor {
 public:
  CodecId id() const override { return CodecId::kIdentity; }
  std::string ToString() const override { return "identity"; }
  Traits traits(const Shape& shape) const override;
  size_t MaxBodyBytes(const Shape& shape) const override { return shape.elements() * sizeof(float); }
  NumberSection Numbers(size_t body_bytes, const Shape& shape) const override {
    return {.count = shape.elements(), .format = NumberFormat::kFp32};
  }
  absl::StatusOr<size_t> Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                std::span<std::byte> body) const override;
  // Leaves zeros.
  absl::StatusOr<size_t> EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                        std::span<float> residual, std::span<std::byte> body) const override;
  absl::Status DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                         std::span<float> acc) const override;

 private:
  absl::StatusOr<size_t> EncodeElements(const Message& message, std::span<float> residual,
                                        std::span<std::byte> body) const;
};

}  // namespace laconic::internal

namespace laconic {

// identity.
CodecInfo IdentityInfo();

}  // namespace laconic
