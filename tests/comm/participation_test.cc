// Ranks that come and go: who takes part in a step, and what the others send.
#include <algorithm>

#include "laconic/base/status.h"
#include "laconic/comm/collectives/strategy.h"
#include "tests/comm/strategy_harness.h"

namespace laconic {
namespace {

using ::testing::HasSubstr;
using testing::OnRanks;
using testing::RankBucket;

const std::vector<Shape> kShapes = {Shape({37, 20}), Shape({16, 12})};

// The steps of [0, steps) in which each rank takes part: those after which its error has moved.
std::vector<std::vector<int>> StepsPresent(const std::string& spec, int ranks, int steps) {
  std::vector<std::vector<int>> present(ranks);
  OnRanks(ranks, [&](Communicator& comm) -> absl::Status {
    RankBucket bucket(kShapes, comm);
    LACONIC_RETURN_IF_ERROR(bucket.Make(spec, comm));
    for (int step = 0; step < steps; ++step) {
      bucket.FillGradients(step);
      const ErrorControl& control = bucket.slots[0].control;
      const std::vector<float> before(control.error().begin(), control.error().end());
      LACONIC_RETURN_IF_ERROR(
          bucket.strategy->Run(comm, bucket.slots, {.step = static_cast<uint64_t>(step)}, 1.0f, bucket.result));
      bucket.strategy->Commit(bucket.slots);
      if (!std::equal(before.begin(), before.end(), control.error().begin())) present[comm.rank()].push_back(step);
    }
    return absl::OkStatus();
  });
  return present;
}

// 200 draws at p = 1/4: mean 50, deviation 6.1, five of them.
TEST(Participation, RanksTakePartInTheirShareOfSteps_TheSameUnderAnyStrategy) {
  const std::vector<std::vector<int>> gather = StepsPresent("topk(ratio=0.1)+ef(participation=0.25)+gather", 3, 200);
  for (const std::vector<int>& steps : gather) EXPECT_NEAR(static_cast<double>(steps.size()), 50, 5 * 6.1);
  EXPECT_NE(gather[0], gather[1]);
  EXPECT_EQ(StepsPresent("topk(ratio=0.1)+ef(participation=0.25)+scatter", 3, 200), gather);
}

TEST(Participation, RankThatIsAway_SendsHeadersOnly) {
  OnRanks(2, [](Communicator& comm) -> absl::Status {
    RankBucket bucket({Shape::Flat(1000)}, comm);
    LACONIC_RETURN_IF_ERROR(bucket.Make("identity+ef(participation=0.5)+gather", comm));
    int away = 0;
    for (uint64_t step = 0; step < 20; ++step) {
      bucket.FillGradients(step);
      const uint64_t before = comm.traffic().bytes_sent;
      LACONIC_RETURN_IF_ERROR(bucket.strategy->Run(comm, bucket.slots, {.step = step}, 1.0f, bucket.result));
      bucket.strategy->Commit(bucket.slots);
      const uint64_t sent = comm.traffic().bytes_sent - before;
      away += sent < 4000;
      EXPECT_TRUE(sent == 48 || sent == 48 + 48 + 4000) << sent;  // header; frame and floats
    }
    EXPECT_GT(away, 0);
    EXPECT_LT(away, 20);
    return absl::OkStatus();
  });
}

TEST(Participation, WhereAllMustTakePart_IsRefused) {
  for (const char* spec : {"lowrank+ef(participation=0.5)+linear", "sign+ef(participation=0.5)+hierarchical(local=2)",
                           "natural+diana(participation=0.5)+scatter"}) {
    const absl::Status status = RunInProcess(2, [&](std::unique_ptr<Transport> transport) {
      Communicator comm(std::move(transport), {.timeout = absl::Seconds(20)});
      return RankBucket(kShapes, comm).Make(spec, comm);
    });
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << spec << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("participation = 0.5")) << spec;
  }
}

}  // namespace
}  // namespace laconic
