#include "laconic/base/state.h"

#include <gmock/gmock.h>

#include "tests/base/matchers.h"

namespace laconic {
namespace {

using testing::ElementsAre;
using testing::Eq;
using testing::IsEmpty;

TEST(State, Scopes_JoinNamesWithSlashes) {
  StateArchive archive;
  StateWriter(&archive).Scope("sync").Scope("fc1.weight").U64("step", 7);
  EXPECT_TRUE(archive.tensors.contains("sync/fc1.weight/step"));
  const StateReader reader = StateReader(&archive).Scope("sync").Scope("fc1.weight");
  EXPECT_EQ(reader.prefix(), "sync/fc1.weight/");
  EXPECT_EQ(*reader.U64("step"), 7u);
  EXPECT_TRUE(reader.Has("step"));
  EXPECT_FALSE(StateReader(&archive).Has("step"));
}

TEST(State, EveryKind_ReadsBack) {
  StateArchive archive;
  StateWriter writer(&archive, "a/");
  writer.Floats("matrix", std::vector<float>{1, 2, 3, 4, 5, 6}, Shape({2, 3}));
  writer.Floats("nothing", {});
  writer.U64("large", ~uint64_t{0});
  writer.Bytes("bytes", std::vector<std::byte>{std::byte{1}, std::byte{255}});
  writer.Text("spec", "topk(ratio=0.01)");

  const StateReader reader(&archive, "a/");
  EXPECT_THAT(*reader.Floats("matrix"), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_EQ(archive.tensors.at("a/matrix").shape, Shape({2, 3}));
  std::vector<float> out(6);
  EXPECT_THAT(reader.Floats("matrix", out), IsOk());
  EXPECT_THAT(out, ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(*reader.Floats("nothing"), IsEmpty());
  EXPECT_THAT(reader.Floats("nothing", {}), IsOk());
  EXPECT_EQ(*reader.U64("large"), ~uint64_t{0});
  EXPECT_THAT(*reader.Bytes("bytes"), ElementsAre(std::byte{1}, std::byte{255}));
  EXPECT_EQ(*reader.Text("spec"), "topk(ratio=0.01)");
  EXPECT_TRUE(reader.Has("spec"));
}

TEST(StateReader, MissingEntry_IsNotFoundByItsFullName) {
  const StateArchive archive;
  const StateReader reader = StateReader(&archive).Scope("sync");
  const auto missing = HasStatus(absl::StatusCode::kNotFound, Eq("state sync/error: not in the archive"));
  EXPECT_THAT(reader.Floats("error"), missing);
  EXPECT_THAT(reader.U64("error"), missing);
  EXPECT_THAT(reader.Bytes("error"), missing);
  EXPECT_THAT(reader.Text("error"), missing);
}

TEST(StateReader, OtherType_IsDataLossWithBothTypes) {
  StateArchive archive;
  StateWriter(&archive).U64("step", 7);
  EXPECT_THAT(StateReader(&archive).Floats("step"),
              HasStatus(absl::StatusCode::kDataLoss, Eq("state step: has type U64, wanted F32")));
  EXPECT_THAT(StateReader(&archive).Bytes("step"),
              HasStatus(absl::StatusCode::kDataLoss, Eq("state step: has type U64, wanted U8")));
}

TEST(StateReader, OtherCount_IsDataLossWithBothCountsAndLeavesTheOutput) {
  StateArchive archive;
  StateWriter(&archive).Floats("error", std::vector<float>{1, 2, 3});
  std::vector<float> out = {9, 9};
  EXPECT_THAT(StateReader(&archive).Floats("error", out),
              HasStatus(absl::StatusCode::kDataLoss, Eq("state error: has 3 elements, wanted 2")));
  EXPECT_THAT(out, ElementsAre(9, 9));
}

TEST(StateReader, U64OfAVector_IsDataLoss) {
  StateArchive archive;
  archive.tensors["step"] = {StateType::kU64, Shape({2}), std::vector<std::byte>(16)};
  EXPECT_THAT(StateReader(&archive).U64("step"),
              HasStatus(absl::StatusCode::kDataLoss, Eq("state step: has 2 elements, wanted 1")));
}

TEST(StateWriterDeathTest, NameWrittenTwice_FailsTheAssertion) {
  StateArchive archive;
  StateWriter writer(&archive);
  writer.U64("step", 1);
  EXPECT_DEBUG_DEATH(writer.U64("step", 2), "unique");
  EXPECT_EQ(*StateReader(&archive).U64("step"), 1u);
}

}  // namespace
}  // namespace laconic
