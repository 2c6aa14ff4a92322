// The stall of error feedback on unequal ranks is proportional to 1/delta (Q4, gamma = 0.0125).
#include <cmath>
#include <cstddef>

#include "gtest/gtest.h"
#include "tests/golden/reference.h"

namespace laconic::golden {
namespace {

// Levels of orbits whose order roundings can permute, hence 5 %.
TEST(ErrorFeedbackStall, FewerEntriesKept_StallsHigher) {
  for (const auto& [k, level] : {std::pair{1, 0.1587}, {2, 0.0786}, {4, 0.0386}, {10, 0.0134}}) {
    EXPECT_NEAR(DescendQ4(kEf, TopK<double>(k), 0.0125, 40000).Level(), level, 0.05 * level) << "top-" << k;
  }
}

TEST(ErrorFeedbackStall, EverythingKept_Converges) {
  EXPECT_LT(DescendQ4(kEf, TopK<double>(20), 0.0125, 40000).Level(), 1e-12);
}

}  // namespace
}  // namespace laconic::golden
