// One bit an element: its sign, times the mean magnitude of its block (Seide et al. 2014; Bernstein et al. 2018;
// Karimireddy et al. 2019) or its root mean square (Tang et al. 2021).
#pragma once

#include <span>
#include <string>

#include "compressors/blocks.h"
#include "compressors/message_runs.h"
#include "laconic/base/byte_io.h"
#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/compressor.h"

namespace laconic::internal {

// C(x)_i = s sign(x_i), s over the block (or the whole tensor), rounded to float32: scale=l1, |x|_1 / n; scale=rms,
// |x|_2 / sqrt(n).
//
//   zeros=exact  Zeros decode to exactly 0 and n counts the others, so that a parameter whose gradient is always zero
//                never moves. Costs one bit a block where there are no zeros. The set of zeros of a block that has some
//                is coded compactly (index_coding.h), at most about one more bit an element. A block of nothing but
//                zeros costs nothing beside its scale.
//   zeros=plus   Every element decodes to s or -s by its sign bit (+0 to s), n counts all; bodies have a fixed size.
//
// scale=l1 is contractive: per block |C(x) - x|^2 = |x|^2 - |x|_1^2 / n, so delta = min over blocks of |x|_1^2 / (n
// |x|_2^2) >= 1 / block by Cauchy-Schwarz: near one where magnitudes are alike (2/pi on Gaussian data), 1 / block on
// one spike among (nearly) nothing. Exact up to the rounding of s, which costs 2^-48 |x|^2, for s in the normal range
// of float32. scale=rms is not, on blocks of four or more: |C(x) - x|^2 = 2 |x|^2 - 2 s |x|_1, up to 2 (1 - 1/sqrt(n))
// |x|^2. But the largest error shrinks: elements above s lose s, s >= max|x| / sqrt(n), and no other errs by more than
// s - min|x|, which is at most (1 - 1/(2n)) max|x|. So under error feedback the error stays bounded; and smaller than
// under l1, whose small scale takes longer to drain an outlier.
//
// Body: float32 scales, one a block; zeros=exact: ceil(blocks/8) bytes, bit b set if block b has zeros and others. Then
// for each block whose scale is not 0 (zeros=plus: each block): if its bit is set, the number of zeros (varint), the
// length of their index block (varint) and the index block; unless all are zeros, ceil(elements/8) bytes of sign bits,
// 1 = negative, first element lowest. Under one scale for the whole tensor these "blocks" are runs of 65536 elements.
class Sign final : public Compressor {
 public:
  enum class Zeros { kExact, kPlus };
  enum class Scale { kMeanMagnitude, kRootMeanSquare };
  static constexpr size_t kDefaultBlock = 2048;

  // block: 1..Blocks::kMaxBlock, or 0 for the whole tensor.
  Sign(size_t block, Zeros zeros, Scale scale) : block_(block), zeros_(zeros), scale_(scale) {}

  CodecId id() const override { return CodecId::kSign; }
  std::string ToString() const override;
  Traits traits(const Shape& shape) const override;
  size_t MaxBodyBytes(const Shape& shape) const override;
  absl::StatusOr<size_t> Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                std::span<std::byte> body) const override;
  absl::StatusOr<size_t> EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                        std::span<float> residual, std::span<std::byte> body) const override;
  absl::Status DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                         std::span<float> acc) const override;

 private:
  struct Segment {
    size_t first = 0, elements = 0;
    float scale = 0;
    size_t zeros = 0;        // that are listed
    bool is_formed = false;  // as the current run
  };
  // What the scale of some elements is made of.
  struct Measured {
    double sum = 0;  // of magnitudes, or of squares
    size_t zeros = 0;
  };
  // A segment of one run is left formed in `runs`.
  Measured Measure(MessageRuns& runs, size_t first, size_t elements) const;
  float ScaleOf(const Measured& measured, size_t elements) const;
  // At most, of one segment, its scale and its flag not counted.
  size_t SegmentBytes(size_t elements) const;
  void EncodeSegment(const Segment& segment, MessageRuns& runs, ByteWriter& out) const;
  // residual: empty where nobody asks for it.
  absl::StatusOr<size_t> EncodeBlocks(const Message& message, std::span<float> residual, const Shape& shape,
                                      std::span<std::byte> body) const;

  size_t block_;
  Zeros zeros_;
  Scale scale_;
};

}  // namespace laconic::internal

namespace laconic {

// sign(block=2048, zeros=exact|plus, scale=l1|rms).
CodecInfo SignInfo();

}  // namespace laconic
