#include "laconic/optim/federated/network_model.h"

#include <algorithm>
#include <cmath>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/base/status_macros.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::Field;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Lt;

TEST(NetworkModel, Values_AreEveryClients) {
  LACONIC_ASSERT_OK_AND_ASSIGN(
      const NetworkModel network,
      NetworkModel::Parse("network(up=8kbit, down=16kbit, latency=20ms, step=5ms)", /*clients=*/2, /*seed=*/1));
  ASSERT_EQ(network.links.size(), 2u);
  // 0.02 down, 1000 bytes at 2000 a second, 3 steps, 0.02 up, 1000 bytes at 1000 a second.
  EXPECT_NEAR(network.Seconds(1, 1000, 1000, 3), 0.02 + 0.5 + 0.015 + 0.02 + 1.0, 1e-12);
  EXPECT_EQ(network.description, "network(up=8kbit, down=16kbit, latency=20ms, step=5ms)");
}

TEST(NetworkModel, NothingGiven_TakesNoTime) {
  LACONIC_ASSERT_OK_AND_ASSIGN(const NetworkModel network, NetworkModel::Parse("network", 1, 1));
  EXPECT_EQ(network.Seconds(0, 1 << 30, 1 << 30, 1000), 0);
}

TEST(NetworkModel, Uniform_LiesInItsRange) {
  LACONIC_ASSERT_OK_AND_ASSIGN(const NetworkModel network,
                               NetworkModel::Parse("network(up=uniform(1Mbit, 2Mbit))", 1000, 1));
  EXPECT_THAT(network.links, Each(Field(&ClientLink::uplink_bits_per_second, AllOf(Ge(1e6), Lt(2e6)))));
  EXPECT_NE(network.links[0].uplink_bits_per_second, network.links[1].uplink_bits_per_second);
}

TEST(NetworkModel, Lognormal_HasItsMedianAndSpread) {
  LACONIC_ASSERT_OK_AND_ASSIGN(const NetworkModel network,
                               NetworkModel::Parse("network(step=lognormal(10ms, 0.5))", 10000, 1));
  std::vector<double> logs;
  double squares = 0;
  for (const ClientLink& link : network.links) {
    logs.push_back(std::log(link.step_seconds / 0.01));
    squares += logs.back() * logs.back();
  }
  std::nth_element(logs.begin(), logs.begin() + 5000, logs.end());
  // Four standard errors: of a median 1.25 sigma / sqrt(n), of a variance sigma^2 sqrt(2 / n).
  EXPECT_NEAR(logs[5000], 0, 4 * 1.25 * 0.5 / 100);
  EXPECT_NEAR(squares / 10000, 0.25, 4 * 0.25 * std::sqrt(2.0) / 100);
}

TEST(NetworkModel, Stragglers_AreTheirShareExactly) {
  LACONIC_ASSERT_OK_AND_ASSIGN(const NetworkModel network,
                               NetworkModel::Parse("network(step=1s, stragglers=0.25, slowdown=4)", 20, 1));
  EXPECT_EQ(std::ranges::count(network.links, 4.0, &ClientLink::step_seconds), 5);
  EXPECT_EQ(std::ranges::count(network.links, 1.0, &ClientLink::step_seconds), 15);
}

TEST(NetworkModel, SameSeed_SameFigures) {
  constexpr std::string_view kSpec = "network(down=uniform(1Mbit, 2Mbit), stragglers=0.5)";
  LACONIC_ASSERT_OK_AND_ASSIGN(const NetworkModel a, NetworkModel::Parse(kSpec, 4, 7));
  LACONIC_ASSERT_OK_AND_ASSIGN(const NetworkModel b, NetworkModel::Parse(kSpec, 4, 7));
  LACONIC_ASSERT_OK_AND_ASSIGN(const NetworkModel c, NetworkModel::Parse(kSpec, 4, 8));
  EXPECT_EQ(a.links[3].downlink_bits_per_second, b.links[3].downlink_bits_per_second);
  EXPECT_NE(a.links[3].downlink_bits_per_second, c.links[3].downlink_bits_per_second);
}

TEST(NetworkModel, Trace_IsTakenLineByLine) {
  const std::string path = ::testing::TempDir() + "/trace of (two).csv";
  std::ofstream(path) << "uplink_bps,downlink_bps,latency_s,step_s\n1e6,2e6,0.01,0.5\r\n3e6,0,0,0\n";
  LACONIC_ASSERT_OK_AND_ASSIGN(const NetworkModel network, NetworkModel::Parse("network(trace=" + path + ")", 3, 1));
  ASSERT_EQ(network.links.size(), 3u);
  EXPECT_EQ(network.links[0].step_seconds, 0.5);
  EXPECT_EQ(network.links[1].uplink_bits_per_second, 3e6);
  EXPECT_EQ(network.links[2].latency_seconds, 0.01);
}

TEST(NetworkModel, BadTrace_NamesFileAndLine) {
  const std::string path = ::testing::TempDir() + "/bad_trace.csv";
  std::ofstream(path) << "uplink_bps,downlink_bps,latency_s,step_s\n1,2,3,4\n1,2,3\n";
  EXPECT_THAT(NetworkModel::Parse("network(trace=" + path + ")", 1, 1),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("bad_trace.csv line 3: \"1,2,3\" is not four numbers")));
  std::ofstream(path) << "up,down\n";
  EXPECT_THAT(NetworkModel::Parse("network(trace=" + path + ")", 1, 1),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("line 1")));
  EXPECT_THAT(NetworkModel::Parse("network(trace=/nowhere/at/all)", 1, 1),
              HasStatus(absl::StatusCode::kNotFound, HasSubstr("/nowhere/at/all")));
}

TEST(NetworkModel, BadSpec_NamesTheColumn) {
  const auto message = [](std::string_view spec) {
    return std::string(NetworkModel::Parse(spec, 1, 1).status().message());
  };
  EXPECT_THAT(message("net(up=1Mbit)"), HasSubstr("spec column 1: \"net\" is no network"));
  EXPECT_THAT(message("network(upp=1Mbit)"), HasSubstr("spec column 9: network has no key \"upp\""));
  EXPECT_THAT(message("network(up=1ms)"),
              HasSubstr("spec column 12: up = 1ms: accepted are a number with one of the units kbit"));
  EXPECT_THAT(message("network(up=-1Mbit)"), HasSubstr("spec column 12"));
  EXPECT_THAT(message("network(up=uniform(2Mbit, 1Mbit))"), HasSubstr("from more to less"));
  EXPECT_THAT(message("network(up=uniform(2Mbit))"), HasSubstr("uniform takes two values"));
  EXPECT_THAT(message("network(step=lognormal(2ms, 6))"), HasSubstr("spec column 29: sigma = 6"));
  EXPECT_THAT(message("network(stragglers=2)"), HasSubstr("stragglers"));
}

}  // namespace
}  // namespace laconic
