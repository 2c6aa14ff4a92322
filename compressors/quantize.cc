#include "compressors/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "compressors/checks.h"
#include "laconic/base/byte_io.h"
#include "laconic/base/parallel.h"
#include "laconic/base/scratch.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

constexpr size_t kChunk = MessageRuns::kUsual;  // elements whose codes lie in bytes; a multiple of 8

constexpr size_t PackedBytes(size_t elements, int bits) { return (elements * static_cast<size_t>(bits) + 7) / 8; }

float ToFloat(double value) {  // the nearest float, at most the largest
  return static_cast<float>(std::min<double>(value, std::numeric_limits<float>::max()));
}

// One bit, nearest: bit 1 where the sign bit is 0.
void EncodeSigns(std::span<const float> x, float norm, std::span<std::byte> bits, const kernels::Sink& sink) {
  if (sink.out.empty()) {
    kernels::PackSigns(x, bits);
  } else {
    kernels::PackSignsAndSubtract(x, norm, bits, sink);
  }
  for (std::byte& byte : bits) byte = ~byte;
  if (const size_t rest = x.size() % 8; rest > 0) bits.back() &= static_cast<std::byte>((1u << rest) - 1);
}

std::string L2Refusal(uint64_t block, int bits, uint64_t levels) {
  return fmt::format(
      "quantize(bits={}, norm=l2, rounding=nearest) on blocks of {} >= 4 s^2 = {} (s = {} levels a side) can decode "
      "everything to zero: use norm=max, rounding=stochastic, more bits or a smaller block",
      bits, block, 4 * levels * levels, levels);
}

}  // namespace

std::string Quantize::ToString() const {
  return fmt::format("quantize(bits={}, block={}, rounding={}, norm={})", options_.bits, options_.block,
                     options_.rounding == Rounding::kNearest ? "nearest" : "stochastic",
                     options_.norm == Norm::kMax ? "max" : "l2");
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

NumberSection Quantize::Numbers(size_t body_bytes, const Shape& shape) const {
  const size_t norm_bytes = Blocks(shape.elements(), options_.block).scales() * sizeof(float);
  return {.offset = norm_bytes, .count = body_bytes - std::min(body_bytes, norm_bytes)};
}

double Quantize::Measure(MessageRuns& runs, size_t first, size_t elements) const {
  const bool is_mean = options_.bits == 1 && options_.rounding == Rounding::kNearest;
  double total = 0;
  ForEachRun(first, elements, [&](size_t begin, size_t count) {
    if (is_mean) {
      kernels::Magnitudes magnitudes;
      runs.Form(begin, count, magnitudes);
      total += magnitudes.sum;
    } else if (options_.norm == Norm::kL2) {
      double squares = 0;
      runs.FormSumSquares(begin, count, squares);
      total += squares;
    } else {
      float largest = 0;
      runs.Form(begin, count, largest);
      total = LargerMagnitude(total, static_cast<double>(largest));
    }
  });
  return total;
}

float Quantize::NormOf(double measured, uint64_t elements) const {
  if (options_.bits == 1 && options_.rounding == Rounding::kNearest) {
    return ToFloat(measured / static_cast<double>(elements));
  }
  return ToFloat(options_.norm == Norm::kL2 ? std::sqrt(measured) : measured);
}

void Quantize::EncodeSegment(const Segment& segment, const CounterRng& rng, MessageRuns& runs,
                             std::span<std::byte> packed) const {
  const bool is_stochastic = options_.rounding == Rounding::kStochastic;
  const kernels::Levels levels = kernels::Levels::Of(gain(), segment.norm);
  std::array<uint8_t, kChunk> code_chunk;
  std::array<uint32_t, kChunk> word_chunk;
  ForEachRun(segment.first, segment.elements, [&](size_t begin, size_t count) {
    const std::span<float> run = segment.is_formed ? runs.current() : runs.Form(begin, count);
    for (size_t i = 0; i < count; i += kChunk) {
      const size_t length = std::min(kChunk, count - i);
      const std::span<const float> x = run.subspan(i, length);
      const std::span<std::byte> bytes =
          packed.subspan(PackedBytes(begin - segment.first + i, options_.bits), PackedBytes(length, options_.bits));
      // Codes of eight bits need no packing.
      const std::span<uint8_t> codes = options_.bits == 8 ? std::span(reinterpret_cast<uint8_t*>(bytes.data()), length)
                                                          : std::span(code_chunk).first(length);
      const kernels::Sink sink = runs.sink(i, length);
      if (options_.bits == 1 && !is_stochastic) {
        EncodeSigns(x, segment.norm, bytes, sink);
        continue;
      }
      if (segment.norm == 0) {
        std::fill(codes.begin(), codes.end(), static_cast<uint8_t>((last_code() + 1) / 2));  // level 0
        if (!sink.out.empty()) kernels::StoreRun(x, sink);
      } else if (is_stochastic) {
        const std::span<uint32_t> words = std::span(word_chunk).first(length);
        kernels::RandomWords(rng.derived_key(), begin + i, words);
        kernels::QuantizeStochastic(x, levels, words, codes, sink);
      } else {
        kernels::QuantizeNearest(x, levels, codes, sink);
      }
      if (options_.bits < 8) kernels::PackCodes(codes, options_.bits, bytes);
    }
  });
}

absl::StatusOr<size_t> Quantize::EncodeBlocks(const Message& message, std::span<float> residual, const Shape& shape,
                                              const RngKey& key, std::span<std::byte> body) const {
  const size_t body_bytes = MaxBodyBytes(shape);
  LACONIC_RETURN_IF_ERROR(CheckRoom("quantize", body.size(), body_bytes));
  const Blocks blocks(message.size(), options_.block);
  if (blocks.segments() == 0) return 0;
  std::byte* const norms = body.data();
  const std::span<std::byte> codes = body.subspan(blocks.scales() * sizeof(float));
  const size_t segment_bytes = PackedBytes(blocks.Size(0), options_.bits);

  // Under one norm for all, every segment is measured before the first is encoded.
  const bool one_norm = options_.block == 0;
  float tensor_norm = 0;
  if (one_norm) {
    const std::span<double> measured = Scratch<double>(ScratchUse::kValues, blocks.segments());
    ParallelFor(blocks.segments(), blocks.Grain(), [&](size_t begin, size_t end) {
      MessageRuns runs(message, {});
      for (size_t b = begin; b < end; ++b) measured[b] = Measure(runs, blocks.FirstElement(b), blocks.Size(b));
    });
    const bool is_max = options_.norm == Norm::kMax && !(options_.bits == 1 && options_.rounding == Rounding::kNearest);
    double total = 0;
    for (const double segment : measured) {
      total = is_max ? LargerMagnitude(total, segment) : total + segment;
    }
    if (!std::isfinite(total)) return CheckFinite("quantize", message);
    tensor_norm = NormOf(total, message.size());
    std::memcpy(norms, &tensor_norm, sizeof(tensor_norm));
  }

  const CounterRng rng(key);
  std::atomic<bool> is_finite = true;
  ParallelFor(blocks.segments(), blocks.Grain(), [&](size_t begin, size_t end) {
    MessageRuns runs(message, residual);
    for (size_t b = begin; b < end; ++b) {
      Segment segment{.index = b, .first = blocks.FirstElement(b), .elements = blocks.Size(b), .norm = tensor_norm};
      if (!one_norm) {
        const double measured = Measure(runs, segment.first, segment.elements);
        if (!std::isfinite(measured)) {
          is_finite = false;
          return;
        }
        segment.is_formed = segment.elements <= MessageRuns::kMax;
        segment.norm = NormOf(measured, segment.elements);
        std::memcpy(norms + b * sizeof(float), &segment.norm, sizeof(float));
      }
      EncodeSegment(segment, rng, runs, codes.subspan(b * segment_bytes, PackedBytes(segment.elements, options_.bits)));
    }
  });
  if (!is_finite) return CheckFinite("quantize", message);
  return body_bytes;
}

absl::StatusOr<size_t> Quantize::Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                        std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("quantize", x.size(), shape));
  return EncodeBlocks(x, {}, shape, key, body);
}

absl::StatusOr<size_t> Quantize::EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                                std::span<float> residual, std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("quantize", message.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckFloats("quantize", residual.size(), shape));
  return EncodeBlocks(message, residual, shape, key, body);
}

absl::Status Quantize::DecodeSegment(std::span<const std::byte> packed, const Segment& segment, float scale,
                                     std::span<float> acc) const {
  std::array<uint8_t, kChunk> code_chunk;
  if (!PaddingIsZero(packed, segment.elements * static_cast<size_t>(options_.bits))) {
    return absl::DataLossError(fmt::format("quantize body: padding of block {} is not zero", segment.index));
  }
  for (size_t i = 0; i < segment.elements; i += kChunk) {
    const size_t length = std::min(kChunk, segment.elements - i);
    const std::span<uint8_t> codes = std::span(code_chunk).first(length);
    kernels::UnpackCodes(packed.subspan(PackedBytes(i, options_.bits), PackedBytes(length, options_.bits)),
                         options_.bits, codes);
    if (const size_t bad = kernels::FirstAbove(codes, last_code()); bad < length) {
      return absl::DataLossError(fmt::format("quantize body: code of element {} is {}, expected 0..{}",
                                             segment.first + i + bad, codes[bad], last_code()));
    }
    kernels::DequantizeAdd(codes, gain(), segment.norm, scale, acc.subspan(segment.first + i, length));
  }
  return absl::OkStatus();
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

  const std::span<const std::byte> codes = body.subspan(norms.size_bytes());
  const size_t segment_bytes = PackedBytes(blocks.Size(0), options_.bits);
  FirstFailure failure;
  ParallelFor(blocks.segments(), blocks.Grain(), [&](size_t begin, size_t end) {
    for (size_t b = begin; b < end; ++b) {
      const Segment segment{
          .index = b, .first = blocks.FirstElement(b), .elements = blocks.Size(b), .norm = norms[blocks.ScaleOf(b)]};
      const std::span<const std::byte> packed =
          codes.subspan(b * segment_bytes, PackedBytes(segment.elements, options_.bits));
      if (absl::Status status = DecodeSegment(packed, segment, scale, acc); !status.ok()) {
        return failure.Set(begin, std::move(status));
      }
    }
  });
  return failure.status();
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
