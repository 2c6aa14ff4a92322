// Low-rank approximation of a tensor's matrix view (Shape::rows() x cols()): PowerSGD (Vogels, Karimireddy and Jaggi
// 2019).
#pragma once

#include <memory>
#include <span>
#include <string>

#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/compressor.h"

namespace laconic::internal {

// Two faces. The linear session is the paper's Algorithm 1: two rounds whose floats are summed over ranks, the mean's
// column space found by one power-iteration step from a warm start (lowrank_session.h). The byte face is one message
// that needs no other rank: the projection of M on P = orth(M Q0), Q0 nearly normal from the RngKey, after `iterations`
// rounds of subspace iteration.
//
// Body: the factors P (rank columns of `rows` floats) and Q = M^T P (rank columns of `cols`), float32, columns one
// after another; it decodes to P Q^T. O(elements * rank * (1 + iterations)).
//
// Contractive with delta = r / min(rows, cols), r being the rank. With M = U S V^T the error is |M|^2 - tr(Pi S^2),
// where Pi is the projection on the range of S G, G = V^T Q0 (of S^(2i+1) G after i iterations). For normal Q0 the rows
// of G are independent and alike, so E Pi is diagonal with trace r, and its entries pi_j fall as the s_j do;
// Chebyshev's sum inequality gives E tr(Pi S^2) >= r/min(rows, cols) |M|^2, with equality for a flat spectrum.
// Thread-safe.
class LowRank : public Compressor {
 public:
  static constexpr int64_t kMaxRank = 1 << 16;
  static constexpr int64_t kMaxIterations = 16;

  // rank in 1..kMaxRank (clamped to min(rows, cols) of each tensor), iterations in 0..kMaxIterations.
  LowRank(size_t rank, int iterations) : rank_(rank), iterations_(iterations) {}

  CodecId id() const override { return CodecId::kLowRank; }
  std::string ToString() const override;
  Traits traits(const Shape& shape) const override;

  // Refuses shapes whose factors are no smaller than the tensor, r * (rows + cols) >= rows * cols: vectors and scalars
  // always.
  absl::Status Supports(const Shape& shape) const override;
  size_t MaxBodyBytes(const Shape& shape) const override;

  NumberSection Numbers(size_t body_bytes, const Shape& shape) const override {
    return {.count = body_bytes / sizeof(float), .format = NumberFormat::kFp32};
  }
  absl::StatusOr<size_t> Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                std::span<std::byte> body) const override;
  absl::StatusOr<size_t> EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                        std::span<float> residual, std::span<std::byte> body) const override;
  absl::Status DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                         std::span<float> acc) const override;
  // nullptr for a shape that Supports() refuses.
  std::unique_ptr<LinearSession> NewLinearSession(const Shape& shape, const RngKey& init) const override;

 private:
  // Encode of the message, which is left in `formed` if that is not empty (which it may be only if the message is
  // plain). Leaves both factors in this thread's work memory.
  absl::StatusOr<size_t> EncodeMessage(const Message& message, const Shape& shape, const RngKey& key,
                                       std::span<float> formed, std::span<std::byte> body) const;
  size_t RankOf(const Shape& shape) const;

  size_t rank_;
  int iterations_;
};

}  // namespace laconic::internal

namespace laconic {

// lowrank(rank=4, iterations=1).
CodecInfo LowRankInfo();

}  // namespace laconic
