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

constexpr std::array<std::string_view, 4> kNames = {"fp32", "fp16", "bf16", "q2"};

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

// ---- Two bits ----

constexpr size_t kGroup = 1024;
constexpr size_t kGroupHeaderBytes = 2 * sizeof(float);
constexpr size_t kGroupBytes = kGroupHeaderBytes + kGroup / 4;
constexpr unsigned kLarge = 1, kNegative = 2;  // bits of a code

struct Magnitudes {
  float small = 0, large = 0;
};

// The means of the magnitudes up to `edge` and above it; both the same where all lie on one side.
Magnitudes MeansAround(float edge, std::span<const float> group) {
  std::array<double, 2> sum{};
  std::array<size_t, 2> count{};
  for (const float value : group) {
    const bool large = std::abs(value) > edge;
    sum[large] += std::abs(value);
    ++count[large];
  }
  const auto mean = [&](size_t part) { return static_cast<float>(sum[part] / static_cast<double>(count[part])); };
  const size_t some = count[0] > 0 ? 0 : 1;
  return {.small = mean(some), .large = mean(count[1] > 0 ? 1 : some)};
}

// Two magnitudes and where to split between them (Lloyd 1982).
float BestEdge(std::span<const float> group, Magnitudes& magnitudes) {
  constexpr int kRounds = 4;
  double sum = 0;
  for (const float value : group) sum += std::abs(value);
  auto edge = static_cast<float>(sum / static_cast<double>(group.size()));
  magnitudes = MeansAround(edge, group);
  for (int round = 1; round < kRounds; ++round) {
    edge = static_cast<float>((double{magnitudes.small} + magnitudes.large) / 2);
    magnitudes = MeansAround(edge, group);
  }
  return edge;
}

void EncodeGroup(std::span<const float> group, std::span<std::byte> out) {
  Magnitudes magnitudes;
  const float edge = BestEdge(group, magnitudes);
  std::memcpy(out.data(), &magnitudes.small, sizeof(float));
  std::memcpy(out.data() + sizeof(float), &magnitudes.large, sizeof(float));
  out = out.subspan(kGroupHeaderBytes);
  std::fill(out.begin(), out.end(), std::byte{0});
  for (size_t i = 0; i < group.size(); ++i) {
    const unsigned code = (std::abs(group[i]) > edge ? kLarge : 0) | (std::signbit(group[i]) ? kNegative : 0);
    out[i / 4] |= static_cast<std::byte>(code << (2 * (i % 4)));
  }
}

// Values [first, first + out.size()) of a group.
void DecodeGroup(std::span<const std::byte> group, size_t first, std::span<float> out) {
  std::array<float, 4> values;  // by code
  std::memcpy(values.data(), group.data(), kGroupHeaderBytes);
  values[kNegative] = -values[0];
  values[kNegative | kLarge] = -values[kLarge];
  group = group.subspan(kGroupHeaderBytes);
  for (size_t j = 0; j < out.size(); ++j) {
    const size_t i = first + j;
    out[j] = values[std::to_integer<unsigned>(group[i / 4]) >> (2 * (i % 4)) & 3];
  }
}

}  // namespace

std::string_view ToString(ValueFormat format) { return kNames[static_cast<size_t>(format)]; }

ParameterInfo ValueFormatParameter() {
  return {"values", "fp32|fp16|bf16|q2", "fp32",
          "format of the kept values; q2: two bits each; the rounding error stays in the residual"};
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
    case ValueFormat::kQ2:
      // The largest means are rounded to floats.
      return count <= 1 ? 0 : 1 - (1 - 0x1p-22) / static_cast<double>(std::min<uint64_t>(count, kGroup));
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
    case ValueFormat::kQ2:
      return (count + kGroup - 1) / kGroup * kGroupHeaderBytes + (count + 3) / 4;
  }
  return 0;
}

NumberSection NumbersAtEnd(ValueFormat format, uint64_t count, size_t body_bytes) {
  if (format == ValueFormat::kQ2) return {.count = body_bytes};
  constexpr std::array<NumberFormat, 3> kFormats = {NumberFormat::kFp32, NumberFormat::kFp16, NumberFormat::kBf16};
  const size_t bytes = count * (format == ValueFormat::kFp32 ? sizeof(float) : sizeof(uint16_t));
  return {.offset = body_bytes - std::min(body_bytes, bytes),
          .count = count,
          .format = kFormats[static_cast<size_t>(format)]};
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
    case ValueFormat::kQ2:
      for (size_t first = 0; first < values.size(); first += kGroup) {
        const std::span<const float> group = values.subspan(first, std::min(kGroup, values.size() - first));
        EncodeGroup(group, out.subspan(first / kGroup * kGroupBytes, ValueBytes(format, group.size())));
      }
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
  if (format == ValueFormat::kQ2 && count % 4 != 0 &&
      std::to_integer<unsigned>(block.back()) >> (2 * (count % 4)) != 0) {
    return absl::DataLossError(fmt::format("bits left over after {} values", count));
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
    case ValueFormat::kQ2:
      for (size_t done = 0; done < out.size();) {
        const size_t at = first + done;
        const std::span<float> some = out.subspan(done, std::min(out.size() - done, kGroup - at % kGroup));
        DecodeGroup(values_.subspan(at / kGroup * kGroupBytes), at % kGroup, some);
        done += some.size();
      }
      break;
  }
  const size_t bad = kernels::FirstNonFinite(out);
  if (bad == out.size()) return absl::OkStatus();
  return absl::DataLossError(fmt::format("value {} is {}", first + bad, out[bad]));
}

}  // namespace laconic::internal
