// Every promise of compressor.h, held against every example spec of every registered codec, on flat and matrix shapes.
// A new codec is covered the moment it is registered.
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

namespace laconic {
namespace {

using ::testing::HasSubstr;

using Floats = std::vector<float>;
using Bytes = std::vector<std::byte>;

// ---- Data ----

// Draw `index` of a standard normal.
double Normal(const CounterRng& rng, uint64_t index) {
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
const Data kData[] = {
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

Floats Make(const Data& data, size_t count, uint64_t seed = 1) {
  const CounterRng rng(RngKey{.seed = seed});
  Floats x(count);
  for (size_t i = 0; i < count; ++i) x[i] = data.element(rng, i, count);
  return x;
}

Floats Gaussian(size_t count, uint64_t seed = 1) { return Make(kData[0], count, seed); }

double SquaredNorm(std::span<const float> x) {
  return std::accumulate(x.begin(), x.end(), 0.0, [](double sum, double value) { return sum + value * value; });
}

double SquaredDistance(std::span<const float> x, std::span<const float> y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += std::pow(static_cast<double>(x[i]) - y[i], 2);
  return sum;
}

// Equal bit for bit, but for the sign of zeros.
::testing::AssertionResult SameValues(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return ::testing::AssertionFailure() << a.size() << " and " << b.size() << " elements";
  for (size_t i = 0; i < a.size(); ++i) {
    if (!(a[i] == b[i])) return ::testing::AssertionFailure() << "element " << i << ": " << a[i] << " and " << b[i];
  }
  return ::testing::AssertionSuccess();
}

// For comparisons that tell zeros and NaNs apart.
std::vector<uint32_t> BitsOf(std::span<const float> x) {
  std::vector<uint32_t> bits(x.size());
  std::transform(x.begin(), x.end(), bits.begin(), [](float value) { return std::bit_cast<uint32_t>(value); });
  return bits;
}

bool AllFinite(std::span<const float> x) {
  return std::all_of(x.begin(), x.end(), [](float value) { return std::isfinite(value); });
}

// ---- Specs and shapes ----

std::vector<std::string> AllSpecs() {
  std::vector<std::string> specs;
  for (const CodecInfo& codec : CodecRegistry::BuiltIn().codecs()) {
    specs.insert(specs.end(), codec.examples.begin(), codec.examples.end());
  }
  return specs;
}

std::vector<Shape> AllShapes() {
  std::vector<Shape> shapes = {Shape(),         Shape({1, 1}),        Shape({16, 16}),
                               Shape({40, 24}), Shape({24, 3, 3, 3}), Shape({17, 300})};
  for (const uint64_t length : {0, 1, 2, 7, 8, 9, 63, 64, 65, 127, 300, 511, 512, 513, 2047, 2048, 2049, 4100}) {
    shapes.push_back(Shape::Flat(length));
  }
  return shapes;
}

// Shapes on which one property is tried many times over.
std::vector<Shape> SmallShapes() { return {Shape::Flat(1), Shape::Flat(65), Shape::Flat(300), Shape({24, 16})}; }

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

constexpr size_t kSamples = 2000;

// ---- Claims ----

TEST_P(Conformance, Traits_AreInTheirRanges) {
  ForSupported(AllShapes(), [&](const Shape& shape) {
    const Traits traits = codec_->traits(shape);
    if (traits.delta.has_value()) {
      EXPECT_GT(*traits.delta, 0);
      EXPECT_LE(*traits.delta, 1);
    }
    if (traits.omega.has_value()) {
      EXPECT_GE(*traits.omega, 0);
    }
    EXPECT_GT(traits.suggested_eta, 0);
    EXPECT_LE(traits.suggested_eta, 1);
    EXPECT_EQ(traits.linear, codec_->NewLinearSession(shape, RngKey{}) != nullptr);
  });
}

TEST_P(Conformance, ClaimOfDelta_HoldsOnEveryKindOfData) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    const Traits traits = codec_->traits(shape);
    if (!traits.delta.has_value()) return;
    for (const Data& data : kData) {
      SCOPED_TRACE(data.name);
      const Floats x = Make(data, shape.elements());
      ExpectErrorWithin(1 - *traits.delta, Samples(x, shape, kSamples), x);
    }
  });
}

TEST_P(Conformance, ClaimOfMaxNormDelta_HoldsOnEveryKindOfData) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    const Traits traits = codec_->traits(shape);
    if (!traits.max_norm_delta.has_value()) return;
    EXPECT_GT(*traits.max_norm_delta, 0);
    for (const Data& data : kData) {
      SCOPED_TRACE(data.name);
      const Floats x = Make(data, shape.elements());
      for (const Floats& y : Samples(x, shape, 1)) {
        double error = 0, largest = 0;
        for (size_t i = 0; i < x.size(); ++i) {
          error = std::max(error, std::abs(static_cast<double>(y[i]) - x[i]));
          largest = std::max(largest, std::abs(static_cast<double>(x[i])));
        }
        EXPECT_LE(error, (1 - *traits.max_norm_delta + 0x1p-24) * largest);  // the scale is rounded to float32
      }
    }
  });
}

TEST_P(Conformance, ClaimOfOmega_HoldsOnEveryKindOfDataAndTheMeanIsUnbiased) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    const Traits traits = codec_->traits(shape);
    if (!traits.omega.has_value()) return;
    for (const Data& data : kData) {
      SCOPED_TRACE(data.name);
      const Floats x = Make(data, shape.elements());
      const double norm = SquaredNorm(x);
      const std::vector<Floats> samples = Samples(x, shape, kSamples);
      ExpectErrorWithin(*traits.omega, samples, x);
      if (norm == 0) continue;

      const double count = static_cast<double>(samples.size());
      std::vector<double> mean(x.size());
      double along = 0, along_squares = 0;  // <C(x) - x, x> / |x|^2: what a shrinking or stretching codec shows
      for (const Floats& y : samples) {
        double inner = 0;
        for (size_t i = 0; i < x.size(); ++i) {
          mean[i] += y[i] / count;
          inner += (static_cast<double>(y[i]) - x[i]) * x[i];
        }
        along += inner / norm / count;
        along_squares += std::pow(inner / norm, 2) / count;
      }
      // The deviation of the mean has E|mean - x|^2 <= omega |x|^2 / count. Whatever its directions, exceeding 25 times
      // that is at most as likely as a normal beyond five standard deviations, 6e-7.
      double deviation = 0;
      for (size_t i = 0; i < x.size(); ++i) deviation += std::pow(mean[i] - x[i], 2);
      EXPECT_LE(deviation / norm, 25 * *traits.omega / count + 1e-12);
      const double standard_error = std::sqrt(std::max(0.0, along_squares - along * along) / count);
      EXPECT_LE(std::abs(along), 6 * standard_error + 1e-6);
    }
  });
}

TEST_P(Conformance, DeterministicCodec_IgnoresItsKey) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    if (!codec_->traits(shape).deterministic) return;
    const Floats x = Gaussian(shape.elements());
    EXPECT_EQ(Encode(x, shape, RngKey{.seed = 1}), Encode(x, shape, RngKey{.seed = 2, .step = 9, .rank = 4}));
  });
}

// ---- Bytes ----

TEST_P(Conformance, AnyLength_EncodesWithinItsBoundAndDecodes) {
  ForSupported(AllShapes(), [&](const Shape& shape) {
    for (const Data& data : kData) {
      SCOPED_TRACE(data.name);
      const Bytes body = Encode(Make(data, shape.elements()), shape);
      EXPECT_LE(body.size(), codec_->MaxBodyBytes(shape));
      if (codec_->traits(shape).fixed_size) {
        EXPECT_EQ(body.size(), codec_->MaxBodyBytes(shape));
      }
      EXPECT_TRUE(AllFinite(Decode(body, shape)));
    }
  });
}

TEST_P(Conformance, Encode_LeavesInputAndBytesPastTheBoundAsTheyWere) {
  ForSupported(AllShapes(), [&](const Shape& shape) {
    const Floats x = Gaussian(shape.elements());
    const Floats before = x;
    const size_t bound = codec_->MaxBodyBytes(shape);
    Bytes body(bound + 64, std::byte{0xa5});
    ASSERT_TRUE(codec_->Encode(x, shape, RngKey{}, body).ok());
    EXPECT_EQ(x, before);
    EXPECT_TRUE(std::all_of(body.begin() + static_cast<ptrdiff_t>(bound), body.end(),
                            [](std::byte b) { return b == std::byte{0xa5}; }));
  });
}

TEST_P(Conformance, EncodeResidual_GivesTheSameBytesAndExactlyWhatIsMissing) {
  ForSupported(AllShapes(), [&](const Shape& shape) {
    for (const Data& data : kData) {
      SCOPED_TRACE(data.name);
      const Floats x = Make(data, shape.elements());
      const Bytes body = Encode(x, shape);
      const Floats y = Decode(body, shape);
      Floats residual(x.size());
      Bytes same(codec_->MaxBodyBytes(shape));
      const auto written = codec_->EncodeResidual(x, shape, RngKey{.seed = 5}, residual, same);
      ASSERT_TRUE(written.ok()) << written.status();
      same.resize(*written);
      EXPECT_EQ(same, body);
      Floats missing(x.size());
      for (size_t i = 0; i < x.size(); ++i) missing[i] = x[i] - y[i];
      EXPECT_TRUE(SameValues(residual, missing));
    }
  });
}

TEST_P(Conformance, EncodeResidual_FormsTheMessageOnTheWay) {
  ForSupported(AllShapes(), [&](const Shape& shape) {
    const size_t count = shape.elements();
    const Floats g = Gaussian(count), e = Gaussian(count, 2), h = Gaussian(count, 3), v = Gaussian(count, 4);
    for (const bool all : {false, true}) {
      Message message(g);
      message.error = e;
      if (all) {
        message.shift = h;
        message.momentum = v;
        message.momentum_weight = 0.75f;
        message.gradient_weight = 0.25f;
        message.error_weight = 0.5f;
      }
      Floats formed(count);
      for (size_t i = 0; i < count; ++i) {
        float u = g[i];
        if (all) {
          const float kept = 0.75f * v[i], fresh = 0.25f * g[i];
          u = kept + fresh;
          u -= h[i];
        }
        const float weighted = (all ? 0.5f : 1.0f) * e[i];
        formed[i] = u + weighted;
      }
      const Bytes body = Encode(formed, shape);
      const Floats y = Decode(body, shape);
      Floats residual(count);
      Bytes same(codec_->MaxBodyBytes(shape));
      const auto written = codec_->EncodeResidual(message, shape, RngKey{.seed = 5}, residual, same);
      ASSERT_TRUE(written.ok()) << written.status();
      same.resize(*written);
      EXPECT_EQ(same, body);
      for (size_t i = 0; i < count; ++i) formed[i] -= y[i];
      EXPECT_TRUE(SameValues(residual, formed));
    }
  });
}

TEST_P(Conformance, DecodeAdd_AccumulatesScaledWithTwoRoundings) {
  ForSupported(AllShapes(), [&](const Shape& shape) {
    const Bytes body = Encode(Gaussian(shape.elements()), shape);
    const Floats y = Decode(body, shape);
    const Floats start = Gaussian(shape.elements(), 2);
    for (const float scale : {1.0f, -1.0f, 0.3f, 0.0f}) {
      Floats acc = start;
      ASSERT_TRUE(codec_->DecodeAdd(body, shape, scale, acc).ok());
      Floats expected = start;
      for (size_t i = 0; i < y.size(); ++i) {
        const float product = scale * y[i];
        expected[i] += product;
      }
      EXPECT_TRUE(SameValues(acc, expected)) << "scale " << scale;
    }
  });
}

TEST_P(Conformance, AnyAlignment_GivesTheSameBytesAndValues) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    const size_t count = shape.elements();
    const Floats x = Gaussian(count);
    const Bytes body = Encode(x, shape);
    const Floats y = Decode(body, shape);
    for (size_t offset = 0; offset < 64; ++offset) {
      Floats moved_x(count + 16), acc(count + 16);
      const std::span<float> in = std::span(moved_x).subspan(offset % 16, count);
      const std::span<float> out = std::span(acc).subspan(15 - offset % 16, count);
      std::copy(x.begin(), x.end(), in.begin());
      Bytes moved_body(codec_->MaxBodyBytes(shape) + 64);
      const std::span<std::byte> bytes = std::span(moved_body).subspan(offset, codec_->MaxBodyBytes(shape));
      const auto written = codec_->Encode(in, shape, RngKey{.seed = 5}, bytes);
      ASSERT_TRUE(written.ok()) << written.status();
      EXPECT_TRUE(std::ranges::equal(bytes.first(*written), body)) << "offset " << offset;
      ASSERT_TRUE(codec_->DecodeAdd(bytes.first(*written), shape, 1, out).ok());
      EXPECT_TRUE(SameValues(out, y)) << "offset " << offset;
    }
  });
}

TEST_P(Conformance, ZeroTensor_DecodesToZeros) {
  ForSupported(AllShapes(), [&](const Shape& shape) {
    Floats x(shape.elements());
    EXPECT_TRUE(SameValues(Decode(Encode(x, shape), shape), x));
    Bytes body(codec_->MaxBodyBytes(shape));
    Floats residual(x.size(), 1.0f);
    ASSERT_TRUE(codec_->EncodeResidual(x, shape, RngKey{}, residual, body).ok());
    EXPECT_TRUE(SameValues(residual, Floats(shape.elements())));
  });
}

TEST_P(Conformance, NonFiniteElement_IsNamedAndNothingIsChanged) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    const size_t index = shape.elements() * 2 / 3;
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
      Floats x = Gaussian(shape.elements());
      x[index] = bad;
      if (index + 1 < x.size()) x.back() = bad;
      Bytes body(codec_->MaxBodyBytes(shape));
      const absl::Status encode = codec_->Encode(x, shape, RngKey{}, body).status();
      EXPECT_EQ(encode.code(), absl::StatusCode::kInvalidArgument) << bad << ": " << encode;
      EXPECT_THAT(std::string(encode.message()), HasSubstr(std::to_string(index)));
      const Floats before = x;
      Floats left(x.size());
      const absl::Status residual = codec_->EncodeResidual(x, shape, RngKey{}, left, body).status();
      EXPECT_EQ(residual.code(), absl::StatusCode::kInvalidArgument) << bad << ": " << residual;
      EXPECT_EQ(BitsOf(x), BitsOf(before));
    }
  });
}

TEST_P(Conformance, HugeAndDenormalValues_DecodeFiniteOrAreRefused) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    for (const float scale : {1e-44f, 1e-38f, 1e-30f, 1e30f, 1e38f}) {
      Floats x = Gaussian(shape.elements());
      for (float& value : x) value = std::clamp(value, -3.0f, 3.0f) * scale;
      Bytes body(codec_->MaxBodyBytes(shape));
      const auto written = codec_->Encode(x, shape, RngKey{}, body);
      if (written.ok()) {
        EXPECT_TRUE(AllFinite(Decode(std::span(body).first(*written), shape))) << "scale " << scale;
      } else {
        EXPECT_EQ(written.status().code(), absl::StatusCode::kInvalidArgument) << written.status();
      }
    }
  });
}

TEST_P(Conformance, BodyBufferTooSmall_IsResourceExhaustedAndNothingIsChanged) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    Floats x = Gaussian(shape.elements());
    const Floats before = x;
    const Bytes body = Encode(x, shape);
    for (const size_t bytes : {size_t{0}, body.size() / 2, body.size() - 1}) {
      if (bytes >= body.size()) continue;  // an empty body
      Bytes small(bytes);
      EXPECT_EQ(codec_->Encode(x, shape, RngKey{.seed = 5}, small).status().code(),
                absl::StatusCode::kResourceExhausted)
          << bytes << " of " << body.size();
      Floats residual(x.size());
      EXPECT_EQ(codec_->EncodeResidual(x, shape, RngKey{.seed = 5}, residual, small).status().code(),
                absl::StatusCode::kResourceExhausted);
      EXPECT_EQ(x, before);
    }
  });
}

// ---- Untrusted bytes ----

TEST_P(Conformance, EveryTruncation_IsAnErrorOrAValue) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    const Bytes body = Encode(Gaussian(shape.elements()), shape);
    for (size_t bytes = 0; bytes < body.size(); ++bytes) {
      const Bytes cut(body.begin(), body.begin() + static_cast<ptrdiff_t>(bytes));
      ExpectValueOrDataLoss(cut, shape);
      if (codec_->traits(shape).fixed_size) {
        Floats y(shape.elements());
        EXPECT_FALSE(codec_->DecodeAdd(cut, shape, 1, y).ok()) << bytes << " of " << body.size();
      }
    }
    Bytes longer = body;
    longer.push_back(std::byte{0});
    Floats y(shape.elements());
    EXPECT_EQ(codec_->DecodeAdd(longer, shape, 1, y).code(), absl::StatusCode::kDataLoss) << "a byte too many";
  });
}

TEST_P(Conformance, FlippedBits_AreAnErrorOrAValue) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    const Bytes body = Encode(Gaussian(shape.elements()), shape);
    if (body.empty()) return;
    // Each bit of the first 64 bytes, where a codec's own header lies, then 1 to 8 bits anywhere.
    for (size_t bit = 0; bit < 8 * std::min<size_t>(64, body.size()); ++bit) {
      Bytes damaged = body;
      damaged[bit / 8] ^= std::byte{1} << (bit % 8);
      ExpectValueOrDataLoss(damaged, shape);
    }
    const CounterRng rng(RngKey{.seed = 23});
    for (uint64_t trial = 0; trial < 1000; ++trial) {
      Bytes damaged = body;
      for (uint64_t flip = 0; flip <= trial % 8; ++flip) {
        const uint32_t bit = rng.Below(trial * 8 + flip, static_cast<uint32_t>(8 * body.size()));
        damaged[bit / 8] ^= std::byte{1} << (bit % 8);
      }
      ExpectValueOrDataLoss(damaged, shape);
    }
  });
}

TEST_P(Conformance, RandomBytes_AreAnErrorOrAValue) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    const CounterRng rng(RngKey{.seed = 29});
    const auto bound = static_cast<uint32_t>(codec_->MaxBodyBytes(shape)) + 8;
    uint64_t next = 0;
    for (int trial = 0; trial < 300; ++trial) {
      // Every third body has the full length, which is the only one a decoder of fixed size looks into.
      Bytes body(trial % 3 == 0 ? codec_->MaxBodyBytes(shape) : rng.Below(next++, bound));
      for (std::byte& b : body) b = static_cast<std::byte>(rng.Word(next++));
      ExpectValueOrDataLoss(body, shape);
    }
  });
}

// ---- Determinism ----

TEST_P(Conformance, TwoRunsAndFourThreads_GiveTheSameBytes) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    const Floats x = Gaussian(shape.elements());
    const Bytes expected = Encode(x, shape);
    EXPECT_EQ(Encode(x, shape), expected);
    std::vector<Bytes> bodies(4);
    std::vector<std::thread> threads;
    for (Bytes& body : bodies) {
      threads.emplace_back([&] {
        for (int repeat = 0; repeat < 5; ++repeat) body = Encode(x, shape);
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const Bytes& body : bodies) EXPECT_EQ(body, expected);
  });
}

TEST_P(Conformance, CanonicalSpec_CreatesAnEqualCodec) {
  const auto again = CodecRegistry::BuiltIn().Create(codec_->ToString());
  ASSERT_TRUE(again.ok()) << codec_->ToString() << ": " << again.status();
  EXPECT_EQ((*again)->ToString(), codec_->ToString());
  EXPECT_EQ((*again)->id(), codec_->id());
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    const Floats x = Gaussian(shape.elements());
    Bytes body((*again)->MaxBodyBytes(shape));
    const auto written = (*again)->Encode(x, shape, RngKey{.seed = 5}, body);
    ASSERT_TRUE(written.ok());
    body.resize(*written);
    EXPECT_EQ(body, Encode(x, shape));
  });
}

// ---- Linear sessions ----

class Ranks {
 public:
  Ranks(const Compressor& codec, const Shape& shape, size_t count) : elements_(shape.elements()) {
    for (size_t i = 0; i < count; ++i) sessions_.push_back(codec.NewLinearSession(shape, RngKey{.seed = 41}));
  }
  bool exist() const { return sessions_[0] != nullptr; }
  LinearSession& session(size_t rank) { return *sessions_[rank]; }

  // Runs all rounds of one step on messages drawn from `seed`; commits if told to. The mean reconstruction.
  Floats Step(uint64_t step, uint64_t seed, bool commit) {
    const RngKey key = RngKey{.seed = 43, .step = step}.Shared();
    for (auto& session : sessions_) session->Begin(key, {});
    for (int round = 0; round < sessions_[0]->rounds(); ++round) {
      Floats mean(sessions_[0]->RoundFloats(round)), out(mean.size());
      for (size_t rank = 0; rank < sessions_.size(); ++rank) {
        const absl::Status status = sessions_[rank]->Produce(round, MessageOf(seed, rank), out);
        EXPECT_TRUE(status.ok()) << status;
        for (size_t i = 0; i < out.size(); ++i) mean[i] += out[i] / static_cast<float>(sessions_.size());
      }
      for (auto& session : sessions_) EXPECT_TRUE(session->Consume(round, mean).ok());
    }
    Floats y(elements_);
    sessions_[0]->MeanReconstruction(y);
    for (auto& session : sessions_) {
      if (commit) session->Commit();
    }
    return y;
  }
  Floats MessageOf(uint64_t seed, size_t rank) const { return Gaussian(elements_, 100 * seed + rank); }

 private:
  size_t elements_;
  std::vector<std::unique_ptr<LinearSession>> sessions_;
};

TEST_P(Conformance, LinearSession_LocalReconstructionsAverageToTheMeanReconstruction) {
  ForSupported(AllShapes(), [&](const Shape& shape) {
    Ranks ranks(*codec_, shape, 3);
    if (!ranks.exist()) return;
    for (uint64_t step = 0; step < 3; ++step) {
      const Floats mean = ranks.Step(step, step, /*commit=*/false);
      std::vector<double> average(mean.size());
      double largest = 0;
      for (size_t rank = 0; rank < 3; ++rank) {
        Floats local(mean.size()), same(mean.size());
        ranks.session(rank).LocalReconstruction(local);
        ranks.session(rank).MeanReconstruction(same);
        EXPECT_EQ(BitsOf(same), BitsOf(mean)) << "ranks disagree";
        for (size_t i = 0; i < mean.size(); ++i) {
          average[i] += local[i] / 3.0;
          largest = std::max(largest, std::abs(static_cast<double>(local[i])));
        }
      }
      // A handful of roundings of 2^-24 each, in values up to a few times the largest.
      for (size_t i = 0; i < mean.size(); ++i) EXPECT_NEAR(average[i], mean[i], 1e-5 * largest) << i;
      for (size_t rank = 0; rank < 3; ++rank) ranks.session(rank).Commit();
    }
  });
}

TEST_P(Conformance, LinearSession_ReconstructLeavesTheResidualOfAFormedMessage) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    Ranks ranks(*codec_, shape, 1);
    if (!ranks.exist()) return;
    LinearSession& session = ranks.session(0);
    const Floats g = Gaussian(shape.elements()), e = Gaussian(shape.elements(), 2);
    Message message(g);
    message.error = e;
    Floats residual(g.size()), mean(g.size()), expected_mean(g.size()), local(g.size());
    session.Begin(RngKey{.seed = 43}.Shared(), residual);
    for (int round = 0; round < session.rounds(); ++round) {
      Floats out(session.RoundFloats(round));
      ASSERT_TRUE(session.Produce(round, message, out).ok());
      ASSERT_TRUE(session.Consume(round, out).ok());
    }
    session.LocalReconstruction(local);
    session.MeanReconstruction(expected_mean);
    session.Reconstruct(mean);
    EXPECT_TRUE(SameValues(mean, expected_mean));
    for (size_t i = 0; i < g.size(); ++i) local[i] = (g[i] + e[i]) - local[i];
    EXPECT_TRUE(SameValues(residual, local));
  });
}

TEST_P(Conformance, LinearSession_StepWithoutCommitLeavesNoTrace) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    Ranks disturbed(*codec_, shape, 2);
    Ranks calm(*codec_, shape, 2);
    if (!calm.exist()) return;
    disturbed.Step(0, 0, true);
    calm.Step(0, 0, true);
    disturbed.Step(1, 9, false);
    EXPECT_EQ(disturbed.Step(1, 1, true), calm.Step(1, 1, true));
    EXPECT_EQ(disturbed.Step(2, 2, true), calm.Step(2, 2, true));
  });
}

TEST_P(Conformance, LinearSession_SavedAndLoadedContinuesBitForBit) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    Ranks straight(*codec_, shape, 2);
    Ranks resumed(*codec_, shape, 2);
    if (!straight.exist()) return;
    straight.Step(0, 0, true);
    straight.Step(1, 1, true);
    for (size_t rank = 0; rank < 2; ++rank) {
      StateArchive archive;
      StateWriter writer = StateWriter(&archive).Scope("session");
      straight.session(rank).Save(writer);
      const auto parsed = ParseStateArchive(SerializeStateArchive(archive));
      ASSERT_TRUE(parsed.ok()) << parsed.status();
      const absl::Status status = resumed.session(rank).Load(StateReader(&*parsed).Scope("session"));
      ASSERT_TRUE(status.ok()) << status;
    }
    EXPECT_EQ(resumed.Step(2, 2, true), straight.Step(2, 2, true));
    EXPECT_EQ(resumed.Step(3, 3, true), straight.Step(3, 3, true));
  });
}

TEST_P(Conformance, LinearSession_NonFiniteMeanIsDataLossAndNonFiniteMessageInvalid) {
  ForSupported(SmallShapes(), [&](const Shape& shape) {
    Ranks ranks(*codec_, shape, 1);
    if (!ranks.exist()) return;
    LinearSession& session = ranks.session(0);
    Floats x = Gaussian(shape.elements());
    Floats out(session.RoundFloats(0));
    session.Begin(RngKey{}.Shared(), {});
    ASSERT_TRUE(session.Produce(0, x, out).ok());
    if (out.empty()) return;
    out.back() = std::numeric_limits<float>::infinity();
    EXPECT_EQ(session.Consume(0, out).code(), absl::StatusCode::kDataLoss);
    // A message that is wholly NaN, so that whichever elements the codec looks at, it sees one.
    std::fill(x.begin(), x.end(), std::numeric_limits<float>::quiet_NaN());
    session.Begin(RngKey{}.Shared(), {});
    EXPECT_EQ(session.Produce(0, x, out).code(), absl::StatusCode::kInvalidArgument);
  });
}

std::string TestName(const ::testing::TestParamInfo<std::string>& info) {
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

INSTANTIATE_TEST_SUITE_P(EveryExample, Conformance, ::testing::ValuesIn(AllSpecs()), TestName);

}  // namespace
}  // namespace laconic
