#include "tools/result_file.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace laconic::tools {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string ErrorOf(std::string_view text) {
  const absl::StatusOr<ResultFile> file = ParseResultFile("out.json", text);
  EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(file.status().message());
}

TEST(ResultFile, Allreduce_HasSettingAndRows) {
  const absl::StatusOr<ResultFile> file = ParseResultFile("out.json", R"({
    "schema": "laconic-bench", "version": 1, "kind": "allreduce", "ranks": 4, "backend": "mpi",
    "machine": {"cpu": "a cpu", "cores": 2},
    "link": {"text": "1Gbit,rtt=1ms", "bits_per_second": 1e9, "round_trip_seconds": 1e-3},
    "rows": [{"spec": "sign+ef+scatter", "runs_as": "scatter", "baseline": false, "size_bytes": 1024, "time_seconds": 0.5,
              "times_seconds": [0.5, 0.6], "wrong": null, "break_even_bits_per_second": null, "unknown": {}}]})");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->Setting(), "allreduce, 4 ranks, mpi, 1Gbit,rtt=1ms");
  EXPECT_EQ(file->cores, 2);
  ASSERT_EQ(file->collectives.size(), 1u);
  EXPECT_EQ(file->collectives[0].spec, "sign+ef+scatter");
  EXPECT_THAT(file->collectives[0].times_seconds, ElementsAre(0.5, 0.6));
  EXPECT_FALSE(file->collectives[0].wrong.has_value());
  EXPECT_FALSE(file->collectives[0].break_even_bits_per_second.has_value());
}

TEST(ResultFile, OtherVersion_IsRefusedNamingBoth) {
  EXPECT_THAT(ErrorOf(R"({"schema": "laconic-bench", "version": 2, "kind": "codec", "rows": []})"),
              AllOf(HasSubstr("out.json"), HasSubstr("version 2"), HasSubstr("version 1")));
  EXPECT_THAT(ErrorOf(R"({"schema": "something", "version": 1})"), HasSubstr("something"));
}

TEST(ResultFile, BadFields_AreNamedWithTheirRow) {
  const auto with_rows = [](std::string_view rows) {
    return R"({"schema": "laconic-bench", "version": 1, "kind": "allreduce", "rows": )" + std::string(rows) + "}";
  };
  EXPECT_THAT(ErrorOf("no json"), HasSubstr("no JSON"));
  EXPECT_THAT(ErrorOf("[1, 2]"), HasSubstr("out.json"));
  EXPECT_THAT(ErrorOf(with_rows("7")), HasSubstr("rows"));
  EXPECT_THAT(ErrorOf(with_rows("[7]")), HasSubstr("rows[0]"));
  EXPECT_THAT(ErrorOf(with_rows(R"([{"spec": "a", "size_bytes": 4}])")), HasSubstr("rows[0].time_seconds: missing"));
  EXPECT_THAT(ErrorOf(with_rows(R"([{"spec": 5, "size_bytes": 4, "time_seconds": 1}])")), HasSubstr("rows[0].spec"));
  EXPECT_THAT(ErrorOf(with_rows(R"([{"spec": "a", "size_bytes": -4, "time_seconds": 1}])")), HasSubstr("size_bytes"));
  EXPECT_THAT(ErrorOf(with_rows(R"([{"spec": "a", "size_bytes": 4, "time_seconds": 1, "times_seconds": ["x"]}])")),
              HasSubstr("times_seconds"));
}

TEST(ResultFile, FileThatIsNotThere_IsNotFound) {
  EXPECT_EQ(ReadResultFile("/nowhere/out.json").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace laconic::tools
