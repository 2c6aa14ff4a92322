#include "compressors/natural.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "compressors/checks.h"
#include "compressors/kernels/kernels.h"
#include "laconic/base/rng.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

constexpr size_t kRun = 512;  // a multiple of 8: runs begin at whole bytes of sign bits
constexpr uint8_t kLargestExponent = 254;

constexpr size_t SignBytes(size_t elements) { return (elements + 7) / 8; }

}  // namespace

Traits Natural::traits(const Shape& shape) const {
  Traits traits;
  traits.omega = 0.125;
  traits.fixed_size = true;
  return traits;
}

size_t Natural::MaxBodyBytes(const Shape& shape) const { return shape.elements() + SignBytes(shape.elements()); }

absl::StatusOr<size_t> Natural::EncodeElements(std::span<const float> x, std::span<float> residual, const Shape& shape,
                                               const RngKey& key, std::span<std::byte> body) const {
  const size_t body_bytes = MaxBodyBytes(shape);
  LACONIC_RETURN_IF_ERROR(CheckFloats("natural", x.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckRoom("natural", body.size(), body_bytes));
  LACONIC_RETURN_IF_ERROR(CheckFinite("natural", x));
  const CounterRng rng(key);
  const std::span<std::byte> signs = body.subspan(x.size(), SignBytes(x.size()));
  std::array<uint32_t, kRun> word_run;
  std::array<uint8_t, kRun> exponent_run;
  for (size_t first = 0; first < x.size(); first += kRun) {
    const size_t count = std::min(kRun, x.size() - first);
    const std::span<uint32_t> words = std::span<uint32_t>(word_run).first(count);
    const std::span<uint8_t> exponents = std::span<uint8_t>(exponent_run).first(count);
    const std::span<std::byte> sign_run = signs.subspan(first / 8, SignBytes(count));
    rng.Words(first, words);
    kernels::RoundToPowersOfTwo(x.subspan(first, count), words, exponents);
    std::memcpy(body.data() + first, exponents.data(), count);
    kernels::PackSigns(x.subspan(first, count), sign_run);
    if (!residual.empty()) kernels::AddPowersOfTwo(exponents, sign_run, -1.0f, residual.subspan(first, count));
  }
  return body_bytes;
}

absl::StatusOr<size_t> Natural::Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                       std::span<std::byte> body) const {
  return EncodeElements(x, {}, shape, key, body);
}

absl::StatusOr<size_t> Natural::EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                               std::span<float> residual, std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("natural", message.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckFloats("natural", residual.size(), shape));
  message.Form(0, residual);
  return EncodeElements(residual, residual, shape, key, body);
}

absl::Status Natural::DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                                std::span<float> acc) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("natural", acc.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckBodyBytes("natural", body.size(), MaxBodyBytes(shape)));
  if (acc.empty()) return absl::OkStatus();
  const std::span<const uint8_t> exponents(reinterpret_cast<const uint8_t*>(body.data()), acc.size());
  const std::span<const std::byte> signs = body.subspan(acc.size());
  if (const size_t bad = kernels::FirstAbove(exponents, kLargestExponent); bad < exponents.size()) {
    return absl::DataLossError(fmt::format("natural body: exponent of element {} is 255, expected 0..254", bad));
  }
  if (!PaddingIsZero(signs, acc.size())) return absl::DataLossError("natural body: padding of the signs is not zero");
  kernels::AddPowersOfTwo(exponents, signs, scale, acc);
  return absl::OkStatus();
}

}  // namespace laconic::internal

namespace laconic {

CodecInfo NaturalInfo() {
  return {
      .name = "natural",
      .id = CodecId::kNatural,
      .summary = "magnitudes rounded at random to powers of two: 9 bits an element, unbiased",
      .source = "Horvath, Ho, Horvath, Sahu, Canini and Richtarik 2019, arXiv:1905.10988",
      .parameters = {},
      .create = [](const SpecCall& call, const CodecRegistry&) -> absl::StatusOr<std::shared_ptr<const Compressor>> {
        LACONIC_RETURN_IF_ERROR(SpecArguments(call, {}).Finish());
        return std::make_shared<const internal::Natural>();
      },
      .examples = {"natural"},
  };
}

}  // namespace laconic
