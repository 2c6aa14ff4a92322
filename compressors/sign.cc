#include "compressors/sign.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>

#include "compressors/checks.h"
#include "compressors/index_coding.h"
#include "compressors/kernels/kernels.h"
#include "compressors/varint.h"
#include "laconic/base/byte_io.h"
#include "laconic/base/parallel.h"
#include "laconic/base/scratch.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

constexpr size_t BytesOfBits(size_t bits) { return (bits + 7) / 8; }

bool TestBit(std::span<const std::byte> bits, size_t i) {
  return (bits[i / 8] & (std::byte{1} << (i % 8))) != std::byte{0};
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
  return fmt::format("sign(block={}, zeros={}, scale={})", block_, zeros_ == Zeros::kExact ? "exact" : "plus",
                     scale_ == Scale::kMeanMagnitude ? "l1" : "rms");
}

Traits Sign::traits(const Shape& shape) const {
  const uint64_t block = Blocks(shape.elements(), block_).LargestBlock();
  const double n = static_cast<double>(std::max<uint64_t>(block, 1));
  Traits traits;
  if (scale_ == Scale::kMeanMagnitude) {
    traits.delta = 1 / n;
  } else {
    if (block < 4) traits.delta = 2 / std::sqrt(n) - 1;
    traits.max_norm_delta = 1 - std::sqrt(1 - 1 / n);
  }
  traits.deterministic = true;
  traits.fixed_size = zeros_ == Zeros::kPlus;
  return traits;
}

Sign::Measured Sign::Measure(MessageRuns& runs, size_t first, size_t elements) const {
  Measured total;
  ForEachRun(first, elements, [&](size_t begin, size_t count) {
    if (scale_ == Scale::kMeanMagnitude) {
      kernels::Magnitudes run;
      runs.Form(begin, count, run);
      total.sum += run.sum;
      total.zeros += run.zeros;
    } else {
      double sum_squares = 0;
      const std::span<const float> run = runs.FormSumSquares(begin, count, sum_squares);
      total.sum += sum_squares;
      if (zeros_ == Zeros::kExact) total.zeros += kernels::CountZeros(run);
    }
  });
  return total;
}

float Sign::ScaleOf(const Measured& measured, size_t elements) const {
  const size_t count = zeros_ == Zeros::kExact ? elements - measured.zeros : elements;
  if (count == 0) return 0;
  constexpr double kLargest = std::numeric_limits<float>::max();  // a rounded sum may lead a hair's breadth beyond
  const double mean = measured.sum / static_cast<double>(count);
  return static_cast<float>(std::min(scale_ == Scale::kMeanMagnitude ? mean : std::sqrt(mean), kLargest));
}

size_t Sign::MaxBodyBytes(const Shape& shape) const {
  const Blocks blocks(shape.elements(), block_);
  if (blocks.segments() == 0) return 0;
  const size_t last = blocks.segments() - 1;
  const size_t flags = zeros_ == Zeros::kExact ? BytesOfBits(blocks.segments()) : 0;
  return blocks.scales() * sizeof(float) + flags + last * SegmentBytes(blocks.Size(0)) +
         SegmentBytes(blocks.Size(last));
}

size_t Sign::SegmentBytes(size_t elements) const {
  const size_t zeros = zeros_ == Zeros::kExact ? 2 * VarintBytes(elements) + BytesOfBits(elements) + 1 : 0;
  return BytesOfBits(elements) + zeros;
}

void Sign::EncodeSegment(const Segment& segment, MessageRuns& runs, ByteWriter& out) const {
  // A segment of one run was formed when it was measured.
  const auto run_at = [&](size_t begin, size_t count) {
    return segment.is_formed ? runs.current() : runs.Form(begin, count);
  };
  const bool lists_zeros = segment.zeros > 0;
  if (lists_zeros) {
    const std::span<uint64_t> zeros = Scratch<uint64_t>(ScratchUse::kIndices, segment.elements);
    size_t found = 0;
    ForEachRun(segment.first, segment.elements, [&](size_t begin, size_t count) {
      const std::span<const float> run = run_at(begin, count);
      for (size_t i = 0; i < count; ++i) {
        zeros[found] = begin + i - segment.first;
        found += run[i] == 0 ? 1 : 0;
      }
    });
    PutZeros(zeros.first(segment.zeros), segment.elements, out);
  }
  const bool has_signs = zeros_ == Zeros::kPlus || (segment.scale != 0 && segment.zeros < segment.elements);
  const std::span<std::byte> signs = out.Claim(has_signs ? BytesOfBits(segment.elements) : 0);
  ForEachRun(segment.first, segment.elements, [&](size_t begin, size_t count) {
    const std::span<float> run = run_at(begin, count);
    const std::span<std::byte> bits =
        has_signs ? signs.subspan((begin - segment.first) / 8, BytesOfBits(count)) : signs;
    if (!runs.leaves_residual()) {
      if (has_signs) kernels::PackSigns(run, bits);
    } else if (!has_signs) {
      runs.Leave();  // zeros
    } else if (lists_zeros) {
      kernels::PackSignsAndSubtractFromNonZeros(run, segment.scale, bits, runs.sink());
    } else {
      kernels::PackSignsAndSubtract(run, segment.scale, bits, runs.sink());
    }
  });
}

absl::StatusOr<size_t> Sign::EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                            std::span<float> residual, std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("sign", message.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckFloats("sign", residual.size(), shape));
  return EncodeBlocks(message, residual, shape, body);
}

absl::StatusOr<size_t> Sign::Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                    std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("sign", x.size(), shape));
  return EncodeBlocks(x, {}, shape, body);
}

absl::StatusOr<size_t> Sign::EncodeBlocks(const Message& message, std::span<float> residual, const Shape& shape,
                                          std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckRoom("sign", body.size(), MaxBodyBytes(shape)));
  const Blocks blocks(message.size(), block_);
  if (blocks.segments() == 0) return 0;
  const bool exact = zeros_ == Zeros::kExact;
  ByteWriter head(body);
  const std::span<std::byte> scales = head.Claim(blocks.scales() * sizeof(float));
  const std::span<std::byte> flags = head.Claim(exact ? BytesOfBits(blocks.segments()) : 0);
  std::fill(flags.begin(), flags.end(), std::byte{0});

  // Under one scale for all, every segment is measured before the first is encoded.
  const bool one_scale = block_ == 0;
  float tensor_scale = 0;
  const std::span<Measured> measured = Scratch<Measured>(ScratchUse::kValues, one_scale ? blocks.segments() : 0);
  if (one_scale) {
    ParallelFor(blocks.segments(), blocks.Grain(), [&](size_t begin, size_t end) {
      MessageRuns runs(message, {});
      for (size_t b = begin; b < end; ++b) measured[b] = Measure(runs, blocks.FirstElement(b), blocks.Size(b));
    });
    Measured total;
    for (const Measured& segment : measured) {
      total.sum += segment.sum;
      total.zeros += segment.zeros;
    }
    if (!std::isfinite(total.sum)) return CheckFinite("sign", message);
    tensor_scale = ScaleOf(total, message.size());
    std::memcpy(scales.data(), &tensor_scale, sizeof(tensor_scale));
  }

  // Every piece writes where it would if all before it were as long as they can be; the gaps are closed below.
  const std::span<std::byte> data = body.subspan(head.written());
  const size_t grain = blocks.Grain();
  const size_t most_bytes = SegmentBytes(blocks.Size(0));
  const std::span<size_t> piece_bytes = Scratch<size_t>(ScratchUse::kStage, (blocks.segments() - 1) / grain + 1);
  std::fill(piece_bytes.begin(), piece_bytes.end(), 0);
  std::atomic<bool> is_finite = true;
  ParallelFor(blocks.segments(), grain, [&](size_t begin, size_t end) {
    MessageRuns runs(message, residual);
    ByteWriter out(data.subspan(begin * most_bytes));
    for (size_t b = begin; b < end; ++b) {
      Segment segment{.first = blocks.FirstElement(b), .elements = blocks.Size(b), .scale = tensor_scale};
      const Measured own = one_scale ? measured[b] : Measure(runs, segment.first, segment.elements);
      if (!one_scale) {
        if (!std::isfinite(own.sum)) is_finite = false;
        segment.is_formed = segment.elements <= MessageRuns::kMax;
        segment.scale = ScaleOf(own, segment.elements);
        std::memcpy(scales.data() + b * sizeof(float), &segment.scale, sizeof(float));
      }
      if (exact && segment.scale != 0) segment.zeros = own.zeros;  // of a block of nothing but zeros they are implied
      if (segment.zeros > 0) flags[b / 8] |= std::byte{1} << (b % 8);
      EncodeSegment(segment, runs, out);
    }
    piece_bytes[begin / grain] = out.written();
  });
  if (!is_finite) return CheckFinite("sign", message);

  size_t written = 0;
  for (size_t piece = 0; piece < piece_bytes.size(); ++piece) {
    const std::byte* const from = data.data() + piece * grain * most_bytes;
    if (from != data.data() + written) std::memmove(data.data() + written, from, piece_bytes[piece]);
    written += piece_bytes[piece];
  }
  return head.written() + written;
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
      {"scale", "l1|rms", "l1", "l1: the mean magnitude; rms: the root mean square, the better one under ef"},
  };
  return {
      .name = "sign",
      .id = CodecId::kSign,
      .summary = "one bit an element: its sign, times a scale of its block",
      .source =
          "Karimireddy, Rebjock, Stich and Jaggi 2019, arXiv:1901.09847; Seide et al. 2014; rms: Tang et al. 2021",
      .parameters = parameters,
      .create = [parameters](const SpecCall& call,
                             const CodecRegistry&) -> absl::StatusOr<std::shared_ptr<const Compressor>> {
        using internal::Sign;
        static constexpr std::array<std::string_view, 2> kZeros = {"exact", "plus"};
        static constexpr std::array<std::string_view, 2> kScales = {"l1", "rms"};
        SpecArguments arguments(call, parameters);
        const int64_t block = arguments.Integer("block", Sign::kDefaultBlock, 0, internal::Blocks::kMaxBlock);
        const std::string zeros = arguments.Word("zeros", kZeros[0], kZeros);
        const std::string scale = arguments.Word("scale", kScales[0], kScales);
        LACONIC_RETURN_IF_ERROR(arguments.Finish());
        return std::make_shared<const Sign>(static_cast<size_t>(block),
                                            zeros == "exact" ? Sign::Zeros::kExact : Sign::Zeros::kPlus,
                                            scale == "l1" ? Sign::Scale::kMeanMagnitude : Sign::Scale::kRootMeanSquare);
      },
      .examples = {"sign", "sign(block=64)", "sign(block=0)", "sign(block=1)", "sign(zeros=plus)",
                   "sign(block=0, zeros=plus)", "sign(scale=rms)", "sign(block=3, scale=rms)",
                   "sign(block=0, zeros=plus, scale=rms)"},
  };
}

}  // namespace laconic
