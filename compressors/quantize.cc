#include "compressors/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "compressors/checks.h"
#include "laconic/base/byte_io.h"
#include "laconic/base/scratch.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

constexpr size_t kRun = 512;  // a multiple of 8: runs within a segment begin at whole bytes

constexpr size_t PackedBytes(size_t elements, int bits) { return (elements * static_cast<size_t>(bits) + 7) / 8; }

// Calls visit(segment, first element, elements) for runs of at most kRun elements that do not cross segments, until it
// fails.
template <typename Visit>
absl::Status ForEachRun(const Blocks& blocks, Visit visit) {
  for (size_t b = 0; b < blocks.segments(); ++b) {
    const size_t end = blocks.FirstElement(b) + blocks.Size(b);
    for (size_t first = blocks.FirstElement(b); first < end; first += kRun) {
      LACONIC_RETURN_IF_ERROR(visit(b, first, std::min(kRun, end - first)));
    }
  }
  return absl::OkStatus();
}

float ToFloat(double value) {  // the nearest float, at most the largest
  return static_cast<float>(std::min<double>(value, std::numeric_limits<float>::max()));
}

std::string L2Refusal(uint64_t block, int bits, uint64_t levels) {
  return fmt::format(
      "quantize(bits={}, norm=l2, rounding=nearest) on blocks of {} >= 4 s^2 = {} (s = {} levels a side) can decode "
      "everything to zero: use norm=max, rounding=stochastic, more bits or a smaller block",
      bits, block, 4 * levels * levels, levels);
}

}  // namespace

Quantize::Quantize(const Options& options) : options_(options) {
  if (options_.bits == 1) {
    code_count_ = 2;
    ratios_[0] = -1;
    ratios_[1] = 1;
    return;
  }
  const int s = LevelsPerSide();
  code_count_ = static_cast<size_t>(2 * s + 1);
  for (int code = 0; code <= 2 * s; ++code) {
    ratios_[static_cast<size_t>(code)] = static_cast<float>(code - s) / static_cast<float>(s);
  }
}

std::string Quantize::ToString() const {
  return fmt::format("quantize(bits={}, block={}, rounding={}, norm={})", options_.bits, options_.block,
                     options_.rounding == Rounding::kNearest ? "nearest" : "stochastic",
                     options_.norm == Norm::kMax ? "max" : "l2");
}

kernels::Grid Quantize::grid() const {
  const float gain = options_.bits == 1 ? 0.5f : static_cast<float>(LevelsPerSide());
  return {.gain = gain, .offset = gain, .ratios = std::span<const float>(ratios_).first(code_count_)};
}

Traits Quantize::traits(const Shape& shape) const {
  Traits traits;
  traits.deterministic = options_.rounding == Rounding::kNearest;
  traits.fixed_size = true;
  const auto block =
      static_cast<double>(std::max<uint64_t>(Blocks(shape.elements(), options_.block).LargestBlock(), 1));
  const double s = LevelsPerSide();
  if (options_.rounding == Rounding::kNearest) {
    if (options_.bits == 1) {
      traits.delta = 1 / block;
    } else if (options_.norm == Norm::kMax) {
      traits.delta = 1 / (1 + (block - 1) / (4 * s * s));
    } else if (block < 4 * s * s) {
      traits.delta = 1 - block / (4 * s * s);
    }
  } else if (options_.bits == 1) {
    traits.omega = block - 1;
  } else if (options_.norm == Norm::kMax) {
    traits.omega = (std::sqrt(1 + (block - 1) / (s * s)) - 1) / 2;
  } else {
    traits.omega = std::min(block / (s * s), std::sqrt(block) / s);
  }
  return traits;
}

absl::Status Quantize::Supports(const Shape& shape) const {
  const uint64_t block = Blocks(shape.elements(), options_.block).LargestBlock();
  const auto s = static_cast<uint64_t>(LevelsPerSide());
  if (options_.norm == Norm::kMax || options_.rounding == Rounding::kStochastic || block < 4 * s * s) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(L2Refusal(block, options_.bits, s));
}

size_t Quantize::MaxBodyBytes(const Shape& shape) const {
  const Blocks blocks(shape.elements(), options_.block);
  return blocks.scales() * sizeof(float) + blocks.PackedBytes(static_cast<size_t>(options_.bits));
}

absl::Status Quantize::MeasureNorms(std::span<const float> x, const Blocks& blocks, std::span<float> norms) const {
  const bool mean = options_.bits == 1 && options_.rounding == Rounding::kNearest;
  double total = 0;    // of the block so far: the largest magnitude, or a sum
  uint64_t count = 0;  // elements in it
  for (size_t b = 0; b < blocks.segments(); ++b) {
    const std::span<const float> segment = blocks.Slice(x, b);
    if (mean) {
      total += kernels::SumAbs(segment);
    } else if (options_.norm == Norm::kL2) {
      total += kernels::SumSquares(segment);
    } else if (const double largest = kernels::AbsMax(segment); !(largest <= total)) {
      total = largest;
    }
    count += segment.size();
    if (!std::isfinite(total)) return CheckFinite("quantize", x);
    if (b + 1 < blocks.segments() && blocks.ScaleOf(b + 1) == blocks.ScaleOf(b)) continue;
    if (mean) {
      total /= static_cast<double>(count);
    } else if (options_.norm == Norm::kL2) {
      total = std::sqrt(total);
    }
    norms[blocks.ScaleOf(b)] = ToFloat(total);
    total = 0;
    count = 0;
  }
  return absl::OkStatus();
}

void Quantize::Codes(std::span<const float> x, float norm, std::span<const uint32_t> words,
                     std::span<uint8_t> codes) const {
  if (options_.bits == 1 && options_.rounding == Rounding::kNearest) {
    for (size_t i = 0; i < x.size(); ++i) codes[i] = std::signbit(x[i]) ? 0 : 1;
  } else if (norm == 0) {
    std::fill(codes.begin(), codes.end(), static_cast<uint8_t>(code_count_ / 2));  // level 0
  } else if (options_.rounding == Rounding::kNearest) {
    kernels::QuantizeNearest(x, grid(), norm, codes);
  } else {
    kernels::QuantizeStochastic(x, grid(), norm, words, codes);
  }
}

absl::StatusOr<size_t> Quantize::EncodeBlocks(std::span<const float> x, std::span<float> residual, const Shape& shape,
                                              const RngKey& key, std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("quantize", x.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckRoom("quantize", body.size(), MaxBodyBytes(shape)));
  const Blocks blocks(x.size(), options_.block);
  const std::span<float> norms = Scratch<float>(ScratchUse::kValues, blocks.scales());
  LACONIC_RETURN_IF_ERROR(MeasureNorms(x, blocks, norms));
  ByteWriter out(body);
  out.PutArray<float>(norms);

  const CounterRng rng(key);
  std::array<uint32_t, kRun> word_run{};
  std::array<uint8_t, kRun> code_run;
  LACONIC_RETURN_IF_ERROR(ForEachRun(blocks, [&](size_t segment, size_t first, size_t count) {
    const float norm = norms[blocks.ScaleOf(segment)];
    const std::span<uint32_t> words = std::span<uint32_t>(word_run).first(count);
    const std::span<uint8_t> codes = std::span<uint8_t>(code_run).first(count);
    if (options_.rounding == Rounding::kStochastic) rng.Words(first, words);
    Codes(x.subspan(first, count), norm, words, codes);
    kernels::PackCodes(codes, options_.bits, out.Claim(PackedBytes(count, options_.bits)));
    if (!residual.empty()) kernels::DequantizeAdd(codes, grid(), norm, -1.0f, residual.subspan(first, count));
    return absl::OkStatus();
  }));
  LACONIC_RETURN_IF_ERROR(out.Finish("quantize body"));
  return out.written();
}

absl::StatusOr<size_t> Quantize::Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                        std::span<std::byte> body) const {
  return EncodeBlocks(x, {}, shape, key, body);
}

absl::StatusOr<size_t> Quantize::EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                                std::span<float> residual, std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("quantize", message.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckFloats("quantize", residual.size(), shape));
  message.Form(0, residual);
  return EncodeBlocks(residual, residual, shape, key, body);
}

absl::Status Quantize::DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                                 std::span<float> acc) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("quantize", acc.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckBodyBytes("quantize", body.size(), MaxBodyBytes(shape)));
  if (acc.empty()) return absl::OkStatus();
  const Blocks blocks(acc.size(), options_.block);
  ByteReader in(body);
  const std::span<float> norms = Scratch<float>(ScratchUse::kValues, blocks.scales());
  std::memcpy(norms.data(), in.Take(norms.size_bytes()).data(), norms.size_bytes());
  LACONIC_RETURN_IF_ERROR(CheckScales("quantize", norms));

  const auto last_code = static_cast<uint8_t>(code_count_ - 1);
  std::array<uint8_t, kRun> code_run;
  LACONIC_RETURN_IF_ERROR(ForEachRun(blocks, [&](size_t segment, size_t first, size_t count) -> absl::Status {
    const std::span<uint8_t> codes = std::span<uint8_t>(code_run).first(count);
    const std::span<const std::byte> packed = in.Take(PackedBytes(count, options_.bits));
    if (!PaddingIsZero(packed, count * static_cast<size_t>(options_.bits))) {
      return absl::DataLossError(fmt::format("quantize body: padding of block {} is not zero", segment));
    }
    kernels::UnpackCodes(packed, options_.bits, codes);
    if (const size_t bad = kernels::FirstAbove(codes, last_code); bad < count) {
      return absl::DataLossError(
          fmt::format("quantize body: code of element {} is {}, expected 0..{}", first + bad, codes[bad], last_code));
    }
    kernels::DequantizeAdd(codes, grid(), norms[blocks.ScaleOf(segment)], scale, acc.subspan(first, count));
    return absl::OkStatus();
  }));
  return in.Finish("quantize body");
}

}  // namespace laconic::internal

namespace laconic {

CodecInfo QuantizeInfo() {
  std::vector<ParameterInfo> parameters = {
      {"bits", "1..8", "4", "bits an element: 2^bits - 1 levels, zero among them (one bit: two)"},
      {"block", "0..65536", "512", "elements that share a norm; 0: the whole tensor"},
      {"rounding", "nearest|stochastic", "nearest", "nearest is contractive, stochastic unbiased"},
      {"norm", "max|l2", "max", "what the outermost levels stand for; l2 with stochastic is QSGD"},
  };
  return {
      .name = "quantize",
      .id = CodecId::kQuantize,
      .summary = "a uniform grid of 1 to 8 bits an element, scaled block by block",
      .source = "Alistarh, Grubic, Li, Tomioka and Vojnovic 2017, arXiv:1610.02132; Wen et al. 2017, arXiv:1705.07878",
      .parameters = parameters,
      .create = [parameters](const SpecCall& call,
                             const CodecRegistry&) -> absl::StatusOr<std::shared_ptr<const Compressor>> {
        using internal::Quantize;
        static constexpr std::array<std::string_view, 2> kRoundings = {"nearest", "stochastic"};
        static constexpr std::array<std::string_view, 2> kNorms = {"max", "l2"};
        Quantize::Options options;
        SpecArguments arguments(call, parameters);
        options.bits = static_cast<int>(arguments.Integer("bits", options.bits, 1, 8));
        options.block = static_cast<size_t>(arguments.Integer("block", static_cast<int64_t>(options.block), 0,
                                                              static_cast<int64_t>(internal::Blocks::kMaxBlock)));
        if (arguments.Word("rounding", kRoundings[0], kRoundings) == "stochastic") {
          options.rounding = Quantize::Rounding::kStochastic;
        }
        if (arguments.Word("norm", kNorms[0], kNorms) == "l2") options.norm = Quantize::Norm::kL2;
        LACONIC_RETURN_IF_ERROR(arguments.Finish());
        if (options.bits == 1 && options.norm == Quantize::Norm::kL2) {
          return SpecError(call.column,
                           "quantize(bits=1) takes norm=max only: with two levels l2 would merely add variance");
        }
        auto codec = std::make_shared<const Quantize>(options);
        // A block that is refused on any tensor that fills it is refused at once.
        if (absl::Status status = codec->Supports(Shape::Flat(options.block)); !status.ok()) {
          return SpecError(call.column, std::string(status.message()));
        }
        return codec;
      },
      .examples = {"quantize", "quantize(bits=1)", "quantize(bits=2)", "quantize(bits=3, block=7)",
                   "quantize(bits=8, block=0)", "quantize(bits=1, block=16, rounding=stochastic)",
                   "quantize(bits=2, block=64, rounding=stochastic)", "quantize(bits=4, rounding=stochastic)",
                   "quantize(bits=5, rounding=stochastic, norm=l2)", "quantize(bits=8, block=1, rounding=stochastic)",
                   "quantize(bits=6, block=256, norm=l2)"},
  };
}

}  // namespace laconic
