// Top-k: the k entries largest in magnitude, as (index, value) pairs (Aji and Heafield 2017; Stich, Cordonnier and
// Jaggi 2018), of the whole tensor or of each chunk of it.
#pragma once

#include <memory>
#include <vector>

#include "compressors/sparsity.h"
#include "compressors/value_coding.h"
#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/compressor.h"

namespace laconic::internal {

struct TopKOptions {
  Sparsity sparsity;  // of the tensor, or of each chunk
  ValueFormat values = ValueFormat::kFp32;
  uint64_t chunk = 0;   // elements of a chunk, up to kMaxChunk (chunk_select.h); 0: the tensor is one
  uint64_t warmup = 0;  // the first so many steps keep more; then sparsity must be a ratio
};

// Keeps the k entries of x that come first under the total order "|x_i| descending, then i ascending"; the others
// decode to zero. Exact. O(d), no allocation beyond scratch. Contractive with delta = (1 - r) k/d, r = RelativeLoss of
// the value format, 0 for fp32 (Stich et al., Lemma A.1; attained by constant vectors: real gradients keep far more).
//
// With chunks, k of each (SparseLoCo, Sarfi et al. 2025, arXiv 2508.15706): no pass over the whole tensor, and almost
// the energy of the k largest of all (0.3996 against 0.4003 for 64 of 4096, heavy tails). The last, shorter chunk keeps
// its own share; delta is the least share.
//
// With a warm-up, ratio rho grows sparser in kStages equal stages of the first `warmup` steps, rho^((s+1)/(kStages+1))
// in stage s (DGC, Lin et al. 2018, arXiv 1712.01887: .25, .063, .016, .004 for rho = .001). The stage is that of
// RngKey::step, so nothing lasts and a repeated step repeats its bytes. Claims are those of rho.
//
// Body (docs/payload-format.md): the number of entries as a varint, index block, value block; nothing at all for an
// empty tensor. Chunks need no indices of their own: Rice codes of 64 positions in 4096 take about 7.4 bits each and
// never more than k (m+1) + (d-k)/2^m bits in all, which is 8 each, where a position in a chunk takes 12.
class TopK final : public Compressor {
 public:
  static constexpr uint64_t kStages = 4;

  explicit TopK(const TopKOptions& options);

  CodecId id() const override { return CodecId::kTopK; }
  std::string ToString() const override;
  Traits traits(const Shape& shape) const override;
  absl::Status Supports(const Shape& shape) const override;
  size_t MaxBodyBytes(const Shape& shape) const override;
  // Of a body of the warm-up, as many of its values as later bodies have.
  NumberSection Numbers(size_t body_bytes, const Shape& shape) const override {
    return NumbersAtEnd(options_.values, Kept(options_.sparsity, shape.elements()), body_bytes);
  }
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
  // How many of `elements` are kept at a sparsity.
  uint64_t Kept(const Sparsity& sparsity, uint64_t elements) const;
  const Sparsity& SparsityAt(uint64_t step) const;
  // With a residual EncodeResidual, else Encode.
  absl::StatusOr<size_t> EncodeMessage(const Message& message, const Shape& shape, const RngKey& key,
                                       std::span<float> residual, std::span<std::byte> body) const;
  absl::Status DecodeAddEntries(std::span<const std::byte> body, uint64_t d, float scale, std::span<float> acc) const;

  TopKOptions options_;
  std::vector<Sparsity> stages_;  // of the warm-up, and the one that remains
};

}  // namespace laconic::internal

namespace laconic {

// topk(ratio=|k=, values=fp32|fp16|bf16|q2, chunk=, warmup=).
CodecInfo TopKInfo();

}  // namespace laconic
