#include "compressors/sign.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "compressors/checks.h"
#include "compressors/index_coding.h"
#include "compressors/kernels/kernels.h"
#include "compressors/varint.h"
#include "laconic/base/byte_io.h"
#include "laconic/base/scratch.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

constexpr size_t BytesOfBits(size_t bits) { return (bits + 7) / 8; }

bool TestBit(std::span<const std::byte> bits, size_t i) {
  return (bits[i / 8] & (std::byte{1} << (i % 8))) != std::byte{0};
}

// The mean magnitude of `count` floats whose magnitudes add up to `sum`.
float MeanMagnitude(double sum, uint64_t count) {
  if (count == 0) return 0;
  constexpr double kLargest = std::numeric_limits<float>::max();  // a rounded sum may lead a hair's breadth beyond
  return static_cast<float>(std::min(sum / static_cast<double>(count), kLargest));
}

// The positions of the zeros of a segment.
std::span<const uint64_t> FindZeros(std::span<const float> x) {
  const std::span<uint64_t> indices = Scratch<uint64_t>(ScratchUse::kIndices, x.size());
  size_t count = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    indices[count] = i;
    count += x[i] == 0 ? 1 : 0;
  }
  return indices.first(count);
}

void PutZeros(std::span<const uint64_t> zeros, size_t elements, ByteWriter& out) {
  const IndexPlan plan = PlanIndices(zeros, elements);
  PutVarint(out, zeros.size());
  PutVarint(out, plan.bytes);
  EncodeIndices(zeros, elements, plan, out.Claim(plan.bytes));
}

// Reads what PutZeros wrote (untrusted), clears the bits of the zeros in `non_zeros` and gives their number.
absl::StatusOr<size_t> TakeZeros(ByteReader& in, size_t elements, std::span<std::byte> non_zeros) {
  LACONIC_ASSIGN_OR_RETURN(const uint64_t count, GetVarint(in));
  LACONIC_ASSIGN_OR_RETURN(const uint64_t index_bytes, GetVarint(in));
  if (count == 0 || count > elements) {
    return absl::DataLossError(fmt::format("{} zeros among {} elements", count, elements));
  }
  const std::span<const std::byte> bytes = in.Take(index_bytes);
  if (!in.ok()) return absl::DataLossError(fmt::format("index block of {} bytes is cut off", index_bytes));
  IndexDecoder decoder(bytes, count, elements);
  for (std::span<const uint64_t> chunk = decoder.Next(); !chunk.empty(); chunk = decoder.Next()) {
    for (const uint64_t i : chunk) non_zeros[i / 8] &= ~(std::byte{1} << (i % 8));
  }
  LACONIC_RETURN_IF_ERROR(decoder.Finish());
  return count;
}

}  // namespace

std::string Sign::ToString() const {
  return fmt::format("sign(block={}, zeros={}, scale=l1)", block_, zeros_ == Zeros::kExact ? "exact" : "plus");
}

Traits Sign::traits(const Shape& shape) const {
  const uint64_t block = Blocks(shape.elements(), block_).LargestBlock();
  Traits traits;
  traits.delta = block == 0 ? 1 : 1 / static_cast<double>(block);
  traits.deterministic = true;
  traits.fixed_size = zeros_ == Zeros::kPlus;
  return traits;
}

size_t Sign::MaxBodyBytes(const Shape& shape) const {
  const Blocks blocks(shape.elements(), block_);
  const size_t fixed = blocks.scales() * sizeof(float) + blocks.PackedBytes(1);
  if (zeros_ == Zeros::kPlus) return fixed;
  const auto zeros_bytes = [](size_t elements) {  // at most, of one segment of that many
    return 2 * VarintBytes(elements) + BytesOfBits(elements) + 1;
  };
  size_t zeros = BytesOfBits(blocks.segments());
  if (blocks.segments() > 0) {
    const size_t last = blocks.segments() - 1;
    zeros += last * zeros_bytes(blocks.Size(0)) + zeros_bytes(blocks.Size(last));
  }
  return fixed + zeros;
}

absl::Status Sign::MeasureBlocks(std::span<const float> x, const Blocks& blocks, std::span<float> scales,
                                 std::span<std::byte> flags) const {
  std::fill(flags.begin(), flags.end(), std::byte{0});
  double sum = 0;      // of the block so far
  uint64_t count = 0;  // the same
  for (size_t b = 0; b < blocks.segments(); ++b) {
    const std::span<const float> segment = blocks.Slice(x, b);
    const double segment_sum = kernels::SumAbs(segment);
    if (!std::isfinite(segment_sum)) return CheckFinite("sign", x);
    const size_t zeros = zeros_ == Zeros::kExact ? kernels::CountZeros(segment) : 0;
    sum += segment_sum;
    count += segment.size() - zeros;
    if (zeros > 0) flags[b / 8] |= std::byte{1} << (b % 8);
    if (b + 1 < blocks.segments() && blocks.ScaleOf(b + 1) == blocks.ScaleOf(b)) continue;
    scales[blocks.ScaleOf(b)] = MeanMagnitude(sum, count);
    sum = 0;
    count = 0;
  }
  for (size_t b = 0; b < blocks.segments() && zeros_ == Zeros::kExact; ++b) {
    if (scales[blocks.ScaleOf(b)] == 0) flags[b / 8] &= ~(std::byte{1} << (b % 8));  // nothing but zeros: implied
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> Sign::EncodeBlocks(std::span<const float> x, std::span<float> residual, const Shape& shape,
                                          std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("sign", x.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckRoom("sign", body.size(), MaxBodyBytes(shape)));
  const bool exact = zeros_ == Zeros::kExact;
  const Blocks blocks(x.size(), block_);
  ByteWriter out(body);
  const std::span<std::byte> scale_bytes = out.Claim(blocks.scales() * sizeof(float));
  const std::span<std::byte> flags = out.Claim(exact ? BytesOfBits(blocks.segments()) : 0);
  const std::span<float> scales = Scratch<float>(ScratchUse::kValues, blocks.scales());
  LACONIC_RETURN_IF_ERROR(MeasureBlocks(x, blocks, scales, flags));
  if (!scales.empty()) std::memcpy(scale_bytes.data(), scales.data(), scale_bytes.size());

  for (size_t b = 0; b < blocks.segments(); ++b) {
    const std::span<const float> segment = blocks.Slice(x, b);
    const float value = scales[blocks.ScaleOf(b)];
    if (exact && value == 0) continue;
    const bool has_zeros = exact && TestBit(flags, b);
    if (has_zeros) {
      const std::span<const uint64_t> zeros = FindZeros(segment);
      PutZeros(zeros, segment.size(), out);
      if (zeros.size() == segment.size()) continue;
    }
    kernels::PackSigns(segment, out.Claim(BytesOfBits(segment.size())));
    if (residual.empty()) continue;
    const std::span<float> in_place = blocks.Slice(residual, b);
    if (has_zeros) {
      kernels::SubtractSignedFromNonZeros(value, in_place);
    } else {
      kernels::SubtractSigned(value, in_place);
    }
  }
  LACONIC_RETURN_IF_ERROR(out.Finish("sign body"));
  return out.written();
}

absl::StatusOr<size_t> Sign::Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                    std::span<std::byte> body) const {
  return EncodeBlocks(x, {}, shape, body);
}

absl::StatusOr<size_t> Sign::EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                            std::span<float> residual, std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("sign", message.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckFloats("sign", residual.size(), shape));
  message.Form(0, residual);
  return EncodeBlocks(residual, residual, shape, body);
}

absl::Status Sign::DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                             std::span<float> acc) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("sign", acc.size(), shape));
  const bool exact = zeros_ == Zeros::kExact;
  const Blocks blocks(acc.size(), block_);
  ByteReader in(body);
  const std::span<const std::byte> scale_bytes = in.Take(blocks.scales() * sizeof(float));
  const std::span<const std::byte> flags = in.Take(exact ? BytesOfBits(blocks.segments()) : 0);
  if (!in.ok() || acc.empty()) return in.Finish("sign body");
  const std::span<float> scales = Scratch<float>(ScratchUse::kValues, blocks.scales());
  std::memcpy(scales.data(), scale_bytes.data(), scale_bytes.size());
  LACONIC_RETURN_IF_ERROR(CheckScales("sign", scales));
  if (exact && !PaddingIsZero(flags, blocks.segments())) {
    return absl::DataLossError("sign body: padding of the zero flags is not zero");
  }

  for (size_t b = 0; b < blocks.segments(); ++b) {
    const std::span<float> segment = blocks.Slice(acc, b);
    const float value = scale * scales[blocks.ScaleOf(b)];
    const bool has_zeros = exact && TestBit(flags, b);
    if (exact && scales[blocks.ScaleOf(b)] == 0) {
      if (has_zeros) return absl::DataLossError(fmt::format("sign body: block {} has scale 0 and its zeros listed", b));
      continue;
    }
    std::span<std::byte> non_zeros;
    if (has_zeros) {
      non_zeros = ScratchBytes(ScratchUse::kBits, BytesOfBits(segment.size()));
      std::fill(non_zeros.begin(), non_zeros.end(), std::byte{0xff});
      const absl::StatusOr<size_t> zeros = TakeZeros(in, segment.size(), non_zeros);
      if (!zeros.ok()) return Annotate(zeros.status(), fmt::format("sign body: zeros of block {}", b));
      if (*zeros == segment.size()) continue;
    }
    const std::span<const std::byte> signs = in.Take(BytesOfBits(segment.size()));
    if (!in.ok()) return in.Finish("sign body");
    if (!PaddingIsZero(signs, segment.size())) {
      return absl::DataLossError(fmt::format("sign body: padding of block {} is not zero", b));
    }
    if (has_zeros) {
      kernels::AddSignedWhere(signs, non_zeros, value, segment);
    } else {
      kernels::AddSigned(signs, value, segment);
    }
  }
  return in.Finish("sign body");
}

}  // namespace laconic::internal

namespace laconic {

CodecInfo SignInfo() {
  std::vector<ParameterInfo> parameters = {
      {"block", "0..65536", "2048", "elements that share a scale; 0: the whole tensor"},
      {"zeros", "exact|plus", "exact", "exact: zeros decode to zero; plus: to the scale, by their sign bit"},
      {"scale", "l1", "l1", "the mean magnitude"},
  };
  return {
      .name = "sign",
      .id = CodecId::kSign,
      .summary = "one bit an element: its sign, times the mean magnitude of its block",
      .source = "Karimireddy, Rebjock, Stich and Jaggi 2019, arXiv:1901.09847; Seide et al. 2014",
      .parameters = parameters,
      .create = [parameters](const SpecCall& call,
                             const CodecRegistry&) -> absl::StatusOr<std::shared_ptr<const Compressor>> {
        using internal::Sign;
        static constexpr std::array<std::string_view, 2> kZeros = {"exact", "plus"};
        static constexpr std::array<std::string_view, 1> kScales = {"l1"};
        SpecArguments arguments(call, parameters);
        const int64_t block = arguments.Integer("block", Sign::kDefaultBlock, 0, internal::Blocks::kMaxBlock);
        const std::string zeros = arguments.Word("zeros", kZeros[0], kZeros);
        arguments.Word("scale", kScales[0], kScales);
        LACONIC_RETURN_IF_ERROR(arguments.Finish());
        return std::make_shared<const Sign>(static_cast<size_t>(block),
                                            zeros == "exact" ? Sign::Zeros::kExact : Sign::Zeros::kPlus);
      },
      .examples = {"sign", "sign(block=64)", "sign(block=0)", "sign(block=1)", "sign(zeros=plus)",
                   "sign(block=0, zeros=plus)"},
  };
}

}  // namespace laconic
