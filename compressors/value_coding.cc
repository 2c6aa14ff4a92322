#include "compressors/value_coding.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>

#include "compressors/kernels/kernels.h"

namespace laconic::internal {
namespace {

constexpr std::array<std::string_view, 3> kNames = {"fp32", "fp16", "bf16"};

// Exponents e of fp16 blocks: that of the largest magnitude (-149 .. 127) less 15.
constexpr int kMinExponent = -149 - 15;
constexpr int kMaxExponent = 127 - 15;

int16_t ExponentOf(std::span<const float> values) {
  const float largest = kernels::AbsMax(values);
  return largest == 0 ? int16_t{0} : static_cast<int16_t>(std::ilogb(largest) - 15);
}

// Wire halves have no alignment: they are copied in and out, a chunk at a time.
constexpr size_t kChunk = 256;

// convert(some floats, their 16 bits each) for all of them, and stores those at out.
template <typename Convert>
void StoreHalves(std::span<const float> values, std::span<std::byte> out, Convert convert) {
  std::array<uint16_t, kChunk> chunk;
  for (size_t first = 0; first < values.size(); first += kChunk) {
    const std::span<const float> some = values.subspan(first, std::min(kChunk, values.size() - first));
    const auto halves = std::span(chunk).first(some.size());
    convert(some, halves);
    std::memcpy(out.data() + first * sizeof(uint16_t), halves.data(), halves.size_bytes());
  }
}

// convert(their 16 bits each, some floats) for all of them, read at in.
template <typename Convert>
void LoadHalves(std::span<const std::byte> in, std::span<float> values, Convert convert) {
  std::array<uint16_t, kChunk> chunk;
  for (size_t first = 0; first < values.size(); first += kChunk) {
    const std::span<float> some = values.subspan(first, std::min(kChunk, values.size() - first));
    const auto halves = std::span(chunk).first(some.size());
    std::memcpy(halves.data(), in.data() + first * sizeof(uint16_t), halves.size_bytes());
    convert(halves, some);
  }
}

}  // namespace

std::string_view ToString(ValueFormat format) { return kNames[static_cast<size_t>(format)]; }

ParameterInfo ValueFormatParameter() {
  return {"values", "fp32|fp16|bf16", "fp32", "format of the kept values; the rounding error stays in the residual"};
}

ValueFormat TakeValueFormat(SpecArguments& arguments) {
  const std::string word = arguments.Word("values", kNames[0], kNames);
  return static_cast<ValueFormat>(std::find(kNames.begin(), kNames.end(), word) - kNames.begin());
}

double RelativeLoss(ValueFormat format, uint64_t count) {
  switch (format) {
    case ValueFormat::kFp32:
      return 0;
    case ValueFormat::kFp16:
      return 0x1p-22 + static_cast<double>(count) * 0x1p-80;
    case ValueFormat::kBf16:
      return 0x1p-16;
  }
  return 0;
}

size_t ValueBytes(ValueFormat format, uint64_t count) {
  switch (format) {
    case ValueFormat::kFp32:
      return count * sizeof(float);
    case ValueFormat::kFp16:
      return count == 0 ? 0 : sizeof(int16_t) + count * sizeof(uint16_t);
    case ValueFormat::kBf16:
      return count * sizeof(uint16_t);
  }
  return 0;
}

void EncodeValues(ValueFormat format, std::span<const float> values, std::span<std::byte> out) {
  assert(out.size() == ValueBytes(format, values.size()));
  if (values.empty()) return;
  switch (format) {
    case ValueFormat::kFp32:
      std::memcpy(out.data(), values.data(), values.size_bytes());
      return;
    case ValueFormat::kFp16: {
      const int16_t exponent = ExponentOf(values);
      std::memcpy(out.data(), &exponent, sizeof(exponent));
      // Exact, but for products below a float's normal range: those are far below the smallest half and become zero.
      StoreHalves(values, out.subspan(sizeof(exponent)),
                  [=](auto some, auto halves) { kernels::ToHalves(some, -exponent, halves); });
      return;
    }
    case ValueFormat::kBf16:
      StoreHalves(values, out, [](auto some, auto halves) { kernels::ToBfloat16s(some, 0, halves); });
      return;
  }
}

absl::Status DecodeValues(ValueFormat format, std::span<const std::byte> block, std::span<float> values) {
  const absl::StatusOr<ValueReader> reader = ValueReader::Open(format, values.size(), block);
  return reader.ok() ? reader->Read(0, values) : reader.status();
}

absl::StatusOr<ValueReader> ValueReader::Open(ValueFormat format, uint64_t count, std::span<const std::byte> block) {
  if (block.size() != ValueBytes(format, count)) {
    return absl::DataLossError(fmt::format("{} bytes hold {} {} values, expected {}", block.size(), count,
                                           internal::ToString(format), ValueBytes(format, count)));
  }
  if (format != ValueFormat::kFp16 || count == 0) return ValueReader(format, block, 0);
  int16_t exponent = 0;
  std::memcpy(&exponent, block.data(), sizeof(exponent));
  if (exponent < kMinExponent || exponent > kMaxExponent) {
    return absl::DataLossError(fmt::format("exponent {} outside {}..{}", exponent, kMinExponent, kMaxExponent));
  }
  return ValueReader(format, block.subspan(sizeof(exponent)), exponent);
}

absl::Status ValueReader::Read(uint64_t first, std::span<float> out) const {
  switch (format_) {
    case ValueFormat::kFp32:
      if (!out.empty()) std::memcpy(out.data(), values_.data() + first * sizeof(float), out.size_bytes());
      break;
    case ValueFormat::kFp16:
      LoadHalves(values_.subspan(first * sizeof(uint16_t)), out,
                 [&](auto halves, auto some) { kernels::FromHalves(halves, exponent_, some); });
      break;
    case ValueFormat::kBf16:
      LoadHalves(values_.subspan(first * sizeof(uint16_t)), out,
                 [](auto halves, auto some) { kernels::FromBfloat16s(halves, 0, some); });
      break;
  }
  const size_t bad = kernels::FirstNonFinite(out);
  if (bad == out.size()) return absl::OkStatus();
  return absl::DataLossError(fmt::format("value {} is {}", first + bad, out[bad]));
}

}  // namespace laconic::internal
