// Each kernel of rotation.h on each instruction set against its obvious version, bit for bit, at every size and all
// offsets within a cache line; and the obvious versions against their definitions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "compressors/gaussian_codebook.h"
#include "compressors/kernels/rotation_scalar.h"
#include "compressors/kernels/targets.h"
#include "tests/compressors/dense_codec.h"

namespace laconic {
namespace {

namespace scalar = kernels::scalar;
using internal::GaussianCodebookOf;
using ::testing::Each;
using ::testing::ElementsAre;

constexpr size_t kOffsets = 16;  // floats of a cache line
const size_t kSizes[] = {64, 128, 256, 512, 1024, 2048, 4096};
const size_t kLengths[] = {0, 1, 15, 16, 17, 31, 48, 64, 100, 513};

std::vector<uint32_t> SomeSigns(size_t elements) {
  std::vector<uint32_t> signs(elements / 32);
  CounterRng(RngKey{.seed = 3}).Words(0, signs);
  return signs;
}

// A span of `values` at an offset of `memory`'s first cache line.
class At {
 public:
  At(size_t offset, const Floats& values) : memory_(values.size() + 2 * kOffsets, 12345.0f), count_(values.size()) {
    const size_t misaligned = reinterpret_cast<uintptr_t>(memory_.data()) / sizeof(float) % kOffsets;
    begin_ = kOffsets - misaligned + offset % kOffsets;
    std::copy(values.begin(), values.end(), memory_.begin() + static_cast<ptrdiff_t>(begin_));
  }
  std::span<float> span() { return std::span(memory_).subspan(begin_, count_); }
  // The same bits; and nothing was written beside them.
  friend bool operator==(const At& a, const At& b) {
    const bool is_clean = a.memory_[a.begin_ - 1] == 12345.0f && a.memory_[a.begin_ + a.count_] == 12345.0f;
    return is_clean && (a.count_ == 0 || std::memcmp(&a.memory_[a.begin_], &b.memory_[b.begin_], a.count_ * 4) == 0);
  }

 private:
  Floats memory_;
  size_t count_, begin_;
};

TEST(Hadamard, OneHot_BecomesARowOfSigns) {
  Floats x(64);
  x[3] = 2;
  scalar::Rotate(std::vector<uint32_t>(2), x);
  // Entry (i, j) is -1 to the number of ones that i and j share.
  EXPECT_THAT(std::vector(x.begin(), x.begin() + 8), ElementsAre(2, -2, -2, 2, 2, -2, -2, 2));
}

TEST(Hadamard, SignsFlipBeforeTheTransform_AndBackAfterIt) {
  Floats x(64, 1.0f);
  scalar::Rotate(std::vector<uint32_t>{0b10, 0}, x);  // 1 - 2 (one-hot at 1), transformed
  EXPECT_EQ(x[0], 62);
  EXPECT_EQ(x[1], 2);
  EXPECT_EQ(x[2], -2);
  scalar::RotateBack(std::vector<uint32_t>{0b10, 0}, x);
  EXPECT_THAT(x, Each(64));
}

TEST(Codebook, RanksAndCodes_FollowTheBoundaries) {
  const std::vector<float> codewords = {0.5f, 2.0f}, boundaries = {1.25f};
  const kernels::Codebook codebook{.codewords = codewords, .boundaries = boundaries};
  Floats z = {0.0f, -0.0f, 1.25f, 1.5f, -100.0f};
  std::vector<uint8_t> codes(5);
  const kernels::Fit fit = scalar::RoundToCodebookAndFit(codebook, z, codes);
  EXPECT_THAT(codes, ElementsAre(0, 2, 0, 1, 3));
  EXPECT_THAT(z, ElementsAre(0.5f, -0.5f, 0.5f, 2.0f, -2.0f));
  EXPECT_EQ(fit.inner, 1.25 / 2 + 3 + 200);
  EXPECT_EQ(fit.squares, 0.75 + 8);
}

TEST(Codebook, Cells_GiveTheRanksThatComparingGives) {
  for (int bits = 5; bits <= 8; ++bits) {
    const kernels::Codebook& by_cells = GaussianCodebookOf(bits).levels;
    kernels::Codebook compared = by_cells;
    compared.cell_ranks = {};
    Floats z;
    for (const float boundary : by_cells.boundaries) {
      for (const float at : {std::nextafter(boundary, 0.0f), boundary, std::nextafter(boundary, 9.0f)}) z.push_back(at);
    }
    for (float at = 0; at < 10; at += 0.001f) z.push_back(-at);
    Floats same = z;
    std::vector<uint8_t> codes(z.size()), same_codes(z.size());
    scalar::RoundToCodebook(by_cells, z, codes);
    scalar::RoundToCodebook(compared, same, same_codes);
    EXPECT_EQ(codes, same_codes) << bits;
    EXPECT_EQ(z, same) << bits;
  }
}

TEST(ScaledValues, BeyondTheRangeOfFloats_AreItsEnds) {
  Floats acc(2), v = {1e30f, -1e30f};
  scalar::AddScaled(v, {.unit = 1, .scale = 1e30f}, 1, acc);
  EXPECT_THAT(acc, ElementsAre(kLargestFloat, -kLargestFloat));
}

class RotationKernels : public testing::TestWithParam<int64_t> {
 private:
  kernels::ForcedTarget forced_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Targets, RotationKernels, testing::ValuesIn(kernels::RunnableTargets()),
                         [](const auto& target) { return std::string(kernels::TargetName(target.param)); });

TEST_P(RotationKernels, Rotations_AreTheOracles) {
  for (const size_t size : kSizes) {
    const std::vector<uint32_t> signs = SomeSigns(size);
    Floats values = Gaussian(size, 4);
    for (size_t i = 0; i < size; i += 7) values[i] = i % 2 == 0 ? 0.0f : -0.0f;
    for (size_t offset = 0; offset < kOffsets; ++offset) {
      SCOPED_TRACE(testing::Message() << size << " elements at offset " << offset);
      At x(offset, values), same(0, values), out(offset + 5, values);
      kernels::Rotate(signs, x.span());
      scalar::Rotate(signs, same.span());
      ASSERT_TRUE(x == same);
      kernels::RotateBack(signs, x.span());
      scalar::RotateBack(signs, same.span());
      ASSERT_TRUE(x == same);
      kernels::ScaleAndRotate(x.span(), 0x1p20f, 0.3f, signs, out.span());
      scalar::ScaleAndRotate(x.span(), 0x1p20f, 0.3f, signs, same.span());
      ASSERT_TRUE(out == same);
    }
  }
}

TEST_P(RotationKernels, Codebooks_AreTheOracles) {
  for (int bits = 1; bits <= 8; ++bits) {
    const kernels::Codebook& codebook = GaussianCodebookOf(bits).levels;
    for (const size_t length : kLengths) {
      Floats values = Gaussian(length, 5);
      const float special[] = {0.0f, -0.0f, 4096.0f, -4096.0f, kSmallestDenormal, 0.9815774f};
      for (size_t i = 0; i < length; i += 3) values[i] = special[i / 3 % std::size(special)];
      for (size_t i = 1; i < std::min(length, codebook.boundaries.size()); i += 3) values[i] = codebook.boundaries[i];
      for (size_t offset = 0; offset < kOffsets; ++offset) {
        SCOPED_TRACE(testing::Message() << bits << " bits, " << length << " elements at offset " << offset);
        At z(offset, values), same(0, values), fitted(offset, values), same_fitted(0, values),
            looked_up(offset, values);
        std::vector<uint8_t> codes(length + kOffsets, 0x5a), same_codes(length), fitted_codes(length);
        const std::span<uint8_t> to = std::span(codes).subspan(offset, length);
        kernels::RoundToCodebook(codebook, z.span(), to);
        scalar::RoundToCodebook(codebook, same.span(), same_codes);
        ASSERT_TRUE(z == same);
        ASSERT_TRUE(std::ranges::equal(to, same_codes));
        EXPECT_THAT(std::vector(codes.begin() + static_cast<ptrdiff_t>(offset + length), codes.end()), Each(0x5a));
        const kernels::Fit fit = kernels::RoundToCodebookAndFit(codebook, fitted.span(), fitted_codes);
        const kernels::Fit same_fit = scalar::RoundToCodebookAndFit(codebook, same_fitted.span(), same_codes);
        ASSERT_EQ(fit.inner, same_fit.inner);
        ASSERT_EQ(fit.squares, same_fit.squares);
        ASSERT_TRUE(fitted == same);
        ASSERT_EQ(fitted_codes, same_codes);
        kernels::LookUpCodebook(codebook, to, looked_up.span());
        ASSERT_TRUE(looked_up == same);
      }
    }
  }
}

TEST_P(RotationKernels, ScaledValues_AreTheOracles) {
  const kernels::Scale scale{.unit = 0x1p-10f, .scale = 0x1.3p30f};
  for (const size_t length : kLengths) {
    const Floats x = Gaussian(length, 6);
    Floats values = Gaussian(length, 7);
    for (size_t i = 0; i < length; i += 5) values[i] = i % 2 == 0 ? 1e38f : -1e38f;
    for (size_t offset = 0; offset < kOffsets; ++offset) {
      SCOPED_TRACE(testing::Message() << length << " elements at offset " << offset);
      At v(3, values), out(offset, x), same(0, x);
      for (const bool past_cache : {false, true}) {
        kernels::SubtractScaled(x, v.span(), scale, {.out = out.span(), .past_cache = past_cache, .ahead = {}});
        kernels::FinishStores();
        scalar::SubtractScaled(x, v.span(), scale, {.out = same.span()});
        ASSERT_TRUE(out == same);
      }
      kernels::AddScaled(v.span(), scale, 0.3f, out.span());
      scalar::AddScaled(v.span(), scale, 0.3f, same.span());
      ASSERT_TRUE(out == same);
    }
  }
}

}  // namespace
}  // namespace laconic
