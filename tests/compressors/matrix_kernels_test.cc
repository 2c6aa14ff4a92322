// The matrix kernels against their oracle bit for bit, on every instruction set that this CPU can run, at sizes around
// every tile, vector and chunk of columns; and the oracle against the mathematics.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>

#include "compressors/kernels/matrix.h"
#include "compressors/kernels/targets.h"
#include "tests/compressors/dense_codec.h"

namespace laconic::kernels {
namespace {

using ::testing::ElementsAre;

// Values in [-1, 1) with all their bits in use and, every seventh, a zero of either sign or a denormal.
Floats Varied(size_t count, uint64_t seed) {
  Floats x(count);
  uint64_t state = seed;
  for (float& value : x) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    value = static_cast<float>(static_cast<int32_t>(state >> 32)) * 0x1p-31f;
  }
  const float special[] = {0.0f, -0.0f, kSmallestDenormal};
  for (size_t i = seed % 7; i < count; i += 7) x[i] = special[i % 3];
  return x;
}

void ExpectSameBits(std::span<const float> actual, std::span<const float> expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(actual[i]), std::bit_cast<uint32_t>(expected[i]))
        << "element " << i << " of " << actual.size() << ": " << actual[i] << ", expected " << expected[i];
  }
}

// Sizes around the lanes (16), the tile (4 or 8 rows, 256 columns) and the chunks of columns (4, 2, 1); the last two
// reach the size from which results are written past the caches (2^20 elements), whole lines and not.
constexpr std::array kShapes = {MatrixShape{1, 1, 1},       MatrixShape{2, 3, 2},      MatrixShape{3, 15, 1},
                                MatrixShape{4, 16, 3},      MatrixShape{5, 17, 4},     MatrixShape{7, 31, 5},
                                MatrixShape{8, 33, 7},      MatrixShape{9, 64, 8},     MatrixShape{12, 100, 2},
                                MatrixShape{13, 255, 3},    MatrixShape{17, 256, 4},   MatrixShape{6, 257, 1},
                                MatrixShape{11, 271, 6},    MatrixShape{10, 512, 4},   MatrixShape{3, 1000, 11},
                                MatrixShape{1031, 1027, 1}, MatrixShape{1024, 1024, 1}};

class MatrixKernels : public testing::TestWithParam<int64_t> {
 protected:
  // Calls check(shape) for all shapes on the test's target.
  template <typename Check>
  void ForEachShape(const Check& check) {
    const ForcedTarget forced(GetParam());
    for (const MatrixShape& shape : kShapes) {
      SCOPED_TRACE(testing::Message() << shape.rows << " x " << shape.cols << ", rank " << shape.rank);
      check(shape);
      if (HasFatalFailure()) return;
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Targets, MatrixKernels, testing::ValuesIn(RunnableTargets()),
                         [](const auto& target) { return std::string(TargetName(target.param)); });

// A float off any line, so that results lie across lines.
std::span<float> Unaligned(Floats& memory) { return std::span(memory).subspan(1); }

TEST_P(MatrixKernels, MultiplyByFactor_EqualsTheOracle) {
  ForEachShape([](const MatrixShape& shape) {
    const Floats g = Varied(shape.elements(), 1), e = Varied(shape.elements(), 2), h = Varied(shape.elements(), 3);
    const Floats q = Varied(shape.cols * shape.rank, 4);
    Message message(g);
    message.error = e;
    message.shift = h;
    message.error_weight = 0.3f;
    message.kappa = 0.7f;
    for (const Message& m : {Message(g), message}) {
      Floats expected_p(shape.rows * shape.rank), p(expected_p.size(), kNaN);
      Floats expected_m(shape.elements()), memory(shape.elements() + 1, kNaN);
      scalar::MultiplyByFactor(shape, m, q, {0, shape.rows}, expected_m, expected_p);
      MultiplyByFactor(shape, m, q, {0, shape.rows}, Unaligned(memory), p);
      ExpectSameBits(p, expected_p);
      ExpectSameBits(Unaligned(memory), expected_m);
      std::fill(p.begin(), p.end(), kNaN);
      MultiplyByFactor(shape, m, q, {0, shape.rows}, {}, p);
      ExpectSameBits(p, expected_p);
    }
  });
}

TEST_P(MatrixKernels, MultiplyTransposeByFactor_EqualsTheOracle) {
  ForEachShape([](const MatrixShape& shape) {
    const Floats m = Varied(shape.elements(), 1), p = Varied(shape.rows * shape.rank, 2);
    Floats expected(shape.cols * shape.rank), q(expected.size(), kNaN);
    scalar::MultiplyTransposeByFactor(shape, m, p, {0, shape.cols}, expected);
    MultiplyTransposeByFactor(shape, m, p, {0, shape.cols}, q);
    ExpectSameBits(q, expected);
  });
}

TEST_P(MatrixKernels, Products_EqualTheOracle) {
  ForEachShape([](const MatrixShape& shape) {
    const Range all = {0, shape.rows};
    const Floats p = Varied(shape.rows * shape.rank, 1), q = Varied(shape.cols * shape.rank, 2);
    const Floats q_y = Varied(q.size(), 3), before = Varied(shape.elements(), 4);
    Floats expected_y(shape.elements()), y(shape.elements() + 1, kNaN);
    Floats expected_acc = before, acc(1);
    acc.insert(acc.end(), before.begin(), before.end());

    scalar::AddProductAndProduct(shape, p, q, -0.3f, q_y, all, expected_acc, expected_y);
    AddProductAndProduct(shape, p, q, -0.3f, q_y, all, Unaligned(acc), Unaligned(y));
    ExpectSameBits(Unaligned(acc), expected_acc);
    ExpectSameBits(Unaligned(y), expected_y);

    scalar::AddProduct(shape, p, q, 0.9f, all, expected_acc);
    AddProduct(shape, p, q, 0.9f, all, Unaligned(acc));
    ExpectSameBits(Unaligned(acc), expected_acc);

    scalar::Product(shape, p, q, all, expected_y);
    Product(shape, p, q, all, Unaligned(y));
    ExpectSameBits(Unaligned(y), expected_y);
  });
}

TEST_P(MatrixKernels, Ranges_TogetherGiveTheWholeAndTouchNothingElse) {
  const ForcedTarget forced(GetParam());
  constexpr MatrixShape kShape = {23, 301, 3};
  const Floats m = Varied(kShape.elements(), 1), q = Varied(kShape.cols * 3, 2);
  Floats whole_p(kShape.rows * 3), p(whole_p.size(), kNaN), whole_y(kShape.elements()), y(whole_y.size(), kNaN);
  Floats whole_q(q.size()), part_q(q.size(), kNaN), whole_acc = m, acc = m, formed(m.size(), kNaN);
  MultiplyByFactor(kShape, m, q, {0, 23}, {}, whole_p);
  MultiplyTransposeByFactor(kShape, m, whole_p, {0, 301}, whole_q);
  AddProductAndProduct(kShape, whole_p, q, 2, whole_q, {0, 23}, whole_acc, whole_y);
  for (const Range rows : {Range{9, 10}, Range{0, 9}, Range{10, 10}, Range{10, 23}}) {
    MultiplyByFactor(kShape, m, q, rows, formed, p);
    AddProductAndProduct(kShape, whole_p, q, 2, whole_q, rows, acc, y);
    if (rows.begin == 9) {  // the first range: one row
      const auto is_nan = [](float value) { return std::isnan(value); };
      EXPECT_EQ(std::count_if(p.begin(), p.end(), is_nan), 22 * 3);
      EXPECT_EQ(std::count_if(y.begin(), y.end(), is_nan), 22 * 301);
      EXPECT_EQ(std::count_if(formed.begin(), formed.end(), is_nan), 22 * 301);
    }
  }
  for (const Range cols : {Range{100, 101}, Range{0, 100}, Range{101, 301}}) {
    MultiplyTransposeByFactor(kShape, m, whole_p, cols, part_q);
  }
  ExpectSameBits(p, whole_p);
  ExpectSameBits(formed, m);
  ExpectSameBits(y, whole_y);
  ExpectSameBits(acc, whole_acc);
  ExpectSameBits(part_q, whole_q);
}

TEST_P(MatrixKernels, ColumnsInDoublePrecision_EqualTheOracle) {
  const ForcedTarget forced(GetParam());
  for (const size_t count : {0u, 1u, 3u, 7u, 8u, 9u, 15u, 16u, 17u, 100u, 1001u}) {
    const Floats unit = Varied(count, 1), other = Varied(count, 2);
    const std::vector<double> x(other.begin(), other.end());
    EXPECT_EQ(SquaredLength(x), scalar::SquaredLength(x)) << count;
    EXPECT_EQ(Dot(x, unit), scalar::Dot(x, unit)) << count;
    std::vector<double> expected = x, left = x;
    scalar::SubtractScaled(0.1, unit, expected);
    SubtractScaled(0.1, unit, left);
    EXPECT_EQ(left, expected) << count;
  }
}

// ---- The oracle ----

TEST(MatrixOracle, Products_AreThoseOfTheRowMajorMatrix) {
  constexpr MatrixShape kShape = {2, 3, 2};
  const Floats m = {1, 2, 3, 4, 5, 6};
  Floats p(4), formed(6), q(6, kNaN), y(6);
  scalar::MultiplyByFactor(kShape, m, Floats{1, 0, 0, 1, 1, 1}, {0, 2}, formed, p);
  EXPECT_THAT(p, ElementsAre(1, 4, 6, 15));
  EXPECT_EQ(formed, m);
  scalar::MultiplyTransposeByFactor(kShape, m, Floats{1, 0, 1, -1}, {0, 3}, q);  // what lies in q is not read
  EXPECT_THAT(q, ElementsAre(1, 2, 3, -3, -3, -3));
  scalar::Product(kShape, Floats{1, 0, 2, -1}, Floats{1, 2, 3, 0, 1, 0}, {0, 2}, y);
  EXPECT_THAT(y, ElementsAre(1, 4, 3, 0, -1, 0));
  scalar::AddProduct(kShape, Floats{1, 0, 2, -1}, Floats{1, 2, 3, 0, 1, 0}, -2, {0, 2}, y);
  EXPECT_THAT(y, ElementsAre(-1, -4, -3, 0, 1, 0));
}

TEST(MatrixOracle, ProductsWithAMatrix_AreThoseInDoublePrecision) {
  for (const auto& shape : {MatrixShape{5, 7, 2}, MatrixShape{33, 17, 5}, MatrixShape{8, 300, 4}}) {
    const auto& [rows, cols, rank] = shape;
    const Floats m = Gaussian(rows * cols, 1), q = Gaussian(cols * rank, 2), p_in = Gaussian(rows * rank, 3);
    Floats p(rows * rank), q_out(cols * rank);
    scalar::MultiplyByFactor(shape, m, q, {0, rows}, {}, p);
    scalar::MultiplyTransposeByFactor(shape, m, p_in, {0, cols}, q_out);
    for (size_t k = 0; k < rank; ++k) {
      for (size_t i = 0; i < rows; ++i) {
        double sum = 0, size = 0;
        for (size_t j = 0; j < cols; ++j) {
          const double term = static_cast<double>(m[i * cols + j]) * q[k * cols + j];
          sum += term, size += std::abs(term);
        }
        // Each of the `cols` terms passes through at most cols + 1 roundings of relative 2^-24.
        EXPECT_NEAR(p[k * rows + i], sum, static_cast<double>(cols + 1) * 0x1p-24 * size);
      }
      for (size_t j = 0; j < cols; ++j) {
        double sum = 0, size = 0;
        for (size_t i = 0; i < rows; ++i) {
          const double term = static_cast<double>(m[i * cols + j]) * p_in[k * rows + i];
          sum += term, size += std::abs(term);
        }
        EXPECT_NEAR(q_out[k * cols + j], sum, static_cast<double>(rows + 1) * 0x1p-24 * size);
      }
    }
  }
}

}  // namespace
}  // namespace laconic::kernels
