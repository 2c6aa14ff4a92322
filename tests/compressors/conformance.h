// What the conformance suites share: data of every kind, shapes, and a fixture around one codec of the registry.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "laconic/base/rng.h"
#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/compressor.h"

namespace laconic::conformance {

using Floats = std::vector<float>;
using Bytes = std::vector<std::byte>;

// ---- Data ----

// Draw `index` of a standard normal.
inline double Normal(const CounterRng& rng, uint64_t index) {
  const auto words = rng.Block(index);
  const double u = (words[0] + 0.5) * 0x1p-32;
  const double v = (words[1] + 0.5) * 0x1p-32;
  return std::sqrt(-2 * std::log(u)) * std::cos(2 * M_PI * v);
}

struct Data {
  const char* name;
  std::function<float(const CounterRng& rng, size_t i, size_t count)> element;
};

// What the claims are held on.
inline const Data kData[] = {
    {"gaussian", [](const CounterRng& rng, size_t i, size_t) { return static_cast<float>(Normal(rng, i)); }},
    {"heavy-tailed",  // Student t with 3 degrees of freedom
     [](const CounterRng& rng, size_t i, size_t) {
       double chi_square = 0;
       for (size_t j = 1; j <= 3; ++j) chi_square += std::pow(Normal(rng, 4 * i + j), 2);
       return static_cast<float>(Normal(rng, 4 * i) / std::sqrt(chi_square / 3));
     }},
    {"sparse",
     [](const CounterRng& rng, size_t i, size_t) { return i % 23 == 5 ? static_cast<float>(Normal(rng, i)) : 0.0f; }},
    {"constant", [](const CounterRng&, size_t, size_t) { return 0.7f; }},
    {"alternating", [](const CounterRng&, size_t i, size_t) { return i % 2 == 0 ? 1.5f : -1.5f; }},
    // In a matrix of 16 columns a whole diagonal: the flat spectrum, worst for low rank.
    {"diagonal", [](const CounterRng&, size_t i, size_t) { return i % 17 == 0 && i < 16 * 17 ? 1.0f : 0.0f; }},
    {"one-hot", [](const CounterRng&, size_t i, size_t count) { return i == count / 2 ? -3.0f : 0.0f; }},
};

inline Floats Make(const Data& data, size_t count, uint64_t seed = 1) {
  const CounterRng rng(RngKey{.seed = seed});
  Floats x(count);
  for (size_t i = 0; i < count; ++i) x[i] = data.element(rng, i, count);
  return x;
}

inline Floats Gaussian(size_t count, uint64_t seed = 1) { return Make(kData[0], count, seed); }

inline double SquaredNorm(std::span<const float> x) {
  return std::accumulate(x.begin(), x.end(), 0.0, [](double sum, double value) { return sum + value * value; });
}

inline double SquaredDistance(std::span<const float> x, std::span<const float> y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += std::pow(static_cast<double>(x[i]) - y[i], 2);
  return sum;
}

// Equal bit for bit, but for the sign of zeros.
inline ::testing::AssertionResult SameValues(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return ::testing::AssertionFailure() << a.size() << " and " << b.size() << " elements";
  for (size_t i = 0; i < a.size(); ++i) {
    if (!(a[i] == b[i])) return ::testing::AssertionFailure() << "element " << i << ": " << a[i] << " and " << b[i];
  }
  return ::testing::AssertionSuccess();
}

// For comparisons that tell zeros and NaNs apart.
inline std::vector<uint32_t> BitsOf(std::span<const float> x) {
  std::vector<uint32_t> bits(x.size());
  std::transform(x.begin(), x.end(), bits.begin(), [](float value) { return std::bit_cast<uint32_t>(value); });
  return bits;
}

inline bool AllFinite(std::span<const float> x) {
  return std::all_of(x.begin(), x.end(), [](float value) { return std::isfinite(value); });
}

// ---- Specs and shapes ----

inline std::vector<std::string> AllSpecs() {
  std::vector<std::string> specs;
  for (const CodecInfo& codec : CodecRegistry::BuiltIn().codecs()) {
    specs.insert(specs.end(), codec.examples.begin(), codec.examples.end());
  }
  return specs;
}

inline std::vector<Shape> AllShapes() {
  std::vector<Shape> shapes = {Shape(),         Shape({1, 1}),        Shape({16, 16}),
                               Shape({40, 24}), Shape({24, 3, 3, 3}), Shape({17, 300})};
  for (const uint64_t length : {0, 1, 2, 7, 8, 9, 63, 64, 65, 127, 300, 511, 512, 513, 2047, 2048, 2049, 4100}) {
    shapes.push_back(Shape::Flat(length));
  }
  return shapes;
}

// Shapes on which one property is tried many times over.
inline std::vector<Shape> SmallShapes() { return {Shape::Flat(1), Shape::Flat(65), Shape::Flat(300), Shape({24, 16})}; }

class Conformance : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto codec = CodecRegistry::BuiltIn().Create(GetParam());
    ASSERT_TRUE(codec.ok()) << codec.status();
    codec_ = *codec;
  }

  // Calls check(shape) on those of `shapes` that the codec takes: one at least.
  void ForSupported(const std::vector<Shape>& shapes, const std::function<void(const Shape&)>& check) const {
    int supported = 0;
    for (const Shape& shape : shapes) {
      if (!codec_->Supports(shape).ok()) continue;
      ++supported;
      SCOPED_TRACE(shape.ToString());
      check(shape);
    }
    EXPECT_GT(supported, 0) << "no shape tried";
  }

  Bytes Encode(std::span<const float> x, const Shape& shape, const RngKey& key = {.seed = 5}) const {
    Bytes body(codec_->MaxBodyBytes(shape));
    const auto written = codec_->Encode(x, shape, key, body);
    EXPECT_TRUE(written.ok()) << written.status();
    // Not only a smaller size: a buffer of exactly the body, so that a sanitizer sees every read past it.
    return Bytes(body.begin(), body.begin() + static_cast<ptrdiff_t>(written.ok() ? *written : 0));
  }

  Floats Decode(std::span<const std::byte> body, const Shape& shape) const {
    Floats y(shape.elements());
    const absl::Status status = codec_->DecodeAdd(body, shape, 1.0f, y);
    EXPECT_TRUE(status.ok()) << status;
    return y;
  }

  // An untrusted body must give finite values or DataLoss.
  void ExpectValueOrDataLoss(const Bytes& body, const Shape& shape) const {
    Floats y(shape.elements());
    const absl::Status status = codec_->DecodeAdd(body, shape, 1.0f, y);
    if (status.ok()) {
      EXPECT_TRUE(AllFinite(y)) << "a body of " << body.size() << " bytes decoded to non-finite values";
    } else {
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
      EXPECT_FALSE(status.message().empty());
    }
  }

  // C(x) for `count` independent keys, one only where the codec ignores its key.
  std::vector<Floats> Samples(const Floats& x, const Shape& shape, size_t count) const {
    std::vector<Floats> samples;
    if (codec_->traits(shape).deterministic) count = 1;
    for (size_t k = 0; k < count; ++k) {
      samples.push_back(Decode(Encode(x, shape, RngKey{.seed = 17, .step = k}), shape));
    }
    return samples;
  }

  // Holds E|C(x) - x|^2 <= bound |x|^2.
  void ExpectErrorWithin(double bound, const std::vector<Floats>& samples, const Floats& x) const {
    const double norm = SquaredNorm(x);
    double mean = 0, largest = 0;
    for (const Floats& y : samples) {
      const double ratio = norm == 0 ? SquaredDistance(x, y) : SquaredDistance(x, y) / norm;
      mean += ratio / static_cast<double>(samples.size());
      largest = std::max(largest, ratio);
    }
    // A variable in [0, largest] with mean <= bound has variance <= largest * bound (Bhatia and Davis 2000), so its
    // sample mean exceeds the bound by five of its standard errors with probability 3e-7 in the normal approximation. A
    // deterministic codec has no such allowance. Rounding: decoded values carry 2^-24 of themselves, factors of a
    // product 2^-23.
    const double slack = samples.size() == 1 ? 0 : 5 * std::sqrt(largest * bound / static_cast<double>(samples.size()));
    EXPECT_LE(mean, bound + slack + 1e-5 * bound + 1e-12) << "largest ratio " << largest;
  }

  std::shared_ptr<const Compressor> codec_;
};

inline constexpr size_t kSamples = 2000;

inline std::string TestName(const ::testing::TestParamInfo<std::string>& info) {
  std::string name;
  for (const char c : info.param) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      name += c;
    } else if (!name.empty() && name.back() != '_') {
      name += '_';
    }
  }
  return name + "_" + std::to_string(info.index);
}

}  // namespace laconic::conformance
