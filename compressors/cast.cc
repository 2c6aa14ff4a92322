#include "compressors/cast.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <mutex>

#include "compressors/checks.h"
#include "compressors/kernels/kernels.h"
#include "compressors/message_runs.h"
#include "laconic/base/parallel.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

constexpr int kTargetExponent = 14;                   // the largest scaled magnitude lies in [2^14, 2^15)
constexpr int kMinExponent = -149 - kTargetExponent;  // of the smallest denormal float
constexpr int kMaxExponent = 127 - kTargetExponent;   // of the largest float
constexpr size_t kRun = MessageRuns::kUsual;
constexpr size_t kSampledRuns = 256;  // one run in that many
constexpr int kGuessedExponent = 9;   // the largest sampled magnitude, scaled, lies in [2^9, 2^10)

// The largest magnitude on the wire. With E = kMaxExponent one that rounded up to 2^15 would decode to 2^128, which is
// no float: there it is the value just below.
float Limit(bool is_half, int exponent) {
  if (exponent == kMaxExponent) return is_half ? 0x1.ffcp14f : 0x1.fep14f;
  return is_half ? 65504.0f : 0x1.fep127f;
}

}  // namespace

std::string Cast::ToString() const {
  return fmt::format("cast(to={}, scale={})", format_ == Format::kFp16 ? "fp16" : "bf16",
                     scale_ == Scale::kAuto ? "auto" : "none");
}

Traits Cast::traits(const Shape& shape) const {
  Traits traits;
  traits.deterministic = true;
  traits.fixed_size = true;
  traits.suggested_eta = 1;
  if (format_ == Format::kBf16) {
    traits.delta = 1 - 0x1p-16;
  } else if (scale_ == Scale::kAuto) {
    traits.delta = 1 - 0x1p-22;
  }
  return traits;
}

size_t Cast::MaxBodyBytes(const Shape& shape) const {
  if (shape.elements() == 0) return 0;
  return (scale_ == Scale::kAuto ? sizeof(int32_t) : 0) + shape.elements() * sizeof(uint16_t);
}

NumberSection Cast::Numbers(size_t body_bytes, const Shape& shape) const {
  return {.offset = scale_ == Scale::kAuto ? sizeof(int32_t) : 0,
          .count = shape.elements(),
          .format = format_ == Format::kFp16 ? NumberFormat::kFp16 : NumberFormat::kBf16};
}

void Cast::FromWire(std::span<const uint16_t> wire, int exponent, std::span<float> x) const {
  if (format_ == Format::kFp16) {
    kernels::FromHalves(wire, exponent, x);
  } else {
    kernels::FromBfloat16s(wire, exponent, x);
  }
}

absl::StatusOr<size_t> Cast::EncodeElements(const Message& message, std::span<float> residual, const Shape& shape,
                                            std::span<std::byte> body) const {
  const size_t body_bytes = MaxBodyBytes(shape);
  LACONIC_RETURN_IF_ERROR(CheckRoom("cast", body.size(), body_bytes));
  if (message.size() == 0) return 0;
  if (scale_ == Scale::kNone) {
    if (!std::isfinite(EncodeScaled(message, residual, 0, body))) return CheckFinite("cast", message);
    return body_bytes;
  }
  const std::span<std::byte> elements = body.subspan(sizeof(int32_t));
  std::optional<int32_t> exponent = GuessExponent(message);
  if (exponent) {
    const float largest = EncodeScaled(message, residual, *exponent, elements);
    if (!std::isfinite(largest)) return CheckFinite("cast", message);
    if (std::ilogb(largest) - *exponent > kTargetExponent) exponent.reset();
  }
  if (!exponent) {
    const float largest = LargestMagnitude(message);
    if (!std::isfinite(largest)) return CheckFinite("cast", message);
    exponent = largest > 0 ? std::ilogb(largest) - kTargetExponent : 0;
    EncodeScaled(message, residual, *exponent, elements);
  }
  std::memcpy(body.data(), &*exponent, sizeof(int32_t));
  return body_bytes;
}

std::optional<int32_t> Cast::GuessExponent(const Message& message) {
  if (message.size() <= kExactElements) return std::nullopt;
  MessageRuns runs(message, {});
  float largest = 0;
  for (size_t first = 0; first + kRun <= message.size(); first += kSampledRuns * kRun) {
    float run = 0;
    runs.Form(first, kRun, run);
    largest = LargerMagnitude(largest, run);
  }
  if (largest == 0 || !std::isfinite(largest)) return std::nullopt;
  return std::min(std::ilogb(largest) - kGuessedExponent, kMaxExponent);
}

float Cast::EncodeScaled(const Message& message, std::span<float> residual, int exponent,
                         std::span<std::byte> elements) const {
  const bool is_half = format_ == Format::kFp16;
  const float limit = Limit(is_half, exponent);
  std::mutex mutex;
  float total = 0;
  ParallelFor(message.size(), kGrain, [&](size_t begin, size_t end) {
    MessageRuns runs(message, residual);
    std::array<uint16_t, kRun> wire_run;
    float largest = 0;
    for (size_t first = begin; first < end && std::isfinite(largest); first += kRun) {
      const size_t count = std::min(kRun, end - first);
      float run_largest = 0;
      const std::span<const float> run = runs.Form(first, count, run_largest);
      largest = LargerMagnitude(largest, run_largest);
      const std::span<uint16_t> wire = std::span<uint16_t>(wire_run).first(count);
      if (is_half) {
        kernels::ToHalves(run, -exponent, limit, wire, runs.sink());
      } else {
        kernels::ToBfloat16s(run, -exponent, limit, wire, runs.sink());
      }
      std::memcpy(elements.data() + first * sizeof(uint16_t), wire.data(), wire.size_bytes());
    }
    std::lock_guard lock(mutex);
    total = LargerMagnitude(total, largest);
  });
  return total;
}

absl::StatusOr<size_t> Cast::Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                    std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("cast", x.size(), shape));
  return EncodeElements(x, {}, shape, body);
}

absl::StatusOr<size_t> Cast::EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                            std::span<float> residual, std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("cast", message.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckFloats("cast", residual.size(), shape));
  return EncodeElements(message, residual, shape, body);
}

absl::Status Cast::DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                             std::span<float> acc) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("cast", acc.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckBodyBytes("cast", body.size(), MaxBodyBytes(shape)));
  if (acc.empty()) return absl::OkStatus();
  int32_t exponent = 0;
  if (scale_ == Scale::kAuto) {
    std::memcpy(&exponent, body.data(), sizeof(exponent));
    body = body.subspan(sizeof(exponent));
  }
  if (exponent < kMinExponent || exponent > kMaxExponent) {
    return absl::DataLossError(
        fmt::format("cast body: exponent {}, expected {}..{}", exponent, kMinExponent, kMaxExponent));
  }
  FirstFailure failure;
  ParallelFor(acc.size(), kGrain, [&](size_t begin, size_t end) {
    std::array<uint16_t, kRun> wire_run;
    std::array<float, kRun> decoded_run;
    for (size_t first = begin; first < end; first += kRun) {
      const size_t count = std::min(kRun, end - first);
      const std::span<uint16_t> wire = std::span<uint16_t>(wire_run).first(count);
      const std::span<float> decoded = std::span<float>(decoded_run).first(count);
      std::memcpy(wire.data(), body.data() + first * sizeof(uint16_t), wire.size_bytes());
      FromWire(wire, exponent, decoded);
      if (const size_t bad = kernels::FirstNonFinite(decoded); bad < count) {
        return failure.Set(begin,
                           absl::DataLossError(fmt::format("cast body: element {} is {}", first + bad, decoded[bad])));
      }
      kernels::ScaleAdd(decoded, scale, acc.subspan(first, count));
    }
  });
  return failure.status();
}

}  // namespace laconic::internal

namespace laconic {

CodecInfo CastInfo() {
  std::vector<ParameterInfo> parameters = {
      {"to", "fp16|bf16", "", "the format on the wire"},
      {"scale", "auto|none", "auto",
       "auto: a power of two per tensor keeps all magnitudes in range; none: as they are"},
  };
  return {
      .name = "cast",
      .id = CodecId::kCast,
      .summary = "half precision: IEEE binary16 or bfloat16, rounded to nearest",
      .source = "IEEE 754-2008; Micikevicius et al. 2018, arXiv:1710.03740",
      .parameters = parameters,
      .create = [parameters](const SpecCall& call,
                             const CodecRegistry&) -> absl::StatusOr<std::shared_ptr<const Compressor>> {
        using internal::Cast;
        static constexpr std::array<std::string_view, 2> kFormats = {"fp16", "bf16"};
        static constexpr std::array<std::string_view, 2> kScales = {"auto", "none"};
        SpecArguments arguments(call, parameters);
        const bool has_format = arguments.Has("to");
        const std::string format = arguments.Word("to", kFormats[0], kFormats);
        const std::string scale = arguments.Word("scale", kScales[0], kScales);
        LACONIC_RETURN_IF_ERROR(arguments.Finish());
        if (!has_format) return SpecError(call.column, "cast needs to=fp16 or to=bf16");
        return std::make_shared<const Cast>(format == "fp16" ? Cast::Format::kFp16 : Cast::Format::kBf16,
                                            scale == "auto" ? Cast::Scale::kAuto : Cast::Scale::kNone);
      },
      .examples = {"cast(to=fp16)", "cast(to=bf16)", "cast(to=fp16, scale=none)", "cast(to=bf16, scale=none)"},
  };
}

}  // namespace laconic
