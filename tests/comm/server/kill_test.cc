// kill -9 of the server's process while clients push: what was acknowledged counts, once.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "laconic/comm/server/sqlite_journal.h"
#include "tests/base/matchers.h"
#include "tests/comm/server/test_server.h"

extern char** environ;

namespace laconic {
namespace {

// A child with its input and output at our end of pipes. It ends when its input does, so also when this process dies.
class Child {
 public:
  explicit Child(std::vector<std::string> arguments) {
    std::array<int, 2> in, out;
    EXPECT_EQ(pipe2(in.data(), O_CLOEXEC), 0);
    EXPECT_EQ(pipe2(out.data(), O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    EXPECT_EQ(posix_spawn(&pid_, pointers[0], &actions, nullptr, pointers.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    input_ = in[1];
    output_ = fdopen(out[0], "r");
  }
  ~Child() {
    close(input_);
    if (pid_ > 0) waitpid(pid_, nullptr, 0);
    fclose(output_);
  }
  Child(const Child&) = delete;

  // Waits for it; "" at the end.
  std::string Line() {
    std::array<char, 64> line{};
    if (fgets(line.data(), line.size(), output_) == nullptr) return "";
    std::string text(line.data());
    text.pop_back();
    return text;
  }
  void Kill() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t pid_ = 0;
  int input_ = -1;
  FILE* output_ = nullptr;
};

// The first column of all rows.
std::vector<std::string> Query(const std::string& path, const std::string& sql) {
  sqlite3* database = nullptr;
  std::vector<std::string> rows;
  EXPECT_EQ(sqlite3_open_v2(path.c_str(), &database, SQLITE_OPEN_READWRITE, nullptr), SQLITE_OK);
  const auto add = [](void* into, int, char** values, char**) {
    static_cast<std::vector<std::string>*>(into)->emplace_back(values[0] == nullptr ? "NULL" : values[0]);
    return 0;
  };
  EXPECT_EQ(sqlite3_exec(database, sql.c_str(), add, &rows, nullptr), SQLITE_OK) << sqlite3_errmsg(database);
  sqlite3_close(database);
  return rows;
}

TEST(ParameterServer, KilledFourTimesWhileClientsPush_EverythingAcknowledgedCountsOnce) {
  constexpr uint32_t kClients = 4;
  constexpr uint64_t kRounds = 25;
  std::string folder = (std::filesystem::temp_directory_path() / "laconic-kill-XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::vector<std::string> names = {"127.0.0.1"};
  const std::string certificates = folder + "/certificates";
  ASSERT_THAT(WriteCertificates({.path = certificates, .names = names, .clients = kClients, .validity = ToDay()}),
              IsOk());
  const auto serve = [&](const std::string& port) {
    return std::make_unique<Child>(
        std::vector<std::string>{LACONIC_SERVE_SUM, folder, port, std::to_string(kClients), std::to_string(kRounds)});
  };
  auto server = serve("0");
  const std::string port = server->Line();
  ASSERT_NE(port, "");

  std::atomic<uint64_t> furthest = 0;
  std::thread killer([&] {
    for (uint64_t at = 5; at <= 20; at += 5) {
      for (uint64_t seen = furthest; seen < at; seen = furthest) furthest.wait(seen);
      server->Kill();
      server = serve(port);
      EXPECT_EQ(server->Line(), port);
    }
  });
  const auto options = [&](uint32_t client) {
    const std::string own = certificates + "/client-" + std::to_string(client);
    ServerClientOptions of_client;
    of_client.server = "127.0.0.1:" + port;
    of_client.client = client;
    of_client.tls = TlsIdentity::Read(certificates + "/ca.pem", own + ".pem", own + ".key").value();
    of_client.retry_for = absl::Seconds(60);
    of_client.first_backoff = absl::Milliseconds(5);
    of_client.max_backoff = absl::Milliseconds(50);
    return of_client;
  };
  const auto runs = TakePartAll(kClients, options, 64, [&](uint64_t round) {
    uint64_t before = furthest;
    while (before < round && !furthest.compare_exchange_weak(before, round)) {
    }
    furthest.notify_all();
  });
  killer.join();
  for (const ClientRun& run : runs) {
    EXPECT_THAT(run.status, IsOk());
    EXPECT_EQ(run.accepted + run.already_accepted, kRounds);
  }
  EXPECT_EQ(server->Line(), std::to_string(static_cast<uint64_t>(SumWork::TotalOf(kClients, kRounds))));
  server.reset();
  EXPECT_TRUE(Query(folder + "/run.db", std::string(kSqliteAudit)).empty());
  EXPECT_EQ(Query(folder + "/run.db", "SELECT count(*) FROM inbox"), std::vector<std::string>{"100"});
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace laconic
