// The values of a sparse message: k floats in one of four formats, little-endian.
//
//   fp32   k x 4 bytes, exact
//   bf16   k x 2 bytes, rounded to nearest even
//   fp16   an exponent e (int16), then k x 2 bytes: value = half * 2^e, rounded to nearest even. e puts the largest
//   magnitude into
//          [2^15, 2^16), so that values of any size fit: half precision alone would flush a gradient of 1e-8 to zero.
//   q2     groups of 1024 values (the last may be shorter): two floats, then 2 bits a value, whose low bit chooses one
//   of
//          the two magnitudes and whose high bit is the sign. The split is Lloyd's, begun at the mean magnitude, and
//          the magnitudes are the means of the two parts. For what top-k keeps: those values lie around +-t and not
//          around 0, where quantisers with bins of equal width (SparseLoCo's: 4 over 6 standard deviations, with mean
//          codebook) leave a code nearly unused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"
#include "laconic/compressors/compressor.h"
#include "laconic/compressors/spec.h"

namespace laconic::internal {

enum class ValueFormat : uint8_t { kFp32, kFp16, kBf16, kQ2 };

// "fp32", "fp16", "bf16", "q2".
std::string_view ToString(ValueFormat format);
// The parameter `values` of sparse codecs, and its reading.
ParameterInfo ValueFormatParameter();
ValueFormat TakeValueFormat(SpecArguments& arguments);

// Bound on what rounding takes from the energy of `count` values: |decoded - v|^2 <= RelativeLoss |v|^2. A half or a
// bfloat16 is off by at most u |v|, u = 2^-11 or 2^-8; a half that is tiny beside the largest of its block by at most
// 2^-40 of that. For bf16 it takes normal floats (|v| >= 2^-126). A group of n values in 2 bits keeps at least the 1/n
// of its energy that one magnitude for all would; usual ones lose a tenth.
double RelativeLoss(ValueFormat format, uint64_t count);

// Bytes of `count` values.
size_t ValueBytes(ValueFormat format, uint64_t count);

// Where the numbers of a value block lie that ends a body; of q2, which holds none, the whole body.
NumberSection NumbersAtEnd(ValueFormat format, uint64_t count, size_t body_bytes);

// values: finite.   out: exactly ValueBytes(format, values.size()) bytes, no alignment required.
void EncodeValues(ValueFormat format, std::span<const float> values, std::span<std::byte> out);

// values = what the block that EncodeValues wrote for them decodes to. DataLoss if one is not finite, as ValueReader
// says.
absl::Status DecodeValues(ValueFormat format, std::span<const std::byte> block, std::span<float> values);

// Reads an untrusted block of values. Thread-safe (immutable); the block must outlive it.
class ValueReader {
 public:
  // DataLoss if the block is not ValueBytes(format, count) bytes long, its exponent is out of range or its padding is
  // not zero.
  static absl::StatusOr<ValueReader> Open(ValueFormat format, uint64_t count, std::span<const std::byte> block);

  // Values [first, first + out.size()). DataLoss "value 3 is inf" if one is not finite.
  absl::Status Read(uint64_t first, std::span<float> out) const;

 private:
  ValueReader(ValueFormat format, std::span<const std::byte> values, int exponent)
      : format_(format), values_(values), exponent_(exponent) {}

  ValueFormat format_;
  std::span<const std::byte> values_;
  int exponent_;  // e of fp16
};

}  // namespace laconic::internal
