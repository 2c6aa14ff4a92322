#include "laconic/optim/federated/client_store.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "laconic/base/rng.h"
#include "laconic/optim/federated/federation.h"
#include "tests/base/status_macros.h"

namespace laconic {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

// An empty folder of the running test's own.
std::string NewFolder() {
  const std::string folder =
      ::testing::TempDir() + "/store_" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
  std::filesystem::remove_all(folder);
  return folder;
}

ClientStoreOptions Options(std::string folder = "", size_t memory_budget = size_t{1} << 30) {
  return {.clients = 10, .vectors = 2, .elements = 100, .folder = std::move(folder), .memory_budget = memory_budget};
}

// What a round does to its clients: every vector depends on all rounds the client has been in.
void TakeRound(ClientStore& store, uint64_t round) {
  for (const uint32_t client : SampleClients(/*seed=*/3, round, store.options().clients, 4)) {
    auto vectors = store.Begin(client);
    ASSERT_THAT(vectors, IsOk());
    for (const std::span<float> vector : *vectors) {
      for (float& x : vector) x = 2 * x + static_cast<float>(round + 1);
    }
    store.End(client);
  }
}

uint64_t HashAfter(uint64_t rounds) {
  auto store = ClientStore::Create(Options());
  for (uint64_t r = 0; r < rounds; ++r) TakeRound(**store, r);
  return (*store)->Hash();
}

TEST(ClientStore, VectorsAreZeroUntilWritten_ThenKept) {
  LACONIC_ASSERT_OK_AND_ASSIGN(auto store, ClientStore::Create(Options()));
  LACONIC_ASSERT_OK_AND_ASSIGN(auto vectors, store->Begin(3));
  ASSERT_EQ(vectors.size(), 2u);
  EXPECT_THAT(vectors[1], Each(0.0f));
  vectors[1][99] = 7;
  store->End(3);
  LACONIC_ASSERT_OK_AND_ASSIGN(vectors, store->Begin(3));
  EXPECT_EQ(vectors[1][99], 7);
  store->End(3);
  EXPECT_EQ(store->touched_clients(), 1u);
}

TEST(ClientStore, ClientOutOfRange_IsOutOfRange) {
  LACONIC_ASSERT_OK_AND_ASSIGN(auto store, ClientStore::Create(Options()));
  EXPECT_THAT(store->Begin(10), HasStatus(absl::StatusCode::kOutOfRange, HasSubstr("client 10 of 10")));
}

TEST(ClientStore, TouchedButZero_HashesAsUntouched) {
  LACONIC_ASSERT_OK_AND_ASSIGN(auto store, ClientStore::Create(Options()));
  const uint64_t before = store->Hash();
  LACONIC_ASSERT_OK(store->Begin(3));
  store->End(3);
  EXPECT_EQ(store->Hash(), before);
}

TEST(ClientStore, OnDiskPastTheBudget_SameBitsAndNothingStaysInMemory) {
  LACONIC_ASSERT_OK_AND_ASSIGN(auto store, ClientStore::Create(Options(NewFolder(), /*memory_budget=*/0)));
  for (uint64_t r = 0; r < 9; ++r) TakeRound(*store, r);
  EXPECT_EQ(store->Hash(), HashAfter(9));
  EXPECT_EQ(store->memory_bytes(), 0u);
  EXPECT_GE(store->disk_bytes(), store->touched_clients() * size_t{800});
}

TEST(ClientStore, ManyClients_TakeDiskAsTheyTakePart) {
  ClientStoreOptions options = Options(NewFolder());
  options.clients = 100'000;
  options.elements = 1'000'000;  // 800 GB, if they all took part
  LACONIC_ASSERT_OK_AND_ASSIGN(auto store, ClientStore::Create(options));
  LACONIC_ASSERT_OK_AND_ASSIGN(auto vectors, store->Begin(99'999));
  vectors[1][999'999] = 1;
  store->End(99'999);
  EXPECT_LE(store->disk_bytes(), size_t{16} << 20);
}

TEST(ClientStore, TooLarge_IsResourceExhausted) {
  ClientStoreOptions options = Options();
  options.clients = 0xffffffff;
  options.elements = size_t{1} << 40;
  EXPECT_THAT(ClientStore::Create(options), HasStatus(absl::StatusCode::kResourceExhausted, HasSubstr("4294967295")));
}

TEST(ClientStore, InMemory_HasNoCheckpoints) {
  LACONIC_ASSERT_OK_AND_ASSIGN(auto store, ClientStore::Create(Options()));
  EXPECT_THAT(store->Checkpoint(1), HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("folder")));
}

TEST(ClientStore, FolderInUse_IsRefused) {
  const std::string folder = NewFolder();
  LACONIC_ASSERT_OK_AND_ASSIGN(auto store, ClientStore::Create(Options(folder)));
  EXPECT_THAT(ClientStore::Create(Options(folder)),
              HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("in use")));
}

TEST(ClientStore, Restore_GoesBackToTheLastCheckpointOrTheOneBefore) {
  const std::string folder = NewFolder();
  LACONIC_ASSERT_OK_AND_ASSIGN(auto store, ClientStore::Create(Options(folder)));
  uint64_t round = 0;
  for (const uint64_t mark : {2, 5, 7}) {
    while (round < mark) TakeRound(*store, round++);
    LACONIC_ASSERT_OK(store->Checkpoint(mark));
  }
  TakeRound(*store, round);

  LACONIC_ASSERT_OK(store->Restore(7));
  EXPECT_EQ(store->Hash(), HashAfter(7));
  LACONIC_ASSERT_OK(store->Restore(5));
  EXPECT_EQ(store->Hash(), HashAfter(5));
  EXPECT_THAT(store->Restore(7), HasStatus(absl::StatusCode::kNotFound, HasSubstr("no checkpoint 7; it has 5")));
  store.reset();

  // Another process goes on from there.
  LACONIC_ASSERT_OK_AND_ASSIGN(store, ClientStore::Create(Options(folder)));
  LACONIC_ASSERT_OK(store->Restore(5));
  TakeRound(*store, 5);
  EXPECT_EQ(store->Hash(), HashAfter(6));
}

TEST(ClientStore, NoRestore_StartsFromZero) {
  const std::string folder = NewFolder();
  {
    LACONIC_ASSERT_OK_AND_ASSIGN(auto store, ClientStore::Create(Options(folder)));
    TakeRound(*store, 0);
    LACONIC_ASSERT_OK(store->Checkpoint(1));
  }
  LACONIC_ASSERT_OK_AND_ASSIGN(auto store, ClientStore::Create(Options(folder)));
  for (uint64_t r = 0; r < 2; ++r) TakeRound(*store, r);
  EXPECT_EQ(store->Hash(), HashAfter(2));
  EXPECT_THAT(store->Restore(1), HasStatus(absl::StatusCode::kNotFound, HasSubstr("clients.checkpoints")));
}

TEST(ClientStore, AnotherStoresFolder_IsDataLossAndStaysAsItWas) {
  const std::string folder = NewFolder();
  {
    LACONIC_ASSERT_OK_AND_ASSIGN(auto store, ClientStore::Create(Options(folder)));
    TakeRound(*store, 0);
    LACONIC_ASSERT_OK(store->Checkpoint(1));
  }
  ClientStoreOptions other = Options(folder);
  other.elements = 1;
  {
    LACONIC_ASSERT_OK_AND_ASSIGN(auto store, ClientStore::Create(other));
    EXPECT_THAT(store->Restore(1),
                HasStatus(absl::StatusCode::kDataLoss, HasSubstr("elements = 100, this store has 1")));
  }
  LACONIC_ASSERT_OK_AND_ASSIGN(auto store, ClientStore::Create(Options(folder)));
  LACONIC_ASSERT_OK(store->Restore(1));
  EXPECT_EQ(store->Hash(), HashAfter(1));
}

TEST(ClientStore, UndoLog_BrokenOffIsTheEnd_ChangedIsDataLoss) {
  const std::string folder = NewFolder();
  const std::string log = folder + "/clients.undo-0";
  {
    LACONIC_ASSERT_OK_AND_ASSIGN(auto store, ClientStore::Create(Options(folder)));
    TakeRound(*store, 0);
    LACONIC_ASSERT_OK(store->Checkpoint(1));
    TakeRound(*store, 1);
  }
  // The process was killed while it wrote the next record: that client has not changed.
  std::ofstream(log, std::ios::app) << std::string(10, '\1');
  const std::string copy = folder + "_copy";
  std::filesystem::remove_all(copy);
  std::filesystem::copy(folder, copy);
  {
    LACONIC_ASSERT_OK_AND_ASSIGN(auto store, ClientStore::Create(Options(folder)));
    LACONIC_ASSERT_OK(store->Restore(1));
    EXPECT_EQ(store->Hash(), HashAfter(1));
  }
  {
    std::fstream file(copy + "/clients.undo-0", std::ios::in | std::ios::out);
    file.seekp(8);  // in the first record's checksum
    file.put('\x55');
  }
  LACONIC_ASSERT_OK_AND_ASSIGN(auto store, ClientStore::Create(Options(copy)));
  EXPECT_THAT(store->Restore(1), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("checksum")));
}

TEST(ClientStore, DifferentClientsOnDifferentThreads_SameAsOneAfterTheOther) {
  const auto fill = [](ClientStore& store, uint32_t first, uint32_t last) {
    for (uint32_t client = first; client < last; ++client) {
      auto vectors = store.Begin(client);
      if (!vectors.ok()) return;
      for (float& x : (*vectors)[0]) x += static_cast<float>(client);
      store.End(client);
    }
  };
  LACONIC_ASSERT_OK_AND_ASSIGN(auto store, ClientStore::Create(Options(NewFolder(), /*memory_budget=*/0)));
  std::thread other(fill, std::ref(*store), 0, 5);
  fill(*store, 5, 10);
  other.join();
  LACONIC_ASSERT_OK(store->Checkpoint(1));
  const uint64_t then = store->Hash();
  std::thread again(fill, std::ref(*store), 0, 5);
  fill(*store, 5, 10);
  again.join();
  EXPECT_NE(store->Hash(), then);
  LACONIC_ASSERT_OK(store->Restore(1));
  EXPECT_EQ(store->Hash(), then);
}

// A process that takes rounds and checkpoints every third, and says a byte of each client and its mark after each
// checkpoint, until it is killed.
[[noreturn]] void TakeRoundsUntilKilled(const std::string& folder, uint64_t from, int progress) {
  auto store = ClientStore::Create(Options(folder, /*memory_budget=*/4096));
  if (!store.ok() || (from > 0 && !(*store)->Restore(from).ok())) _exit(1);
  for (uint64_t round = from;; ++round) {
    if (round > from && round % 3 == 0) {
      if (!(*store)->Checkpoint(round).ok()) _exit(1);
      const auto mark = static_cast<uint8_t>(round);
      if (write(progress, &mark, 1) != 1) _exit(1);
    }
    TakeRound(**store, round);
    constexpr uint8_t kRoundDone = 255;
    if (write(progress, &kRoundDone, 1) != 1) _exit(1);
  }
}

TEST(ClientStore, KilledAtAnyMoment_RestoresTheLastCheckpointThatReturned) {
  const std::string folder = NewFolder();
  const CounterRng rng(RngKey{.seed = 5});
  uint64_t mark = 0;
  for (uint64_t kill_number = 0; kill_number < 20; ++kill_number) {
    std::array<int, 2> progress{};
    ASSERT_EQ(pipe(progress.data()), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) TakeRoundsUntilKilled(folder, mark, progress[1]);
    close(progress[1]);
    // It goes on while we make up our minds: the kill falls anywhere in what follows.
    uint8_t said = 0;
    for (uint32_t left = 1 + rng.Below(kill_number, 12); left > 0; --left) {
      ASSERT_EQ(read(progress[0], &said, 1), 1) << "the child has failed";
      if (said != 255) mark = said;
    }
    kill(child, SIGKILL);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
    while (read(progress[0], &said, 1) == 1) {
      if (said != 255) mark = said;
    }
    close(progress[0]);
    if (mark == 0) continue;  // killed before the first checkpoint
    LACONIC_ASSERT_OK_AND_ASSIGN(auto store, ClientStore::Create(Options(folder, /*memory_budget=*/4096)));
    LACONIC_ASSERT_OK(store->Restore(mark));
    ASSERT_EQ(store->Hash(), HashAfter(mark)) << "kill " << kill_number << ", mark " << mark;
    if (mark > 200) break;  // marks are told in a byte
  }
  EXPECT_GT(mark, 0u);
}

}  // namespace
}  // namespace laconic
