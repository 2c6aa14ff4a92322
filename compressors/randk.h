// Rand-k: k entries at random positions that all ranks can draw for themselves (Stich, Cordonnier and Jaggi 2018;
// Konecny et al. 2016).
#pragma once

#include <memory>

#include "compressors/sparsity.h"
#include "compressors/value_coding.h"
#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/compressor.h"

namespace laconic::internal {

// Keeps the entries at k positions drawn without replacement by a permutation keyed by the RngKey (permutation.h), in
// ascending order. The positions are implied by the key. O(d) to encode, O(k) to decode, no allocation beyond scratch.
//   contractive  the entries as they are: delta = (1 - r) k/d, r = RelativeLoss of the value format, 0 for fp32
//   unbiased     the entries times d/k:   omega = d/k - 1; fp32 only, since rounding to nearest would bias the mean
// Seed: `shared` draws one set of positions for all ranks (RngKey::Shared), so that the k floats may be summed before
// decoding (a linear session of one round). The price: ranks miss the same entries, and averaging over N ranks does not
// shrink the variance omega by N. `rank` draws independently per rank: it averages out, and is not linear. Body
// (docs/payload-format.md): the 8-byte derived key, value block; nothing at all for an empty tensor.
class RandK final : public Compressor {
 public:
  enum class Scale { kContractive, kUnbiased };
  enum class Seed { kShared, kRank };

  RandK(Sparsity sparsity, Scale scale, Seed seed, ValueFormat values)
      : sparsity_(sparsity), scale_(scale), seed_(seed), values_(values) {}

  CodecId id() const override { return CodecId::kRandK; }
  std::string ToString() const override;
  Traits traits(const Shape& shape) const override;
  absl::Status Supports(const Shape& shape) const override;
  size_t MaxBodyBytes(const Shape& shape) const override;
  NumberSection Numbers(size_t body_bytes, const Shape& shape) const override {
    return NumbersAtEnd(values_, sparsity_.Kept(shape.elements()), body_bytes);
  }
  absl::StatusOr<size_t> Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                std::span<std::byte> body) const override;
  // One pass over the message; leaves exactly 0 at the kept entries (contractive, fp32).
  absl::StatusOr<size_t> EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                        std::span<float> residual, std::span<std::byte> body) const override;
  // Touches only the kept entries: O(k).
  absl::Status DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                         std::span<float> acc) const override;
  std::unique_ptr<LinearSession> NewLinearSession(const Shape& shape, const RngKey& init) const override;

 private:
  // With a residual EncodeResidual, else Encode.
  absl::StatusOr<size_t> EncodeMessage(const Message& message, const Shape& shape, const RngKey& key,
                                       std::span<float> residual, std::span<std::byte> body) const;
  // What kept entries are multiplied by: 1 or d/k.
  float Factor(uint64_t k, uint64_t d) const;

  Sparsity sparsity_;
  Scale scale_;
  Seed seed_;
  ValueFormat values_;
};

}  // namespace laconic::internal

namespace laconic {

// randk(ratio=|k=, scale=contractive|unbiased, seed=shared|rank, values=fp32|fp16|bf16).
CodecInfo RandKInfo();

}  // namespace laconic
