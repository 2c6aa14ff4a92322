#include "compressors/cast.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "compressors/checks.h"
#include "compressors/kernels/kernels.h"
#include "laconic/base/byte_io.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

constexpr int kTargetExponent = 14;                        // the largest scaled magnitude lies in [2^14, 2^15)
constexpr int kMinExponent = -149 - kTargetExponent;       // of the smallest denormal float
constexpr int kMaxExponent = 127 - kTargetExponent;        // of the largest float
constexpr uint16_t kHalfBelowTop = (15 + 15) * 0x400 - 1;  // the half, and the bfloat16, just below 2^15
constexpr uint16_t kBfloat16BelowTop = (127 + 15) * 0x80 - 1;
constexpr size_t kRun = 512;

// With E = kMaxExponent a magnitude that rounded up to 2^15 would decode to 2^128, which is no float.
void LimitToFloat(uint16_t largest, std::span<uint16_t> wire) {
  for (uint16_t& value : wire) {
    value = static_cast<uint16_t>((value & 0x8000) | std::min<uint16_t>(value & 0x7fff, largest));
  }
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

void Cast::ToWire(std::span<const float> x, int exponent, std::span<uint16_t> wire) const {
  if (format_ == Format::kFp16) {
    kernels::ToHalves(x, -exponent, wire);
  } else {
    kernels::ToBfloat16s(x, -exponent, wire);
  }
  if (exponent == kMaxExponent) LimitToFloat(format_ == Format::kFp16 ? kHalfBelowTop : kBfloat16BelowTop, wire);
}

void Cast::FromWire(std::span<const uint16_t> wire, int exponent, std::span<float> x) const {
  if (format_ == Format::kFp16) {
    kernels::FromHalves(wire, exponent, x);
  } else {
    kernels::FromBfloat16s(wire, exponent, x);
  }
}

absl::StatusOr<size_t> Cast::EncodeElements(std::span<const float> x, std::span<float> residual, const Shape& shape,
                                            std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("cast", x.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckRoom("cast", body.size(), MaxBodyBytes(shape)));
  if (x.empty()) return 0;
  ByteWriter out(body);
  int exponent = 0;
  if (scale_ == Scale::kAuto) {
    const float largest = kernels::AbsMax(x);
    if (!std::isfinite(largest)) return CheckFinite("cast", x);
    if (largest > 0) exponent = std::ilogb(largest) - kTargetExponent;
    out.Put(static_cast<int32_t>(exponent));
  } else {
    LACONIC_RETURN_IF_ERROR(CheckFinite("cast", x));
  }
  std::array<uint16_t, kRun> wire_run;
  std::array<float, kRun> decoded_run;
  for (size_t first = 0; first < x.size(); first += kRun) {
    const size_t count = std::min(kRun, x.size() - first);
    const std::span<uint16_t> wire = std::span<uint16_t>(wire_run).first(count);
    ToWire(x.subspan(first, count), exponent, wire);
    out.PutArray<uint16_t>(wire);
    if (residual.empty()) continue;
    const std::span<float> decoded = std::span<float>(decoded_run).first(count);
    FromWire(wire, exponent, decoded);
    kernels::ScaleAdd(decoded, -1.0f, residual.subspan(first, count));
  }
  LACONIC_RETURN_IF_ERROR(out.Finish("cast body"));
  return out.written();
}

absl::StatusOr<size_t> Cast::Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                    std::span<std::byte> body) const {
  return EncodeElements(x, {}, shape, body);
}

absl::StatusOr<size_t> Cast::EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                            std::span<float> residual, std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("cast", message.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckFloats("cast", residual.size(), shape));
  message.Form(0, residual);
  return EncodeElements(residual, residual, shape, body);
}

absl::Status Cast::DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                             std::span<float> acc) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("cast", acc.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckBodyBytes("cast", body.size(), MaxBodyBytes(shape)));
  if (acc.empty()) return absl::OkStatus();
  ByteReader in(body);
  const int32_t exponent = scale_ == Scale::kAuto ? in.Get<int32_t>() : 0;
  if (exponent < kMinExponent || exponent > kMaxExponent) {
    return absl::DataLossError(
        fmt::format("cast body: exponent {}, expected {}..{}", exponent, kMinExponent, kMaxExponent));
  }
  std::array<uint16_t, kRun> wire_run;
  std::array<float, kRun> decoded_run;
  for (size_t first = 0; first < acc.size(); first += kRun) {
    const size_t count = std::min(kRun, acc.size() - first);
    const std::span<uint16_t> wire = std::span<uint16_t>(wire_run).first(count);
    const std::span<float> decoded = std::span<float>(decoded_run).first(count);
    std::memcpy(wire.data(), in.Take(wire.size_bytes()).data(), wire.size_bytes());
    FromWire(wire, exponent, decoded);
    if (const size_t bad = kernels::FirstNonFinite(decoded); bad < count) {
      return absl::DataLossError(fmt::format("cast body: element {} is {}", first + bad, decoded[bad]));
    }
    kernels::ScaleAdd(decoded, scale, acc.subspan(first, count));
  }
  return in.Finish("cast body");
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
