#include "laconic/comm/collectives/agreement.h"

#include "laconic/base/status.h"
#include "tests/comm/strategy_harness.h"

namespace laconic {
namespace {

using testing::OnRanks;

// The message every rank got; the same on all.
std::string AgreementOn(int ranks, const std::function<std::vector<AgreedFact>(int rank)>& facts) {
  std::vector<std::string> messages(ranks);
  OnRanks(ranks, [&](Communicator& comm) -> absl::Status {
    messages[comm.rank()] = std::string(AgreeOn(comm, facts(comm.rank())).message());
    return absl::OkStatus();
  });
  for (const std::string& message : messages) EXPECT_EQ(message, messages[0]);
  return messages[0];
}

TEST(AgreeOn, EqualFacts_IsOk) {
  EXPECT_EQ(AgreementOn(4, [](int) { return std::vector<AgreedFact>{{"spec", "dense"}, {"seed", "1"}}; }), "");
}

TEST(AgreeOn, OneRankDiffers_AllRanksNameFactRankAndBothValues) {
  const std::string message = AgreementOn(4, [](int rank) {
    return std::vector<AgreedFact>{{"seed", "1"},
                                   {"shape of tensor fc1.weight", rank == 2 ? "[256, 783]" : "[256, 784]"}};
  });
  EXPECT_EQ(message,
            "ranks disagree on shape of tensor fc1.weight: \"[256, 784]\" on rank 0, \"[256, 783]\" on rank 2");
}

TEST(AgreeOn, RankZeroDiffers_IsFoundToo) {
  const std::string message = AgreementOn(3, [](int rank) {
    return std::vector<AgreedFact>{{"spec", rank == 0 ? "sign" : "dense"}};
  });
  EXPECT_EQ(message, "ranks disagree on spec: \"sign\" on rank 0, \"dense\" on rank 1");
}

TEST(AgreeOn, OneRankHasMoreFacts_IsAnError) {
  const std::string message = AgreementOn(2, [](int rank) {
    std::vector<AgreedFact> facts = {{"tensor 0", "a"}};
    if (rank == 1) facts.push_back({"tensor 1", "b"});
    return facts;
  });
  EXPECT_EQ(message, "ranks disagree on what there is to agree on: \"\" on rank 0, \"tensor 1\" on rank 1");
}

TEST(AgreeOn, OneRank_IsOk) {
  EXPECT_EQ(AgreementOn(1, [](int) { return std::vector<AgreedFact>{{"spec", "dense"}}; }), "");
}

}  // namespace
}  // namespace laconic
