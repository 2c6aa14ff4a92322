#include "tools/text.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/statistics.h"
#include "tools/table.h"

namespace laconic::tools {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(SplitSpecs, CommasInsideParentheses_BelongToTheSpec) {
  EXPECT_THAT(*SplitSpecs("quantize(bits=4, rounding=stochastic)+ef, sign,scaled(randk(k=2, scale=unbiased))"),
              ElementsAre("quantize(bits=4, rounding=stochastic)+ef", "sign", "scaled(randk(k=2, scale=unbiased))"));
}

TEST(SplitSpecs, EmptySpec_NamesItsColumn) {
  EXPECT_THAT(std::string(SplitSpecs("sign,,topk(k=1)").status().message()), HasSubstr("nothing at column 6"));
  EXPECT_FALSE(SplitSpecs("").ok());
  EXPECT_FALSE(SplitSpecs("sign,").ok());
}

TEST(SplitSpecs, UnbalancedParentheses_AreRefused) {
  EXPECT_FALSE(SplitSpecs("topk(k=1").ok());
  EXPECT_FALSE(SplitSpecs("topk)k=1(").ok());
}

TEST(ParseCounts, Suffixes_ArePowersOf1024ForBytesAnd1000ForElements) {
  EXPECT_EQ(*ParseByteCount("-b", "1K"), 1024u);
  EXPECT_EQ(*ParseByteCount("-b", "64M"), 67108864u);
  EXPECT_EQ(*ParseElementCount("-n", "25.6M"), 25600000u);
  EXPECT_EQ(*ParseElementCount("-n", "1e6"), 1000000u);
}

TEST(ParseCounts, WhatIsNoPositiveWholeNumber_IsRefused) {
  for (const char* text : {"", "0", "-1", "1.5", "K", "1Q", "1KB", "nan", "inf", "1e300"}) {
    EXPECT_FALSE(ParseByteCount("-b", text).ok()) << text;
  }
}

TEST(ParseDimensions, Shapes_AreNumbersBetweenX) {
  EXPECT_THAT(*ParseDimensions("--shape", "4096x1024"), ElementsAre(4096, 1024));
  EXPECT_THAT(*ParseDimensions("--shape", "7"), ElementsAre(7));
  for (const char* text : {"", "x", "3x", "x3", "3x0", "3xx4", "3,4", "-3"}) {
    EXPECT_FALSE(ParseDimensions("--shape", text).ok()) << text;
  }
}

TEST(Statistics, MedianAndPercentile_OfSmallLists) {
  EXPECT_EQ(Median({}), 0);
  EXPECT_EQ(Median(std::vector<double>{3, 1, 2}), 2);
  EXPECT_EQ(Median(std::vector<double>{4, 1, 2, 3}), 2.5);
  std::vector<double> hundred;
  for (int i = 1; i <= 100; ++i) hundred.push_back(i);
  EXPECT_EQ(Percentile(hundred, 0.99), 99);
  EXPECT_EQ(Percentile(std::vector<double>{5, 7}, 0.99), 7);
}

TEST(FormatTable, Columns_AreAsWideAsTheirWidestCell) {
  EXPECT_EQ(FormatTable({{"spec", "", 0, true}, {"time", "(us)"}}, {{"sign", "12"}, {"a long one", "3"}}),
            "spec        time\n"
            "            (us)\n"
            "sign          12\n"
            "a long one     3\n");
}

}  // namespace
}  // namespace laconic::tools
