#include "tests/comm/server/journal_checks.h"

#include <gmock/gmock.h>

#include "tests/base/matchers.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const RunInfo kRun = {.id = 7, .clients = 4, .rounds = 10};

RunInfo Described(const std::string& description) {
  RunInfo run = kRun;
  run.description = description;
  return run;
}

// A journal with clients 1 and 2 registered: opened, and what it held.
struct Opened {
  std::unique_ptr<RoundJournal> journal;
  RecoveredRun run;
};
Opened OpenAt(JournalPlace& place, int64_t seconds = 0) {
  Opened opened;
  auto journal = place.Open();
  EXPECT_THAT(journal, IsOk());
  if (!journal.ok()) return opened;
  auto run = (*journal)->Open(Described("sgd"), At(seconds));
  EXPECT_THAT(run, IsOk());
  if (!run.ok()) return opened;
  opened.run = *std::move(run);
  opened.journal = *std::move(journal);
  return opened;
}

TEST_P(JournalTest, New_HasNothing) {
  const auto place = GetParam().make_place();
  const Opened opened = OpenAt(*place);
  EXPECT_EQ(opened.run.closed_rounds, 0u);
  EXPECT_EQ(opened.run.saved_rounds, 0u);
  EXPECT_FALSE(opened.run.state.has_value());
  EXPECT_TRUE(opened.run.updates.empty());
  EXPECT_TRUE(opened.run.clients.empty());
}

TEST_P(JournalTest, OpenAgain_GivesBackClientsUpdatesAndCounters) {
  const auto place = GetParam().make_place();
  {
    Opened opened = OpenAt(*place);
    ASSERT_THAT(opened.journal->RegisterClient(1, 100, At(0)), IsOk());
    ASSERT_THAT(opened.journal->RegisterClient(2, 200, At(0)), IsOk());
    ASSERT_THAT(opened.journal->RegisterClient(2, 201, At(1)), IsOk());
    // In any order, one of them empty.
    const AcceptedUpdate updates[] = {MakeUpdate(0, 2, 0, 0, 0), MakeUpdate(0, 1, 0, 3, 5)};
    ASSERT_THAT(opened.journal->Accept(updates), IsOk());
    const StateArchive state = MakeState(11);
    Counters counters;
    counters[Counter::kAccepted] = 2;
    ASSERT_THAT(opened.journal->CloseRound(
                    {.round = 0, .opened = At(0), .closed = At(2), .participants = 2, .counted = 2}, counters, &state),
                IsOk());
    const AcceptedUpdate later = MakeUpdate(1, 2, 1, 100'000, 9);
    ASSERT_THAT(opened.journal->Accept({&later, 1}), IsOk());
  }
  const Opened again = OpenAt(*place, 3);
  EXPECT_EQ(again.run.closed_rounds, 1u);
  EXPECT_EQ(again.run.saved_rounds, 1u);
  ASSERT_TRUE(again.run.state.has_value());
  EXPECT_EQ(*StateReader(&*again.run.state).U64("value"), 11u);
  ASSERT_EQ(again.run.updates.size(), 1u);
  EXPECT_EQ(again.run.updates[0].round, 1u);
  EXPECT_EQ(again.run.updates[0].client, 2u);
  EXPECT_EQ(again.run.updates[0].counted_in, 1u);
  EXPECT_EQ(again.run.updates[0].incarnation, 1u);
  EXPECT_EQ(again.run.updates[0].accepted, At(1));
  EXPECT_EQ(again.run.updates[0].bytes, MakeUpdate(1, 2, 1, 100'000, 9).bytes);
  ASSERT_EQ(again.run.clients.size(), 2u);
  EXPECT_EQ(again.run.clients[0].client, 1u);
  EXPECT_EQ(again.run.clients[0].incarnation, 100u);
  EXPECT_EQ(again.run.clients[0].last_accepted, (ClientRecord::Accepted{0, MakeUpdate(0, 1, 0, 3, 5).digest}));
  EXPECT_EQ(again.run.clients[1].incarnation, 201u);
  EXPECT_EQ(again.run.clients[1].last_accepted, (ClientRecord::Accepted{1, MakeUpdate(1, 2, 1, 100'000, 9).digest}));
  EXPECT_EQ(again.run.counters[Counter::kAccepted], 2u);
  EXPECT_TRUE(again.run.warnings.empty());
}

// What lies between the saved state and the open round comes back by round, then by client, to be closed again.
TEST_P(JournalTest, ClosesWithoutState_GiveBackTheUpdatesSinceTheLastOne) {
  const auto place = GetParam().make_place();
  {
    Opened opened = OpenAt(*place);
    ASSERT_THAT(opened.journal->RegisterClient(1, 100, At(0)), IsOk());
    ASSERT_THAT(opened.journal->RegisterClient(3, 100, At(0)), IsOk());
    for (uint64_t round = 0; round < 4; ++round) {
      // Client 1 is one round behind with what it sends.
      const AcceptedUpdate updates[] = {MakeUpdate(round, 3, round, 2, 3),
                                        MakeUpdate(round == 0 ? 0 : round - 1, 1, round, 2, 1)};
      ASSERT_THAT(opened.journal->Accept(std::span(updates).first(round == 1 ? 1 : 2)), IsOk());
      const StateArchive state = MakeState(round);
      ASSERT_THAT(
          opened.journal->CloseRound(
              {.round = round, .opened = At(0), .closed = At(1), .participants = 2, .counted = round == 1 ? 1u : 2u},
              Counters(), round == 1 ? &state : nullptr),
          IsOk());
    }
  }
  const Opened again = OpenAt(*place);
  EXPECT_EQ(again.run.closed_rounds, 4u);
  EXPECT_EQ(again.run.saved_rounds, 2u);
  EXPECT_EQ(*StateReader(&*again.run.state).U64("value"), 1u);
  ASSERT_EQ(again.run.updates.size(), 4u);
  const uint64_t expected[][3] = {{2, 1, 1}, {2, 3, 2}, {3, 1, 2}, {3, 3, 3}};  // counted in, client, made for
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(again.run.updates[i].counted_in, expected[i][0]);
    EXPECT_EQ(again.run.updates[i].client, expected[i][1]);
    EXPECT_EQ(again.run.updates[i].round, expected[i][2]);
  }
}

TEST_P(JournalTest, OpenAgain_WithAnotherDescription_IsRefusedNamingBoth) {
  const auto place = GetParam().make_place();
  OpenAt(*place);
  const auto journal = place->Open();
  ASSERT_THAT(journal, IsOk());
  EXPECT_THAT((*journal)->Open(Described("adam"), At(1)),
              HasStatus(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("\"sgd\""), HasSubstr("\"adam\""))));
}

TEST_P(JournalTest, OpenAgain_WithOtherClientsOrRounds_IsRefused) {
  const auto place = GetParam().make_place();
  OpenAt(*place);
  const auto journal = place->Open();
  ASSERT_THAT(journal, IsOk());
  RunInfo more_clients = Described("sgd"), more_rounds = Described("sgd");
  more_clients.clients = 5;
  more_rounds.rounds = 11;
  EXPECT_THAT((*journal)->Open(more_clients, At(1)),
              HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("clients")));
  EXPECT_THAT((*journal)->Open(more_rounds, At(1)),
              HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("rounds")));
}

}  // namespace
}  // namespace laconic
