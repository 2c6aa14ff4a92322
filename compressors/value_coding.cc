#include "compressors/value_coding.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>

#include "compressors/float16.h"

namespace laconic::internal {
namespace {

constexpr std::array<std::string_view, 3> kNames = {"fp32", "fp16", "bf16"};

// Exponents e of fp16 blocks: that of the largest magnitude (-149 .. 127) less 15.
constexpr int kMinExponent = -149 - 15;
constexpr int kMaxExponent = 127 - 15;

int16_t ExponentOf(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::fabs(value));
  return largest == 0 ? int16_t{0} : static_cast<int16_t>(std::ilogb(largest) - 15);
}

template <typename T>
void Store(std::span<std::byte> out, size_t index, T value) {
  std::memcpy(out.data() + index * sizeof(T), &value, sizeof(T));
}

template <typename T>
T Load(std::span<const std::byte> in, uint64_t index) {
  T value;
  std::memcpy(&value, in.data() + index * sizeof(T), sizeof(T));
  return value;
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
      const double unit = std::ldexp(1.0, -exponent);
      Store(out, 0, exponent);
      out = out.subspan(sizeof(exponent));
      // Exact in double. Products too small for a float's normal range are far below the smallest half: they become
      // zero.
      for (size_t i = 0; i < values.size(); ++i) Store(out, i, FloatToHalf(static_cast<float>(values[i] * unit)));
      return;
    }
    case ValueFormat::kBf16:
      for (size_t i = 0; i < values.size(); ++i) Store(out, i, FloatToBfloat16(values[i]));
      return;
  }
}

absl::StatusOr<ValueReader> ValueReader::Open(ValueFormat format, uint64_t count, std::span<const std::byte> block) {
  if (block.size() != ValueBytes(format, count)) {
    return absl::DataLossError(fmt::format("{} bytes hold {} {} values, expected {}", block.size(), count,
                                           internal::ToString(format), ValueBytes(format, count)));
  }
  if (format != ValueFormat::kFp16 || count == 0) return ValueReader(format, block, 1.0);
  const auto exponent = Load<int16_t>(block, 0);
  if (exponent < kMinExponent || exponent > kMaxExponent) {
    return absl::DataLossError(fmt::format("exponent {} outside {}..{}", exponent, kMinExponent, kMaxExponent));
  }
  return ValueReader(format, block.subspan(sizeof(exponent)), std::ldexp(1.0, exponent));
}

absl::Status ValueReader::Read(uint64_t first, std::span<float> out) const {
  switch (format_) {
    case ValueFormat::kFp32:
      if (!out.empty()) std::memcpy(out.data(), values_.data() + first * sizeof(float), out.size_bytes());
      break;
    case ValueFormat::kFp16:
      for (size_t j = 0; j < out.size(); ++j) {
        out[j] = static_cast<float>(HalfToFloat(Load<uint16_t>(values_, first + j)) * unit_);
      }
      break;
    case ValueFormat::kBf16:
      for (size_t j = 0; j < out.size(); ++j) out[j] = Bfloat16ToFloat(Load<uint16_t>(values_, first + j));
      break;
  }
  bool finite = true;
  for (const float value : out) finite &= std::isfinite(value);
  if (finite) return absl::OkStatus();
  const auto bad = std::find_if(out.begin(), out.end(), [](float value) { return !std::isfinite(value); });
  return absl::DataLossError(fmt::format("value {} is {}", first + static_cast<uint64_t>(bad - out.begin()), *bad));
}

}  // namespace laconic::internal
