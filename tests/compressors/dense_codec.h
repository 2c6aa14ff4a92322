// What the tests of the dense codecs share: data, and what is measured on many draws.
#pragma once

#include <bit>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <numbers>
#include <vector>

#include "tests/compressors/sparse_codec.h"

namespace laconic {

using Floats = std::vector<float>;
using Bytes = std::vector<std::byte>;

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
inline constexpr float kLargestFloat = std::numeric_limits<float>::max();
inline constexpr float kSmallestDenormal = std::numeric_limits<float>::denorm_min();

// Standard normal (Box-Muller), the same on every run.
inline Floats Gaussian(size_t count, uint64_t seed = 1) {
  const CounterRng rng(RngKey{.seed = seed});
  Floats x(count);
  for (size_t i = 0; i < count; ++i) {
    const auto words = rng.Block(i);
    const double radius = std::sqrt(-2 * std::log((words[0] + 0.5) * 0x1p-32));
    x[i] = static_cast<float>(radius * std::cos(2 * std::numbers::pi * (words[1] + 0.5) * 0x1p-32));
  }
  return x;
}

inline double SquaredNorm(std::span<const float> x) {
  double sum = 0;
  for (const float value : x) sum += static_cast<double>(value) * value;
  return sum;
}

inline double SquaredDistance(std::span<const float> x, std::span<const float> y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += std::pow(static_cast<double>(x[i]) - y[i], 2);
  return sum;
}

// |C(x) - x|^2 / |x|^2, the mean over `draws` keys.
inline double RelativeError(const Compressor& codec, const Floats& x, int draws = 1) {
  double sum = 0;
  for (int t = 0; t < draws; ++t) {
    sum += SquaredDistance(RoundTrip(codec, x, {.seed = 3, .step = static_cast<uint64_t>(t)}), x);
  }
  return sum / draws / SquaredNorm(x);
}

// |mean of `draws` messages - x| / |x|. For an unbiased codec its root mean square is at most sqrt(omega / draws).
inline double RelativeBias(const Compressor& codec, const Floats& x, int draws) {
  std::vector<double> mean(x.size());
  for (int t = 0; t < draws; ++t) {
    const Floats y = RoundTrip(codec, x, {.seed = 4, .step = static_cast<uint64_t>(t)});
    for (size_t i = 0; i < x.size(); ++i) mean[i] += static_cast<double>(y[i]) / draws;
  }
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += std::pow(mean[i] - x[i], 2);
  return std::sqrt(sum / SquaredNorm(x));
}

inline Bytes MakeBytes(std::initializer_list<int> values) {
  Bytes bytes;
  for (const int value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

inline Bytes FloatBytes(float value) {
  const auto bytes = std::bit_cast<std::array<std::byte, sizeof(float)>>(value);
  return {bytes.begin(), bytes.end()};
}

inline Bytes Join(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

// The decoder's answer to `body` for a flat tensor.
inline absl::Status Decode(const Compressor& codec, const Bytes& body, size_t elements) {
  return DecodeBody(codec, body, elements).status();
}

// The encoder's answer to x; EncodeResidual must give the same.
inline absl::Status EncodeError(const Compressor& codec, const Floats& x) {
  const Shape shape = Shape::Flat(x.size());
  Bytes body(codec.MaxBodyBytes(shape));
  Floats residual(x.size());
  const absl::Status status = codec.Encode(x, shape, {}, body).status();
  EXPECT_EQ(codec.EncodeResidual(x, shape, {}, residual, body).status(), status);
  return status;
}

}  // namespace laconic
