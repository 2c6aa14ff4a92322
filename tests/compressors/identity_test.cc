#include "compressors/identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/compressors/dense_codec.h"

namespace laconic {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

const internal::Identity kIdentity;

TEST(Identity, RoundTrip_GivesTheSameFloats) {
  EXPECT_THAT(RoundTrip(kIdentity, Floats{1.5f, 0.0f, -3.0f, kSmallestDenormal, kLargestFloat}),
              ElementsAre(1.5f, 0.0f, -3.0f, kSmallestDenormal, kLargestFloat));
}

TEST(Identity, Body_IsTheFloatsAsTheyLieInMemory) {
  EXPECT_EQ(EncodeBody(kIdentity, Floats{1.0f, -2.0f}), MakeBytes({0x00, 0x00, 0x80, 0x3f, 0x00, 0x00, 0x00, 0xc0}));
}

TEST(Identity, EncodeResidual_LeavesZeros) { EXPECT_THAT(Residual(kIdentity, Gaussian(100)), Each(0.0f)); }

TEST(Identity, DecodeAdd_AddsScaledValues) {
  Floats acc = {10.0f, 20.0f};
  ASSERT_THAT(kIdentity.DecodeAdd(EncodeBody(kIdentity, Floats{1.0f, -2.0f}), Shape({2}), 0.5f, acc), IsOk());
  EXPECT_THAT(acc, ElementsAre(10.5f, 19.0f));
}

TEST(Identity, EmptyTensor_HasNoBody) {
  EXPECT_THAT(EncodeBody(kIdentity, Floats{}), SizeIs(0));
  EXPECT_THAT(Decode(kIdentity, {}, 0), IsOk());
  EXPECT_THAT(Decode(kIdentity, MakeBytes({0}), 0), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("1 bytes")));
}

TEST(Identity, NonFiniteElement_IsInvalidArgumentThatNamesIt) {
  EXPECT_THAT(EncodeError(kIdentity, {1.0f, kInfinity, kNaN}),
              HasStatus(absl::StatusCode::kInvalidArgument, "identity: element 1 of 3 is inf"));
}

TEST(Identity, DecodeAdd_RefusesOtherLengthsAndNonFiniteValues) {
  EXPECT_THAT(Decode(kIdentity, FloatBytes(1), 2),
              HasStatus(absl::StatusCode::kDataLoss, "identity body: 4 bytes, expected 8"));
  Bytes body = EncodeBody(kIdentity, Floats(1500));
  const Bytes nan = FloatBytes(kNaN);
  std::copy(nan.begin(), nan.end(), body.begin() + 4 * 1499);
  EXPECT_THAT(Decode(kIdentity, body, 1500),
              HasStatus(absl::StatusCode::kDataLoss, "identity body: element 1499 is nan"));
}

TEST(Identity, Spec_TakesNoKeys) {
  EXPECT_EQ((*Create(IdentityInfo(), "identity"))->ToString(), "identity");
  EXPECT_THAT(Create(IdentityInfo(), "identity(bits=4)"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("column 10")));
}

}  // namespace
}  // namespace laconic
