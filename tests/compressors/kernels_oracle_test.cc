// Every kernel gives the oracle's bits (kernels/scalar.h) on every instruction set that this CPU can run: at all
// lengths up to four of the widest vectors and around the lengths of runs and blocks, at every offset within a cache
// line.
#include <gtest/gtest.h>

#include <functional>

#include "compressors/kernels/kernels.h"
#include "compressors/kernels/scalar.h"
#include "compressors/kernels/targets.h"
#include "tests/compressors/dense_codec.h"

namespace laconic {
namespace {

namespace scalar = kernels::scalar;

constexpr size_t kOffsets = 16;  // floats in a cache line
constexpr float kUntouched = 12345.0f;

std::vector<size_t> Lengths() {
  std::vector<size_t> lengths;
  for (size_t length = 0; length <= 4 * 16 + 3; ++length) lengths.push_back(length);
  for (const size_t around : {512, 2048}) {
    for (const size_t length : {around - 17, around - 1, around, around + 1, around + 17}) lengths.push_back(length);
  }
  return lengths;
}

// Ties, zeros of both signs, denormals and extremes among ordinary values; finite.
Floats Varied(size_t count, uint64_t seed) {
  Floats x = Gaussian(count, seed);
  const float special[] = {0.0f,           -0.0f,      1.0f, -1.0f,      kSmallestDenormal, -0x1p-127f, kLargestFloat,
                           -kLargestFloat, 0x1p-126f,  0.5f, -0x1.8p-3f, 65519.0f,          65520.0f,   0x1.01p0f,
                           0x1.03p0f,      0x1.002p0f, 6e-8f};
  for (size_t i = 0; i < count; i += 3) x[i] = special[(i / 3 + seed) % std::size(special)];
  return x;
}

// `count` elements of T, `offset` elements behind the beginning of a cache line, with guards around them that catch who
// writes beyond the ends.
template <typename T>
class Guarded {
 public:
  Guarded(size_t offset, const std::vector<T>& values, T guard)
      : memory_(values.size() + 2 * kGuards, guard), guard_(guard), count_(values.size()) {
    const size_t misaligned = reinterpret_cast<uintptr_t>(memory_.data()) / sizeof(T) % (64 / sizeof(T));
    begin_ = 64 / sizeof(T) - misaligned + offset % (64 / sizeof(T));
    std::copy(values.begin(), values.end(), memory_.begin() + static_cast<ptrdiff_t>(begin_));
  }
  std::span<T> span() { return std::span(memory_).subspan(begin_, count_); }
  bool GuardsStand() const {
    for (size_t i = 0; i < memory_.size(); ++i) {
      if ((i < begin_ || i >= begin_ + count_) && std::memcmp(&memory_[i], &guard_, sizeof(T)) != 0) return false;
    }
    return true;
  }
  friend bool operator==(const Guarded& a, const Guarded& b) {
    return a.GuardsStand() && b.GuardsStand() &&
           (a.count_ == 0 || std::memcmp(&a.memory_[a.begin_], &b.memory_[b.begin_], a.count_ * sizeof(T)) == 0);
  }

 private:
  static constexpr size_t kGuards = 192 / sizeof(T);
  std::vector<T> memory_;
  T guard_;
  size_t count_, begin_;
};

Guarded<float> FloatsAt(size_t offset, const Floats& values) { return {offset, values, kUntouched}; }
Guarded<float> OutAt(size_t offset, size_t count) { return {offset, Floats(count), kUntouched}; }
Guarded<std::byte> BytesAt(size_t offset, size_t count) { return {offset, Bytes(count), std::byte{0x5a}}; }

class KernelOracle : public testing::TestWithParam<int64_t> {
 protected:
  // Calls check(length, offset) for all of them.
  static void ForEachCase(const std::function<void(size_t, size_t)>& check) {
    for (const size_t length : Lengths()) {
      for (size_t offset = 0; offset < kOffsets; ++offset) {
        SCOPED_TRACE(testing::Message() << length << " elements at offset " << offset);
        check(length, offset);
        if (testing::Test::HasFatalFailure() || testing::Test::HasNonfatalFailure()) return;
      }
    }
  }

 private:
  kernels::ForcedTarget forced_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Targets, KernelOracle, testing::ValuesIn(kernels::RunnableTargets()),
                         [](const testing::TestParamInfo<int64_t>& info) {
                           return std::string(kernels::TargetName(info.param));
                         });

TEST_P(KernelOracle, Reductions) {
  ForEachCase([](size_t length, size_t offset) {
    Guarded<float> x = FloatsAt(offset, Varied(length, 1));
    EXPECT_EQ(kernels::AbsMax(x.span()), scalar::AbsMax(x.span()));
    EXPECT_EQ(kernels::SumAbs(x.span()), scalar::SumAbs(x.span()));
    EXPECT_EQ(kernels::SumSquares(x.span()), scalar::SumSquares(x.span()));
    EXPECT_EQ(kernels::CountZeros(x.span()), scalar::CountZeros(x.span()));
    EXPECT_EQ(kernels::FirstNonFinite(x.span()), length);
    if (length == 0) return;
    x.span()[length * 2 / 3] = kNaN;
    EXPECT_EQ(kernels::FirstNonFinite(x.span()), length * 2 / 3);
  });
}

TEST_P(KernelOracle, ScaleAdd) {
  ForEachCase([](size_t length, size_t offset) {
    Guarded<float> y = FloatsAt(offset + 3, Varied(length, 1)), acc = FloatsAt(offset, Varied(length, 2)), same = acc;
    kernels::ScaleAdd(y.span(), 0.3f, acc.span());
    scalar::ScaleAdd(y.span(), 0.3f, same.span());
    EXPECT_TRUE(acc == same);
  });
}

TEST_P(KernelOracle, RunsOfMessages) {
  const Floats g = Gaussian(4096, 1), v = Gaussian(4096, 2), h = Gaussian(4096, 3), e = Gaussian(4096, 4);
  for (int parts = 0; parts < 8; ++parts) {
    Message message(g);
    message.kappa = 0.7f;
    message.error_weight = 0.3f;
    if (parts & 1) message.momentum = v;
    if (parts & 1) message.momentum_weight = 0.9f;
    if (parts & 1) message.gradient_weight = 1.9f;
    if (parts & 2) message.shift = h;
    if (parts & 4) message.error = e;
    ForEachCase([&](size_t length, size_t offset) {
      Guarded<float> out = OutAt(offset + 5, length), same = out;
      scalar::FormRun(message, offset, same.span());
      kernels::FormRun(message, offset, out.span());
      EXPECT_TRUE(out == same);
      EXPECT_EQ(kernels::FormRunAbsMax(message, offset, out.span()), scalar::AbsMax(same.span()));
      EXPECT_EQ(kernels::FormRunSumSquares(message, offset, out.span()), scalar::SumSquares(same.span()));
      const kernels::Magnitudes magnitudes = kernels::FormRunMagnitudes(message, offset, out.span());
      EXPECT_EQ(magnitudes.sum, scalar::SumAbs(same.span()));
      EXPECT_EQ(magnitudes.zeros, scalar::CountZeros(same.span()));
      EXPECT_TRUE(out == same);
    });
  }
}

// A sink of each kind: kept in the cache, past it, with something ahead.
void ForEachSink(std::span<float> out, const std::function<void(const kernels::Sink&)>& check) {
  const Floats ahead(out.size());
  for (const bool past_cache : {false, true}) {
    check({.out = out, .past_cache = past_cache, .ahead = {.streams = {ahead.data()}, .count = 1, .elements = 40}});
  }
  kernels::FinishStores();
}

TEST_P(KernelOracle, StoreRun) {
  ForEachCase([](size_t length, size_t offset) {
    Guarded<float> x = FloatsAt(3, Varied(length, 1)), out = OutAt(offset, length),
                   same = FloatsAt(offset, Varied(length, 1));
    ForEachSink(out.span(), [&](const kernels::Sink& sink) {
      kernels::StoreRun(x.span(), sink);
      EXPECT_TRUE(out == same);
    });
  });
}

TEST_P(KernelOracle, Signs) {
  ForEachCase([](size_t length, size_t offset) {
    const size_t bytes = (length + 7) / 8;
    Guarded<float> x = FloatsAt(offset, Varied(length, 1)), out = OutAt(offset, length), same_out = out;
    Guarded<std::byte> bits = BytesAt(7 * offset, bytes), same_bits = bits;
    scalar::PackSigns(x.span(), same_bits.span());
    kernels::PackSigns(x.span(), bits.span());
    EXPECT_TRUE(bits == same_bits);
    ForEachSink(out.span(), [&](const kernels::Sink& sink) {
      kernels::PackSignsAndSubtract(x.span(), 0.7f, bits.span(), sink);
      scalar::PackSignsAndSubtract(x.span(), 0.7f, same_bits.span(), {.out = same_out.span()});
      EXPECT_TRUE(out == same_out && bits == same_bits);
      kernels::PackSignsAndSubtractFromNonZeros(x.span(), 0.7f, bits.span(), sink);
      scalar::PackSignsAndSubtractFromNonZeros(x.span(), 0.7f, same_bits.span(), {.out = same_out.span()});
      EXPECT_TRUE(out == same_out && bits == same_bits);
    });

    Guarded<std::byte> some = BytesAt(offset, bytes);
    for (size_t i = 0; i < bytes; ++i) some.span()[i] = static_cast<std::byte>(i * 37 + 5);
    Guarded<float> acc = FloatsAt(offset, Varied(length, 2)), same = acc;
    kernels::AddSigned(bits.span(), 0.7f, acc.span());
    scalar::AddSigned(bits.span(), 0.7f, same.span());
    EXPECT_TRUE(acc == same);
    kernels::AddSignedWhere(bits.span(), some.span(), 0.7f, acc.span());
    scalar::AddSignedWhere(bits.span(), some.span(), 0.7f, same.span());
    EXPECT_TRUE(acc == same);
  });
}

std::vector<uint32_t> SomeWords(size_t count) {
  std::vector<uint32_t> words(count);
  CounterRng(RngKey{.seed = 2}).Words(0, words);
  for (size_t i = 0; i < count; i += 5) words[i] = i % 2 == 0 ? 0xffffffffu : 0;
  return words;
}

TEST_P(KernelOracle, Quantizer) {
  for (const float gain : {0.5f, 1.0f, 7.0f, 127.0f}) {
    for (const float norm : {kLargestFloat, 3.0f}) {
      const kernels::Levels levels = kernels::Levels::Of(gain, norm);
      ForEachCase([&](size_t length, size_t offset) {
        Floats values = Varied(length, 1);
        for (float& value : values) value = std::clamp(value, -norm, norm);
        Guarded<float> x = FloatsAt(offset + 3, values), out = OutAt(offset, length), same_out = out;
        Guarded<uint32_t> words(offset, SomeWords(length), 0);
        Guarded<uint8_t> codes(offset, std::vector<uint8_t>(length), 0x5a), same = codes;
        ForEachSink(out.span(), [&](const kernels::Sink& sink) {
          for (const kernels::Sink& to : {sink, kernels::Sink{}}) {
            if (gain >= 1) {
              kernels::QuantizeNearest(x.span(), levels, codes.span(), to);
              scalar::QuantizeNearest(x.span(), levels, same.span(), {.out = same_out.span()});
              EXPECT_TRUE(codes == same && (to.out.empty() || out == same_out));
            }
            kernels::QuantizeStochastic(x.span(), levels, words.span(), codes.span(), to);
            scalar::QuantizeStochastic(x.span(), levels, words.span(), same.span(), {.out = same_out.span()});
            EXPECT_TRUE(codes == same && (to.out.empty() || out == same_out));
          }
        });
        Guarded<float> acc = FloatsAt(offset, Varied(length, 2)), same_acc = acc;
        kernels::DequantizeAdd(codes.span(), gain, 0.7f, 0.3f, acc.span());
        scalar::DequantizeAdd(codes.span(), gain, 0.7f, 0.3f, same_acc.span());
        EXPECT_TRUE(acc == same_acc);
      });
    }
  }
}

TEST_P(KernelOracle, PackedCodes) {
  for (int bits = 1; bits <= 8; ++bits) {
    ForEachCase([&](size_t length, size_t offset) {
      std::vector<uint8_t> values(length);
      for (size_t i = 0; i < length; ++i) values[i] = static_cast<uint8_t>((i * 151 + 7) & ((1u << bits) - 1));
      Guarded<uint8_t> codes(offset, values, 0xff), back(offset + 1, std::vector<uint8_t>(length), 0x5a);
      Guarded<std::byte> packed = BytesAt(5 * offset, (length * static_cast<size_t>(bits) + 7) / 8), same = packed;
      kernels::PackCodes(codes.span(), bits, packed.span());
      scalar::PackCodes(codes.span(), bits, same.span());
      EXPECT_TRUE(packed == same) << bits << " bits";
      kernels::UnpackCodes(packed.span(), bits, back.span());
      EXPECT_TRUE(back == Guarded<uint8_t>(offset + 1, values, 0x5a)) << bits << " bits";
    });
  }
}

TEST_P(KernelOracle, FirstAbove) {
  ForEachCase([](size_t length, size_t offset) {
    Guarded<uint8_t> codes(offset, std::vector<uint8_t>(length, 200), 0xff);
    EXPECT_EQ(kernels::FirstAbove(codes.span(), 200), length);
    if (length == 0) return;
    codes.span().back() = codes.span()[length * 2 / 3] = 201;
    EXPECT_EQ(kernels::FirstAbove(codes.span(), 200), length * 2 / 3);
  });
}

TEST_P(KernelOracle, RandomWords) {
  ForEachCase([](size_t length, size_t offset) {
    Guarded<uint32_t> words(offset, std::vector<uint32_t>(length), 0), same = words;
    for (const uint64_t first : {uint64_t{0}, uint64_t{offset}, (uint64_t{1} << 34) - 70}) {  // blocks beyond 2^32 too
      kernels::RandomWords(0x0123456789abcdefu, first, words.span());
      scalar::RandomWords(0x0123456789abcdefu, first, same.span());
      EXPECT_TRUE(words == same);
    }
  });
}

TEST_P(KernelOracle, PowersOfTwo) {
  ForEachCase([](size_t length, size_t offset) {
    Guarded<float> x = FloatsAt(offset + 3, Varied(length, 1)), out = OutAt(offset, length), same_out = out;
    Guarded<uint32_t> words(offset, SomeWords(length), 0);
    Guarded<uint8_t> exponents(offset, std::vector<uint8_t>(length), 0x5a), same = exponents;
    scalar::RoundToPowersOfTwo(x.span(), words.span(), same.span(), {.out = same_out.span()});
    ForEachSink(out.span(), [&](const kernels::Sink& sink) {
      kernels::RoundToPowersOfTwo(x.span(), words.span(), exponents.span(), sink);
      EXPECT_TRUE(exponents == same && out == same_out);
    });
    Guarded<std::byte> signs = BytesAt(offset, (length + 7) / 8);
    scalar::PackSigns(x.span(), signs.span());
    Guarded<float> acc = FloatsAt(offset, Varied(length, 2)), same_acc = acc;
    kernels::AddPowersOfTwo(exponents.span(), signs.span(), 0.3f, acc.span());
    scalar::AddPowersOfTwo(exponents.span(), signs.span(), 0.3f, same_acc.span());
    EXPECT_TRUE(acc == same_acc);
  });
}

TEST_P(KernelOracle, Casts) {
  for (const int exponent : {0, -13, 140}) {
    ForEachCase([&](size_t length, size_t offset) {
      Guarded<float> x = FloatsAt(offset + 3, Varied(length, 1)), out = OutAt(offset, length), same_out = out;
      Guarded<float> back = OutAt(offset, length), same_back = back;
      Guarded<uint16_t> wire(offset, std::vector<uint16_t>(length), 0x5a5a), same = wire;
      ForEachSink(out.span(), [&](const kernels::Sink& sink) {
        kernels::ToHalves(x.span(), exponent, 65504.0f, wire.span(), sink);
        scalar::ToHalves(x.span(), exponent, 65504.0f, same.span(), {.out = same_out.span()});
        EXPECT_TRUE(wire == same && out == same_out);
        kernels::FromHalves(wire.span(), -exponent, back.span());
        scalar::FromHalves(wire.span(), -exponent, same_back.span());
        EXPECT_TRUE(back == same_back);
        kernels::ToBfloat16s(x.span(), exponent, 0x1.fep127f, wire.span(), sink);
        scalar::ToBfloat16s(x.span(), exponent, 0x1.fep127f, same.span(), {.out = same_out.span()});
        EXPECT_TRUE(wire == same && out == same_out);
        kernels::FromBfloat16s(wire.span(), -exponent, back.span());
        scalar::FromBfloat16s(wire.span(), -exponent, same_back.span());
        EXPECT_TRUE(back == same_back);
      });
    });
  }
}

}  // namespace
}  // namespace laconic
