// An unbiased codec made contractive.
#pragma once

#include <memory>

#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/compressor.h"

namespace laconic::internal {

// C(x) / (1 + omega), C unbiased with omega (of each tensor's shape): contractive with delta = 1 / (1 + omega), since
// the error is |x|^2 - 2 |x|^2 / (1 + omega) + E|C(x)|^2 / (1 + omega)^2 and E|C(x)|^2 <= (1 + omega) |x|^2.
//
// Id and body are the inner codec's: only what they decode to differs, by a factor rounded to float32. A linear session
// is wrapped in the same way: its reconstructions are scaled. Decoding takes one work buffer of the tensor's size.
class Scaled final : public Compressor {
 public:
  // inner: claims omega for the shapes it will meet (Supports refuses the others).
  explicit Scaled(std::shared_ptr<const Compressor> inner) : inner_(std::move(inner)) {}

  CodecId id() const override { return inner_->id(); }
  std::string ToString() const override { return "scaled(" + inner_->ToString() + ")"; }
  Traits traits(const Shape& shape) const override;
  absl::Status Supports(const Shape& shape) const override;
  size_t MaxBodyBytes(const Shape& shape) const override { return inner_->MaxBodyBytes(shape); }
  NumberSection Numbers(size_t body_bytes, const Shape& shape) const override {
    return inner_->Numbers(body_bytes, shape);
  }
  absl::StatusOr<size_t> Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                std::span<std::byte> body) const override {
    return inner_->Encode(x, shape, key, body);
  }
  absl::Status DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                         std::span<float> acc) const override;
  std::unique_ptr<LinearSession> NewLinearSession(const Shape& shape, const RngKey& init) const override;

 private:
  float Factor(const Shape& shape) const;

  std::shared_ptr<const Compressor> inner_;
};

}  // namespace laconic::internal

namespace laconic {

// scaled(<unbiased codec>).
CodecInfo ScaledInfo();

}  // namespace laconic
