#include "tools/report/runs.h"

#include <cmath>
#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/base/matchers.h"
#include "tools/report/svg.h"

namespace laconic::tools {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++count;
  return count;
}

// Empty when every element of `xml` is closed in order, no < or & stands loose and there is no control character; else
// the place. Enough for what SvgOf writes: no comments, no CDATA.
std::string IllFormed(const std::string& xml) {
  std::vector<std::string> open;
  for (size_t i = 0; i < xml.size(); ++i) {
    const std::string rest = xml.substr(i, 40);
    if (static_cast<unsigned char>(xml[i]) < 0x20 && xml[i] != '\n') return rest;
    if (xml[i] == '&') {
      const size_t end = xml.find(';', i);
      if (end == std::string::npos || end - i > 6) return rest;
    }
    if (xml[i] != '<') continue;
    const size_t end = xml.find('>', i);
    if (end == std::string::npos) return rest;
    const std::string tag = xml.substr(i + 1, end - i - 1);
    if (tag.find('<') != std::string::npos || Count(tag, "\"") % 2 != 0) return rest;
    const std::string name = tag.substr(0, tag.find(' '));
    if (tag.starts_with('/')) {
      if (open.empty() || "/" + open.back() != name) return rest;
      open.pop_back();
    } else if (!tag.ends_with('/')) {
      open.push_back(name);
    }
    i = end;
  }
  return open.empty() ? "" : "not closed: " + open.back();
}

RunRecord Of(const std::string& label, double seed, std::vector<double> loss) {
  return {.label = label, .seed = seed, .curve = {{"step", {10, 20, 30}}, {"loss", std::move(loss)}}};
}

TEST(Lines, SeedsOfOneLabel_AreOneLineWithTheirRangeAsBand) {
  const auto lines = LinesOf(
      std::vector<RunRecord>{Of("a", 1, {4, 3, 2}), Of("b", 1, {9, 9, 9}), Of("a", 2, {6, 3, 1})}, "step", "loss");
  ASSERT_THAT(lines, IsOk());
  ASSERT_EQ(lines->size(), 2u);
  EXPECT_EQ((*lines)[0].label, "a");
  const PlotPoint& first = (*lines)[0].points[0];
  EXPECT_EQ(first.x, 10);
  EXPECT_EQ(first.y, 5);
  EXPECT_EQ(first.low, 4);
  EXPECT_EQ(first.high, 6);
}

TEST(Lines, FiguresOfSeveralCases_AreOnePointEachByAscendingX) {
  const auto run = [](const char* where, double n, double floor) {
    return RunRecord{.label = "a", .where = where, .figures = {{"n", n}, {"floor", floor}}};
  };
  const auto lines =
      LinesOf(std::vector<RunRecord>{run("n=16", 16, 1), run("n=4", 4, 5), run("n=4", 4, 3)}, "n", "floor");
  ASSERT_THAT(lines, IsOk());
  ASSERT_EQ(lines->size(), 1u);
  ASSERT_EQ((*lines)[0].points.size(), 2u);
  EXPECT_EQ((*lines)[0].points[0].x, 4);
  EXPECT_EQ((*lines)[0].points[0].y, 4);
  EXPECT_EQ((*lines)[0].points[1].y, 1);
}

TEST(Lines, KeyThatNoRunHas_IsAnErrorNamingBoth) {
  EXPECT_THAT(LinesOf(std::vector<RunRecord>{Of("a", 1, {1, 1, 1})}, "step", "accuracy"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("both \"step\" and \"accuracy\"")));
}

TEST(Table, Seeds_AreMeanAndDeviationAndTheOthersComparedWithOne) {
  const auto run = [](const char* label, double accuracy, double bytes) {
    return RunRecord{.label = label, .figures = {{"test_accuracy", accuracy}, {"wire_bytes", bytes}}};
  };
  const std::vector<RunRecord> runs = {run("dense", 0.5, 64e6), run("sign", 0.25, 2e6), run("sign", 0.75, 2e6)};
  const std::vector<std::string> figures = {"test_accuracy", "wire_bytes"};
  EXPECT_EQ(*TableOf(runs, figures, "dense"),
            "| method | test_accuracy | wire_bytes |\n|---|---|---|\n"
            "| dense | 50.00 % | 64 MB |\n"
            "| sign | 50.00 % ± 35.36 (+0.00) | 2 MB (32x fewer) |\n");  // sqrt(2 * 0.25^2 / 1)
  EXPECT_THAT(TableOf(runs, figures, "top-k"), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("top-k")));
  EXPECT_THAT(TableOf(runs, std::vector<std::string>{"loss"}, ""),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("\"loss\"")));
}

TEST(ReadRuns, MalformedRun_IsNamed) {
  const std::string path = testing::TempDir() + "/runs_test.json";
  const auto read = [&](const std::string& text) {
    std::ofstream(path) << text;
    return ReadRuns(path);
  };
  const auto runs = read(R"({"runs": [{"spec": "dense", "seed": 3, "floor": "diverged", "steps": 5}]})");
  ASSERT_THAT(runs, IsOk());
  EXPECT_EQ((*runs)[0].label, "dense");
  EXPECT_EQ((*runs)[0].seed, 3);
  EXPECT_TRUE(std::isinf((*runs)[0].figures.at("floor")));
  EXPECT_THAT(read(R"({"runs": [{"spec": "a"}, {"seed": 1}]})"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("run 1: has neither label nor spec")));
  EXPECT_THAT(read(R"({"runs": [{"spec": "a", "curve": {"loss": [1, 2], "step": [1]}}]})"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("\"step\" has 1 points and \"loss\" 2")));
  EXPECT_THAT(read("{"), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("no JSON with \"runs\"")));
  std::filesystem::remove(path);
  EXPECT_THAT(ReadRuns(path), HasStatus(absl::StatusCode::kNotFound, HasSubstr("runs_test.json")));
}

TEST(Svg, Plot_IsWellFormedAndHasEverySeriesOnce) {
  const Plot plot = {.title = "a < b & \"c\"\x01",
                     .x_title = "bytes",
                     .y_title = "loss",
                     .x_log = true,
                     .y_log = true,
                     .lines = {{"first <1>", {{1, 2, 1, 3}, {10, 1, 1, 1}}},
                               {"second", {{1, 1, 1, 1}, {0, 5, 5, 5}, {100, NAN, NAN, NAN}}},
                               {"nowhere", {{1, -1, -1, -1}}}}};
  const std::string svg = SvgOf(plot);
  EXPECT_EQ(IllFormed(svg), "");
  EXPECT_EQ(Count(svg, "<polyline"), 2u);
  EXPECT_EQ(Count(svg, "<polygon"), 1u);  // a band where there is a range
  EXPECT_EQ(Count(svg, "<circle"), 3u);   // of lines with few points; none for what has no place on the axes
  EXPECT_THAT(svg, HasSubstr("first &lt;1&gt;</text>"));
  EXPECT_THAT(svg, HasSubstr("nowhere (nothing to show)</text>"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
  EXPECT_EQ(IllFormed(SvgOf({})), "");
}

TEST(Svg, IllFormedText_IsFound) {  // the test above can fail
  EXPECT_THAT(IllFormed("<svg><text>a</svg>"), Not(IsEmpty()));
  EXPECT_THAT(IllFormed("<svg>a & b</svg>"), Not(IsEmpty()));
  EXPECT_THAT(IllFormed("<svg>"), Not(IsEmpty()));
}

TEST(Ticks, AreRoundNumbersWithinTheAxis) {
  EXPECT_THAT(LinearTicks(0, 10, 5), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(LinearTicks(0.3, 1.2, 4), ElementsAre(0.5, 1.0));
  EXPECT_THAT(LogTicks(0.5, 2000), ElementsAre(1, 10, 100, 1000));
  EXPECT_THAT(LogTicks(3, 30), ElementsAre(5, 10, 20));
}

}  // namespace
}  // namespace laconic::tools
