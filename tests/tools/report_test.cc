#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/report/charts.h"
#include "tools/report/page.h"

namespace laconic::tools {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// 1000 and 100 bytes; 1 ms and 3 ms outside of the exchange.
CollectiveResult Dense() {
  return {.spec = "dense",
          .baseline = true,
          .size_bytes = 1024,
          .time_seconds = 5e-3,
          .wire_bytes_per_rank = 1000,
          .exchange_seconds = 4e-3};
}
CollectiveResult Sign() {
  return {.spec = "sign",
          .size_bytes = 1024,
          .time_seconds = 4e-3,
          .wire_bytes_per_rank = 100,
          .ratio = 10,
          .encode_seconds = 1e-3,
          .exchange_seconds = 1e-3,
          .decode_seconds = 0.5e-3,
          .error_one_round = 0.6};
}
ResultFile File() {
  return {.name = "a.json", .kind = "allreduce", .ranks = 2, .backend = "inproc", .collectives = {Dense(), Sign()}};
}

TEST(Charts, Crossing_IsSavedBitsOverAddedTime) {
  // 8 * 900 bits over 2 ms
  EXPECT_DOUBLE_EQ(CrossingBitsPerSecond(Dense(), Sign()), 3.6e6);
  EXPECT_NEAR(SecondsOnLink(Dense(), 3.6e6), SecondsOnLink(Sign(), 3.6e6), 1e-12);
}

TEST(Charts, Crossing_NeverAndAlways) {
  CollectiveResult larger = Sign();
  larger.wire_bytes_per_rank = 1000;
  EXPECT_EQ(CrossingBitsPerSecond(Dense(), larger), 0);
  CollectiveResult free = Sign();
  free.exchange_seconds = free.time_seconds;
  EXPECT_EQ(CrossingBitsPerSecond(Dense(), free), INFINITY);
}

TEST(Charts, ParetoFront_LeavesOutWhatIsBeatenInBoth) {
  // (2, .1) (4, .5) (4, .3) (8, .6) (3, .4): the second is beaten by the third, the last by the third too.
  EXPECT_THAT(ParetoFront({2, 4, 4, 8, 3}, {.1, .5, .3, .6, .4}), ElementsAre(0, 2, 3));
}

TEST(Charts, Shares_AddUpToTheTime) {
  const std::vector<Section> sections = SectionsOf(File());
  const Chart& shares = sections[1].chart;
  ASSERT_EQ(shares.series.size(), 4u);
  double sum = 0;
  for (const Series& series : shares.series) sum += series.values[1];
  EXPECT_DOUBLE_EQ(sum, 4);  // ms
}

TEST(Charts, SizesWithoutARow_AreGaps) {
  ResultFile file = File();
  file.collectives.push_back({.spec = "dense", .baseline = true, .size_bytes = 4096, .time_seconds = 1e-2});
  const Chart chart = SectionsOf(file)[0].chart;
  EXPECT_THAT(chart.x, ElementsAre(1024, 4096));
  EXPECT_EQ(chart.series[1].label, "sign");
  EXPECT_TRUE(std::isnan(chart.series[1].values[1]));
}

TEST(Page, HasATableForEveryChart_AndOpensAlone) {
  const ResultFile files[] = {File()};
  const std::string page = ReportPage(files);
  EXPECT_THAT(page, HasSubstr("<h3>Time against size</h3>"));
  EXPECT_THAT(page, HasSubstr("3.6 Mbit/s"));
  for (const char* outside : {"src=\"http", "href=\"http", "@import", "url(http"}) {
    EXPECT_THAT(page, Not(HasSubstr(outside)));
  }
  EXPECT_EQ(page.find("Charts are left out") == std::string::npos, HaveUplot());
}

TEST(Page, TextOfAFile_IsEscapedInHtmlAndScript) {
  ResultFile file = File();
  file.name = "<b>a</b>";
  file.command = "laconic \"<script>alert(1)</script>\"";
  file.collectives[1].spec = "</script><script>alert(2)</script>";
  const std::string page = ReportPage(std::span(&file, 1));
  EXPECT_THAT(page, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(page, Not(HasSubstr("<b>a")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(2)"));
}

TEST(Page, EmptyFile_SaysSo) {
  const ResultFile file{.name = "empty.json", .kind = "codec"};
  EXPECT_THAT(ReportPage(std::span(&file, 1)), HasSubstr("no rows"));
}

}  // namespace
}  // namespace laconic::tools
