// A lossless stage behind another codec: its body in fewer bytes.
#pragma once

#include <memory>

#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/compressor.h"

namespace laconic::internal {

// Decodes to exactly what the codec inside decodes to, with the same claims; only the body is shorter, and so of no
// fixed size. A body that would not get shorter is stored: one byte more than the codec's own.
//
//   auto      the codec's numbers (Compressor::Numbers) by EncodeNumbers (entropy_coding.h): of floats the exponents,
//   of
//             a quantiser's codes and of codecs that name none the bytes. What else the body holds stays as it is.
//   exponent  the same; refused for codecs that send no floats
//   zstd      the whole body by zstd
//
// Where the codec is linear, its session is the codec's own: sums of floats are not coded.
//
// Work memory: the codec's body, and for `auto` twice that. Body: docs/payload-format.md.
class Entropy final : public Compressor {
 public:
  enum class Coder { kAuto, kExponent, kZstd };

  Entropy(std::shared_ptr<const Compressor> inner, Coder coder) : inner_(std::move(inner)), coder_(coder) {}

  CodecId id() const override { return CodecId::kEntropy; }
  std::string ToString() const override;
  Traits traits(const Shape& shape) const override;
  absl::Status Supports(const Shape& shape) const override { return inner_->Supports(shape); }
  size_t MaxBodyBytes(const Shape& shape) const override;
  absl::StatusOr<size_t> Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                std::span<std::byte> body) const override;
  absl::StatusOr<size_t> EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                        std::span<float> residual, std::span<std::byte> body) const override;
  absl::Status DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                         std::span<float> acc) const override;
  std::unique_ptr<LinearSession> NewLinearSession(const Shape& shape, const RngKey& init) const override {
    return inner_->NewLinearSession(shape, init);
  }

 private:
  // Codes the inner codec's body.   body: inner.size() + 1 bytes at least.
  size_t Shorten(std::span<const std::byte> inner, const Shape& shape, std::span<std::byte> body) const;
  // The body's bytes, or nothing where there is no room.
  std::optional<size_t> ShortenNumbers(std::span<const std::byte> inner, const Shape& shape,
                                       std::span<std::byte> body) const;
  std::optional<size_t> ShortenByZstd(std::span<const std::byte> inner, const Shape& shape,
                                      std::span<std::byte> body) const;
  absl::Status Restore(std::span<const std::byte> body, const Shape& shape, uint8_t form,
                       std::span<std::byte> inner) const;
  bool HasLength(const Shape& shape) const { return !inner_->traits(shape).fixed_size; }

  std::shared_ptr<const Compressor> inner_;
  Coder coder_;
};

}  // namespace laconic::internal

namespace laconic {

// entropy(<codec>, coder=auto|exponent|zstd).
CodecInfo EntropyInfo();

// The entropy stage of a pipeline: entropy(`codec`, coder=...) as `call`, entropy or entropy(coder=...), says.
absl::StatusOr<std::shared_ptr<const Compressor>> WithEntropy(std::shared_ptr<const Compressor> codec,
                                                              const SpecCall& call);

}  // namespace laconic
