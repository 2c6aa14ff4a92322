#include "laconic/base/status.h"

#include <gmock/gmock.h>

#include <memory>

#include "tests/base/matchers.h"

namespace laconic {
namespace {

using testing::Eq;

TEST(Annotate, Ok_StaysOk) { EXPECT_THAT(Annotate(absl::OkStatus(), "fc1.weight"), IsOk()); }

TEST(Annotate, Error_KeepsItsCodeAndGetsContextInFront) {
  EXPECT_THAT(Annotate(absl::DataLossError("index 4 >= 4"), "fc1.weight"),
              HasStatus(absl::StatusCode::kDataLoss, Eq("fc1.weight: index 4 >= 4")));
}

TEST(Annotate, Twice_ReadsFromTheOutside) {
  const absl::Status inner = Annotate(absl::AbortedError("no"), "tensor a");
  EXPECT_THAT(Annotate(inner, "rank 3"), HasStatus(absl::StatusCode::kAborted, Eq("rank 3: tensor a: no")));
}

TEST(Annotate, Payload_IsKept) {
  absl::Status status = absl::AbortedError("no");
  status.SetPayload("laconic/rank", absl::Cord("3"));
  EXPECT_EQ(Annotate(status, "x").GetPayload("laconic/rank"), absl::Cord("3"));
}

TEST(ReturnIfError, Error_LeavesTheFunctionAtOnce) {
  int evaluated = 0;
  const auto run = [&]() -> absl::Status {
    LACONIC_RETURN_IF_ERROR((++evaluated, absl::OkStatus()));
    LACONIC_RETURN_IF_ERROR((++evaluated, absl::NotFoundError("a")));
    LACONIC_RETURN_IF_ERROR((++evaluated, absl::AbortedError("b")));
    return absl::OkStatus();
  };
  EXPECT_THAT(run(), HasStatus(absl::StatusCode::kNotFound, Eq("a")));
  EXPECT_EQ(evaluated, 2);
}

TEST(AssignOrReturn, Value_IsMovedAndDeclaredTwiceInOneScope) {
  const auto run = []() -> absl::StatusOr<int> {
    LACONIC_ASSIGN_OR_RETURN(const std::unique_ptr<int> a,
                             absl::StatusOr<std::unique_ptr<int>>(std::make_unique<int>(2)));
    LACONIC_ASSIGN_OR_RETURN(const int b, absl::StatusOr<int>(3));
    return *a + b;
  };
  EXPECT_THAT(*run(), Eq(5));
}

TEST(AssignOrReturn, Error_IsReturned) {
  const auto run = []() -> absl::StatusOr<int> {
    LACONIC_ASSIGN_OR_RETURN(const int value, absl::StatusOr<int>(absl::OutOfRangeError("far")));
    return value;
  };
  EXPECT_THAT(run(), HasStatus(absl::StatusCode::kOutOfRange, Eq("far")));
}

}  // namespace
}  // namespace laconic
