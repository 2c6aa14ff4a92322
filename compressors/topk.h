// Top-k: the k entries largest in magnitude, as (index, value) pairs (Aji and Heafield 2017; Stich, Cordonnier and
// Jaggi 2018).
#pragma once

#include <memory>

#include "compressors/sparsity.h"
#include "compressors/value_coding.h"
#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/compressor.h"

namespace laconic::internal {

// Keeps the k entries of x that come first under the total order "|x_i| descending, then i ascending"; the others
// decode to zero. Exact. O(d), no allocation beyond scratch. Contractive with delta = (1 - r) k/d, r = RelativeLoss of
// the value format, 0 for fp32 (Stich et al., Lemma A.1; attained by constant vectors: real gradients keep far more).
// Body (docs/payload-format.md): k as a varint, index block, value block; nothing at all for an empty tensor.
class TopK final : public Compressor {
 public:
  TopK(Sparsity sparsity, ValueFormat values) : sparsity_(sparsity), values_(values) {}

  CodecId id() const override { return CodecId::kTopK; }
  std::string ToString() const override;
  Traits traits(const Shape& shape) const override;
  absl::Status Supports(const Shape& shape) const override;
  size_t MaxBodyBytes(const Shape& shape) const override;
  absl::StatusOr<size_t> Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                std::span<std::byte> body) const override;
  // Leaves exactly 0 at the kept entries, or what rounding to fp16 or bf16 took. One pass over the message, which forms
  // it, too (topk_select.h).
  absl::StatusOr<size_t> EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                        std::span<float> residual, std::span<std::byte> body) const override;
  // Touches only the kept entries: O(k).
  absl::Status DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                         std::span<float> acc) const override;

 private:
  // With a residual EncodeResidual, else Encode.
  absl::StatusOr<size_t> EncodeMessage(const Message& message, const Shape& shape, std::span<float> residual,
                                       std::span<std::byte> body) const;
  absl::Status DecodeAddEntries(std::span<const std::byte> body, uint64_t k, uint64_t d, float scale,
                                std::span<float> acc) const;

  Sparsity sparsity_;
  ValueFormat values_;
};

}  // namespace laconic::internal

namespace laconic {

// topk(ratio=|k=, values=fp32|fp16|bf16).
CodecInfo TopKInfo();

}  // namespace laconic
