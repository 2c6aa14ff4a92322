#include "compressors/natural.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>

#include "compressors/checks.h"
#include "compressors/kernels/kernels.h"
#include "compressors/message_runs.h"
#include "laconic/base/parallel.h"
#include "laconic/base/rng.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

constexpr size_t kRun = MessageRuns::kUsual;  // a multiple of 8: runs begin at whole bytes of sign bits
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

absl::StatusOr<size_t> Natural::EncodeElements(const Message& message, std::span<float> residual, const Shape& shape,
                                               const RngKey& key, std::span<std::byte> body) const {
  const size_t body_bytes = MaxBodyBytes(shape);
  LACONIC_RETURN_IF_ERROR(CheckRoom("natural", body.size(), body_bytes));
  const CounterRng rng(key);
  const std::span<std::byte> signs = body.subspan(message.size(), SignBytes(message.size()));
  std::atomic<bool> is_finite = true;
  ParallelFor(message.size(), kGrain, [&](size_t begin, size_t end) {
    MessageRuns runs(message, residual);
    std::array<uint32_t, kRun> word_run;
    for (size_t first = begin; first < end; first += kRun) {
      const size_t count = std::min(kRun, end - first);
      float largest = 0;
      const std::span<const float> run = runs.Form(first, count, largest);
      if (!std::isfinite(largest)) {
        is_finite = false;
        return;
      }
      const std::span<uint32_t> words = std::span<uint32_t>(word_run).first(count);
      const std::span<uint8_t> exponents(reinterpret_cast<uint8_t*>(body.data()) + first, count);
      kernels::RandomWords(rng.derived_key(), first, words);
      kernels::RoundToPowersOfTwo(run, words, exponents, runs.sink());
      kernels::PackSigns(run, signs.subspan(first / 8, SignBytes(count)));
    }
  });
  if (!is_finite) return CheckFinite("natural", message);
  return body_bytes;
}

absl::StatusOr<size_t> Natural::Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                       std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("natural", x.size(), shape));
  return EncodeElements(x, {}, shape, key, body);
}

absl::StatusOr<size_t> Natural::EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                               std::span<float> residual, std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("natural", message.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckFloats("natural", residual.size(), shape));
  return EncodeElements(message, residual, shape, key, body);
}

absl::Status Natural::DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                                std::span<float> acc) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("natural", acc.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckBodyBytes("natural", body.size(), MaxBodyBytes(shape)));
  if (acc.empty()) return absl::OkStatus();
  const std::span<const uint8_t> exponents(reinterpret_cast<const uint8_t*>(body.data()), acc.size());
  const std::span<const std::byte> signs = body.subspan(acc.size());
  if (!PaddingIsZero(signs, acc.size())) return absl::DataLossError("natural body: padding of the signs is not zero");
  FirstFailure failure;
  ParallelFor(acc.size(), kGrain, [&](size_t begin, size_t end) {
    for (size_t first = begin; first < end; first += kRun) {
      const size_t count = std::min(kRun, end - first);
      const std::span<const uint8_t> run = exponents.subspan(first, count);
      if (const size_t bad = kernels::FirstAbove(run, kLargestExponent); bad < count) {
        return failure.Set(begin, absl::DataLossError(fmt::format(
                                      "natural body: exponent of element {} is 255, expected 0..254", first + bad)));
      }
      kernels::AddPowersOfTwo(run, signs.subspan(first / 8, SignBytes(count)), scale, acc.subspan(first, count));
    }
  });
  return failure.status();
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
