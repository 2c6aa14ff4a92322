#include "laconic/comm/transport/in_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace laconic {
namespace {

using ::testing::ElementsAre;

TEST(InProcess, EndsOfAGroup_KnowRankAndSize) {
  const auto ends = MakeInProcessGroup(3);
  ASSERT_EQ(ends.size(), 3u);
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(ends[rank]->rank(), rank);
    EXPECT_EQ(ends[rank]->size(), 3);
    EXPECT_EQ(ends[rank]->memory(), Memory::kHost);
    EXPECT_EQ(ends[rank]->host(), "localhost");
  }
}

TEST(RunInProcess, AllRanksSucceed_IsOk) {
  std::vector<int> ran(4, 0);
  EXPECT_TRUE(RunInProcess(4, [&](std::unique_ptr<Transport> t) {
                ran[t->rank()] = 1;
                return absl::OkStatus();
              }).ok());
  EXPECT_THAT(ran, ElementsAre(1, 1, 1, 1));
}

// Ranks 0 and 2 only learn that rank 1 is gone; the error that counts is rank 1's own.
TEST(RunInProcess, OneRankFails_OthersReturnAndItsErrorIsGiven) {
  const absl::Status status = RunInProcess(3, [](std::unique_ptr<Transport> t) -> absl::Status {
    if (t->rank() == 1) return absl::NotFoundError("no such file");
    std::byte byte;
    const Incoming receive{1, std::span(&byte, 1)};
    return t->Exchange({}, std::span(&receive, 1), {});
  });
  EXPECT_EQ(status, absl::NotFoundError("rank 1: no such file"));
}

TEST(RunInProcess, SeveralRanksFail_TheFirstByRankIsGiven) {
  const absl::Status status = RunInProcess(4, [](std::unique_ptr<Transport> t) -> absl::Status {
    if (t->rank() < 2) return absl::OkStatus();
    return absl::InternalError("broken");
  });
  EXPECT_EQ(status, absl::InternalError("rank 2: broken"));
}

// A rank that dies before it takes its end of a duplicate must not leave its peers waiting there.
TEST(InProcess, PeerLeavesBeforeItDuplicates_DuplicateReportsIt) {
  auto ends = MakeInProcessGroup(2);
  const auto duplicate = *ends[0]->Duplicate();
  ends[1].reset();
  std::byte byte;
  const Incoming receive{1, std::span(&byte, 1)};
  EXPECT_EQ(duplicate->Exchange({}, std::span(&receive, 1), {}), absl::UnavailableError("rank 1 has left the group"));
}

TEST(InProcess, PeerHasLeftBeforeTheDuplicateIsMade_DuplicateReportsIt) {
  auto ends = MakeInProcessGroup(2);
  ends[1].reset();
  const auto duplicate = *ends[0]->Duplicate();
  std::byte byte;
  const Incoming receive{1, std::span(&byte, 1)};
  EXPECT_EQ(duplicate->Exchange({}, std::span(&receive, 1), {}), absl::UnavailableError("rank 1 has left the group"));
}

}  // namespace
}  // namespace laconic
