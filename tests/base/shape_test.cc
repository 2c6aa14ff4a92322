#include "laconic/base/shape.h"

#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include "tests/base/matchers.h"

namespace laconic {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t k2To32 = uint64_t{1} << 32;

TEST(Shape, Scalar_HasOneElementAndNoDimensions) {
  const Shape shape;
  EXPECT_EQ(shape.elements(), 1u);
  EXPECT_THAT(shape.dimensions(), IsEmpty());
  EXPECT_EQ(shape.rows(), 1u);
  EXPECT_EQ(shape.cols(), 1u);
  EXPECT_EQ(shape.ToString(), "[]");
}

TEST(Shape, Vector_IsOneColumn) {
  const Shape shape = Shape::Flat(5);
  EXPECT_EQ(shape.elements(), 5u);
  EXPECT_EQ(shape.rows(), 5u);
  EXPECT_EQ(shape.cols(), 1u);
}

TEST(Shape, ConvolutionWeight_IsOutByRestMatrix) {
  const Shape shape({8, 3, 5, 5});
  EXPECT_EQ(shape.rows(), 8u);
  EXPECT_EQ(shape.cols(), 75u);
  EXPECT_EQ(shape.elements(), 600u);
  EXPECT_EQ(shape.ToString(), "[8, 3, 5, 5]");
}

TEST(Shape, Equality_IsOfDimensionsNotElements) {
  EXPECT_EQ(Shape({2, 3}), *Shape::Make(std::vector<uint64_t>{2, 3}));
  EXPECT_FALSE(Shape({2, 3}) == Shape({3, 2}));
  EXPECT_FALSE(Shape({6}) == Shape({6, 1}));
}

TEST(Shape, Make_EightDimensionsAreTheMost) {
  EXPECT_THAT(Shape::Make(std::vector<uint64_t>(8, 2)), IsOk());
  EXPECT_THAT(Shape::Make(std::vector<uint64_t>(9, 2)),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("shape of 9 dimensions: at most 8")));
}

TEST(Shape, Make_LargestCountThatFits64Bits_IsAccepted) {
  EXPECT_EQ(Shape::Make(std::vector<uint64_t>{k2To32 - 1, k2To32 + 1})->elements(), ~uint64_t{0});
}

TEST(Shape, Make_CountOfTwoToThe64_IsInvalidArgument) {
  EXPECT_THAT(Shape::Make(std::vector<uint64_t>{k2To32, k2To32}),
              HasStatus(absl::StatusCode::kInvalidArgument,
                        HasSubstr("[4294967296, 4294967296]: the element count overflows")));
}

// Else cols() = 2^64 would wrap although elements() = 0 is right.
TEST(Shape, Make_OverflowBesideAZeroDimension_IsInvalidArgument) {
  EXPECT_FALSE(Shape::Make(std::vector<uint64_t>{0, k2To32, k2To32}).ok());
}

TEST(Shape, ZeroDimension_IsEmptyTensor) {
  const Shape shape({3, 0});
  EXPECT_EQ(shape.elements(), 0u);
  EXPECT_EQ(shape.rows(), 3u);
  EXPECT_EQ(shape.cols(), 0u);
}

TEST(ShapeDeathTest, TrustedShapeThatOverflows_EndsTheProgramWithTheReason) {
  EXPECT_DEATH(Shape({k2To32, k2To32}), "element count overflows");
}

RC_GTEST_PROP(Shape, Make_AcceptsExactlyWhatFits, ()) {
  const auto dimensions = *rc::gen::resize(
      6, rc::gen::container<std::vector<uint64_t>>(rc::gen::suchThat(
             rc::gen::oneOf(rc::gen::inRange<uint64_t>(1, 5), rc::gen::inRange<uint64_t>(1, uint64_t{1} << 33)),
             [](uint64_t d) { return d > 0; })));
  RC_PRE(dimensions.size() <= Shape::kMaxDimensions);
  // The product as a 128-bit number, stopped once it is out of reach.
  unsigned __int128 product = 1;
  for (const uint64_t dimension : dimensions) {
    if (product >> 64 == 0) product *= dimension;
  }
  const auto shape = Shape::Make(dimensions);
  RC_ASSERT(shape.ok() == (product >> 64 == 0));
  if (shape.ok()) {
    RC_ASSERT(shape->elements() == static_cast<uint64_t>(product));
    RC_ASSERT(shape->rows() * shape->cols() == shape->elements());
  }
}

}  // namespace
}  // namespace laconic
