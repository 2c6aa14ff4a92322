// Every promise of compressor.h, held against every example spec of every registered codec, on flat and matrix shapes.
// A new codec is covered the moment it is registered.
#include "tests/compressors/conformance.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <thread>

namespace laconic::conformance {
namespace {

using ::testing::HasSubstr;

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

INSTANTIATE_TEST_SUITE_P(EveryExample, Conformance, ::testing::ValuesIn(AllSpecs()), TestName);

}  // namespace
}  // namespace laconic::conformance
