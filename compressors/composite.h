// Several codecs, one after another, each coding what the ones before left: GEAR (Kang et al. 2024) with any codecs in
// any order.
#pragma once

#include <memory>
#include <vector>

#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/compressor.h"

namespace laconic::internal {

// C(x) = y_1 + ... + y_N with r_0 = x, y_j = C_j(r_{j-1}), r_j = r_{j-1} - y_j: residual chaining.
//
// Claims. Stage j leaves at most the share f_j of its input's energy: E|r_j|^2 <= f_j |r_{j-1}|^2, f_j = 1 - delta_j,
// or omega_j where that is less. Stages draw independently, so E|C(x) - x|^2 <= F |x|^2, F = f_1 ... f_N: contractive
// with delta = 1 - F where F < 1, which is no less than any stage's own delta. If the last stage is unbiased so is the
// whole, with omega = f_1 ... f_{N-1} omega_N, whatever the others are: the induced compressor of Horvath and Richtarik
// (2021). A stage without a claim leaves the whole without one. Sums of floats round: F counts as 2^-46 at least.
//
// Body (docs/payload-format.md): the stages' bodies in order; before each but the last whose length is not given by the
// shape, that length as a varint. A single stage is that codec, under this one's id.
//
// The residual of a stage is the message of the next, so stages are fused. The exact residual x - C(x) is not r_N,
// whose roundings the receiver cannot know: it takes a decoding and one more pass. Work memory: one tensor.
class Composite final : public Compressor {
 public:
  static constexpr size_t kMaxStages = 16;

  // stages: 1 to kMaxStages.
  explicit Composite(std::vector<std::shared_ptr<const Compressor>> stages) : stages_(std::move(stages)) {}

  CodecId id() const override { return CodecId::kComposite; }
  std::string ToString() const override;
  Traits traits(const Shape& shape) const override;
  // InvalidArgument where a stage refuses the shape, as lowrank refuses vectors: leaving it out would send something
  // else than was asked for.
  absl::Status Supports(const Shape& shape) const override;
  size_t MaxBodyBytes(const Shape& shape) const override;
  absl::StatusOr<size_t> Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                std::span<std::byte> body) const override;
  // Also InvalidArgument if the sum of what the stages decode to overflows.
  absl::StatusOr<size_t> EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                        std::span<float> residual, std::span<std::byte> body) const override;
  absl::Status DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                         std::span<float> acc) const override;

 private:
  // Is the length of that stage's body written before it?
  bool HasLength(size_t stage, const Shape& shape) const;
  // sum = what the body decodes to.
  absl::Status Decode(std::span<const std::byte> body, const Shape& shape, std::span<float> sum) const;
  std::string NameOf(size_t stage) const;

  std::vector<std::shared_ptr<const Compressor>> stages_;
};

}  // namespace laconic::internal

namespace laconic {

// composite(<codec>, <codec>, ...).
CodecInfo CompositeInfo();

}  // namespace laconic
