// The parameter server over mutual TLS on loopback: what honest clients may rely on, also when replies get lost, the
// server restarts, and descriptors run out.
#include "laconic/comm/server/server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "tests/base/matchers.h"
#include "tests/comm/server/test_server.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// The value of a metric in the server's own text; -1 if it is not there.
double Metric(const std::string& text, const std::string& name) {
  const size_t at = text.find("\nlaconic_" + name + " ");
  return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 10));
}

std::function<ServerClientOptions(uint32_t)> Clients(const TestServer& server) {
  return [&server](uint32_t client) { return server.ClientOptions(client); };
}

// A blocking TCP connection to the server, which says nothing. -1: refused.
int Dial(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return fd;
  close(fd);
  return -1;
}

// Whether the peer ends the connection within 20 s.
bool IsEnded(int fd) {
  pollfd polled = {.fd = fd, .events = POLLIN, .revents = 0};
  char byte;
  return poll(&polled, 1, 20000) == 1 && recv(fd, &byte, 1, 0) <= 0;
}

TEST(ParameterServer, EightClientsFiveRounds_EverybodyCountsOnceARound) {
  TestServer server({.clients = 8, .rounds = 5});
  const std::vector<ClientRun> runs = TakePartAll(8, Clients(server), 64);
  for (const ClientRun& run : runs) {
    EXPECT_THAT(run.status, IsOk());
    EXPECT_EQ(run.accepted, 5u);
    EXPECT_EQ(run.last_total, SumWork::TotalOf(8, 4));  // what was there when the last round opened
  }
  EXPECT_THAT(server.server().AwaitEnd(absl::Now() + absl::Seconds(20)), IsOk());
  server.Stop();
  EXPECT_EQ(server.total(), SumWork::TotalOf(8, 5));
}

// 2.5 MiB: three pieces each way.
TEST(ParameterServer, MessagesOfSeveralPieces_ArriveWhole) {
  constexpr size_t kBytes = (5u << 20) / 2;
  TestServer server({.clients = 2, .rounds = 2, .update_bytes = kBytes, .broadcast_bytes = kBytes});
  for (const ClientRun& run : TakePartAll(2, Clients(server), kBytes)) EXPECT_THAT(run.status, IsOk());
  server.Stop();
  EXPECT_EQ(server.total(), SumWork::TotalOf(2, 2));
}

TEST(ParameterServer, PlainTextOnLoopback_WorksAndTheLogBeginsWithAWarning) {
  std::mutex mutex;
  std::vector<std::string> lines;
  TestServer server({.clients = 2, .rounds = 2, .server = {}, .log = [&](std::string_view line) {
                       const std::lock_guard<std::mutex> lock(mutex);
                       lines.emplace_back(line);
                     }});
  for (const ClientRun& run : TakePartAll(2, Clients(server), 64)) EXPECT_THAT(run.status, IsOk());
  server.Stop();
  const auto is_warning = [](const std::string& line) {
    return line.find("\"event\":\"plain_text\"") != std::string::npos;
  };
  EXPECT_EQ(std::count_if(lines.begin(), lines.end(), is_warning), 1);
}

TEST(ParameterServer, PlainTextElsewhere_IsRefusedOnBothSides) {
  SumWork work(1, 8, 8);
  MemoryDisk disk;
  const auto journal = MakeMemoryJournal(&disk);
  const auto machine =
      RoundMachine::Create({.run = {.id = 7, .clients = 1, .rounds = 1}}, &work, journal.get(), absl::Now());
  ASSERT_THAT(machine, IsOk());
  EXPECT_THAT(ParameterServer::Start(machine->get(), {.address = "0.0.0.0:0"}),
              HasStatus(absl::StatusCode::kPermissionDenied, HasSubstr("only loopback addresses")));
  EXPECT_THAT(ServerClient::Create({.server = "192.0.2.1:5000"}),
              HasStatus(absl::StatusCode::kPermissionDenied, HasSubstr("only loopback addresses")));
}

// The answer to every upload is lost once the update is in the journal, so that the retry finds it accepted; of the
// other calls every second answer is lost.
TEST(ParameterServer, LostReplies_NobodyCountsTwice) {
  std::atomic<uint64_t> replies = 0;
  TestServer server({.clients = 4,
                     .rounds = 6,
                     .server = {.tls = ServerIdentity(), .lose_reply = [&](std::string_view method, uint32_t) {
                                  return method == "Push" || ++replies % 2 == 0;
                                }}});
  for (const ClientRun& run : TakePartAll(4, Clients(server), 64)) {
    EXPECT_THAT(run.status, IsOk());
    EXPECT_EQ(run.already_accepted, 6u);
  }
  server.Stop();
  EXPECT_EQ(server.total(), SumWork::TotalOf(4, 6));
}

TEST(ParameterServer, SameUpdateTwice_IsAlreadyAccepted) {
  TestServer server({.clients = 2, .rounds = 2});
  const auto client = ServerClient::Create(server.ClientOptions(0));
  ASSERT_THAT(client, IsOk());
  ASSERT_THAT((*client)->Register(), IsOk());
  const auto update = SumWork::Update(1, 64);
  EXPECT_EQ((*client)->Push(0, update).value(), PushOutcome::kAccepted);
  EXPECT_EQ((*client)->Push(0, update).value(), PushOutcome::kAlreadyAccepted);
  EXPECT_THAT((*client)->Push(0, SumWork::Update(2, 64)),
              HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("client 0, round 0, push to 127.0.0.1")));
}

TEST(ParameterServer, RegisterAfterARestart_TellsWhatWasAccepted) {
  TestServer server({.clients = 2, .rounds = 2});
  const auto client = ServerClient::Create(server.ClientOptions(1));
  ASSERT_THAT((*client)->Register(), IsOk());
  ASSERT_EQ((*client)->Push(0, SumWork::Update(5, 64)).value(), PushOutcome::kAccepted);
  server.Restart();
  const auto again = ServerClient::Create(server.ClientOptions(1));
  const auto registration = (*again)->Register();
  ASSERT_THAT(registration, IsOk());
  EXPECT_EQ(registration->open_round, 0u);
  ASSERT_TRUE(registration->last_accepted.has_value());
  EXPECT_EQ(registration->last_accepted->round, 0u);
}

TEST(ParameterServer, RestartWhileClientsWork_TheyGoOnAndEverythingCountsOnce) {
  TestServer server({.clients = 4, .rounds = 30});
  std::atomic<uint64_t> furthest = 0;
  std::thread restarter([&] {
    for (uint64_t at = 5; at <= 20; at += 5) {
      for (uint64_t seen = furthest; seen < at; seen = furthest) furthest.wait(seen);
      server.Restart();
    }
  });
  const auto options = [identities = std::vector{server.ClientOptions(0), server.ClientOptions(1),
                                                 server.ClientOptions(2), server.ClientOptions(3)}](uint32_t client) {
    return identities[client];
  };
  const auto runs = TakePartAll(4, options, 64, [&](uint64_t round) {
    uint64_t before = furthest;
    while (before < round && !furthest.compare_exchange_weak(before, round)) {
    }
    furthest.notify_all();
  });
  restarter.join();
  for (const ClientRun& run : runs) EXPECT_THAT(run.status, IsOk());
  server.Stop();
  EXPECT_EQ(server.total(), SumWork::TotalOf(4, 30));
}

TEST(ParameterServer, NobodyThere_ErrorNamesClientPhaseServerAndLimit) {
  auto client = ServerClient::Create(
      {.server = "127.0.0.1:1", .client = 3, .tls = ClientIdentity(3), .connect_for = absl::Milliseconds(300)});
  ASSERT_THAT(client, IsOk());
  EXPECT_THAT((*client)->Register(),
              HasStatus(absl::StatusCode::kUnavailable,
                        AllOf(HasSubstr("client 3, register to 127.0.0.1:1"), HasSubstr("of 0.3 s)"))));
}

TEST(ParameterServer, Metrics_AreServedAsTextAndHealthIsOk) {
  TestServer server({.clients = 1, .rounds = 1, .server = {.tls = ServerIdentity(), .metrics_address = "127.0.0.1:0"}});
  for (const ClientRun& run : TakePartAll(1, Clients(server), 64)) EXPECT_THAT(run.status, IsOk());
  ASSERT_THAT(server.server().AwaitEnd(absl::Now() + absl::Seconds(20)), IsOk());
  const auto get = [&](const std::string& path) {
    const int fd = Dial(server.server().metrics_port());
    const std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";
    EXPECT_EQ(send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    std::string answer(size_t{1} << 20, '\0');
    const ssize_t got = recv(fd, answer.data(), answer.size(), MSG_WAITALL);
    close(fd);
    return answer.substr(0, static_cast<size_t>(got));
  };
  const std::string metrics = get("/metrics");
  EXPECT_THAT(metrics, HasSubstr("200 OK"));
  EXPECT_EQ(Metric(metrics, "accepted_total"), 1);
  EXPECT_EQ(Metric(metrics, "open_round"), 1);
  EXPECT_THAT(metrics, HasSubstr("laconic_calls_total{method=\"Push\",code=\"OK\"} 1"));
  EXPECT_THAT(get("/healthz"), AllOf(HasSubstr("200 OK"), HasSubstr("ok")));
  EXPECT_THAT(get("/"), HasSubstr("404"));
}

// 500 connections say nothing, where 40 are allowed: the oldest silent ones go first, and clients get through.
TEST(ParameterServer, FiveHundredIdleSockets_ClientsStillFinish) {
  TestServer server(
      {.clients = 8, .rounds = 5, .server = {.tls = ServerIdentity(), .limits = {.max_connections = 40}}});
  std::vector<int> idle;
  for (int i = 0; i < 500; ++i) {
    if (const int fd = Dial(server.server().port()); fd >= 0) idle.push_back(fd);
  }
  EXPECT_EQ(idle.size(), 500u);
  for (const ClientRun& run : TakePartAll(8, Clients(server), 64)) EXPECT_THAT(run.status, IsOk());
  EXPECT_LE(Metric(server.server().MetricsText(), "connections"), 40);
  for (const int fd : idle) close(fd);
  server.Stop();
  EXPECT_EQ(server.total(), SumWork::TotalOf(8, 5));
}

TEST(ParameterServer, SilentConnection_IsEndedAfterTheHandshakeTimeout) {
  TestServer server({.server = {.tls = ServerIdentity(), .limits = {.handshake_timeout = absl::Milliseconds(200)}}});
  const int silent = Dial(server.server().port());
  ASSERT_GE(silent, 0);
  EXPECT_TRUE(IsEnded(silent));
  close(silent);
}

// Says one byte, so that gRPC has it, and then nothing.
TEST(ParameterServer, HandshakeThatStops_IsEnded) {
  TestServer server({.server = {.tls = ServerIdentity(), .limits = {.handshake_timeout = absl::Milliseconds(200)}}});
  const int stopped = Dial(server.server().port());
  ASSERT_GE(stopped, 0);
  ASSERT_EQ(send(stopped, "\x16", 1, 0), 1);
  EXPECT_TRUE(IsEnded(stopped));
  close(stopped);
}

// gRPC 1.51's own listener would never accept again after this. Ten newcomers, as the server's first probe may still be
// giving a few descriptors back: those take the oldest silent one's place.
TEST(ParameterServer, NoDescriptorLeft_NewcomersAreTurnedAwayAndAfterwardsLetIn) {
  TestServer server({.clients = 1, .rounds = 2});
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  std::vector<int> newcomers, hoard;
  for (int i = 0; i < 10; ++i) newcomers.push_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const rlimit low = {.rlim_cur = static_cast<rlim_t>(newcomers.back()) + 40, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  for (int fd = open("/dev/null", O_RDONLY); fd >= 0; fd = open("/dev/null", O_RDONLY)) hoard.push_back(fd);

  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(server.server().port());
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (const int fd : newcomers) {
    ASSERT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  }
  EXPECT_TRUE(IsEnded(newcomers.front()));
  const std::string metrics = server.server().MetricsText();
  EXPECT_GE(Metric(metrics, "refused_connections_total") + Metric(metrics, "silent_connections_total"), 1);

  for (const int fd : hoard) close(fd);
  for (const int fd : newcomers) close(fd);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  for (const ClientRun& run : TakePartAll(1, Clients(server), 64)) EXPECT_THAT(run.status, IsOk());
  EXPECT_EQ(server.server().rebuilds(), 0u);
}

// The socket that listens at `port` in this process.
int ListeningSocket(uint16_t port) {
  for (int fd = 0; fd < 4096; ++fd) {
    int listens = 0;
    socklen_t length = sizeof(listens);
    sockaddr_in address = {};
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0 || listens == 0) continue;
    length = sizeof(address);
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0 && ntohs(address.sin_port) == port)
      return fd;
  }
  return -1;
}

TEST(ParameterServer, ListeningSocketThatBroke_IsOpenedAgain) {
  TestServer server({.clients = 2, .rounds = 3});
  const int listening = ListeningSocket(server.server().port());
  ASSERT_GE(listening, 0);
  ASSERT_EQ(shutdown(listening, SHUT_RDWR), 0);
  for (const ClientRun& run : TakePartAll(2, Clients(server), 64)) EXPECT_THAT(run.status, IsOk());
}

// The listening socket is there and accepts nothing: only the probe can tell. Connections it has are given up.
TEST(ParameterServer, ProbeThatFails_RebuildsTheServer) {
  TestServer server(
      {.clients = 2,
       .rounds = 40,
       .server = {.tls = ServerIdentity(),
                  .limits = {.probe_interval = absl::Milliseconds(50), .probe_timeout = absl::Milliseconds(300)}}});
  const int listening = ListeningSocket(server.server().port());
  ASSERT_GE(listening, 0);
  int pipe_ends[2];
  ASSERT_EQ(pipe2(pipe_ends, O_CLOEXEC), 0);
  ASSERT_EQ(dup3(pipe_ends[0], listening, O_CLOEXEC), listening);  // something where nothing ever happens
  for (const ClientRun& run : TakePartAll(2, Clients(server), 64)) EXPECT_THAT(run.status, IsOk());
  EXPECT_GE(server.server().rebuilds(), 1u);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
  server.Stop();
  EXPECT_EQ(server.total(), SumWork::TotalOf(2, 40));
}

TEST(ServerLimits, BudgetIsWhatTheProcessMayOpenLessTheReserved) {
  rlimit descriptors = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &descriptors), 0);
  EXPECT_EQ(ConnectionBudget({.reserved_descriptors = 100}).value(),
            std::min<size_t>(descriptors.rlim_cur - 100, 1 << 20));
  EXPECT_EQ(ConnectionBudget({.max_connections = 10}).value(), 10u);
  EXPECT_THAT(ConnectionBudget({.reserved_descriptors = size_t{1} << 40}),
              HasStatus(absl::StatusCode::kResourceExhausted, HasSubstr("ulimit -n")));
}

TEST(ServerLimits, LimitThatCannotBe_IsNamed) {
  EXPECT_THAT(ServerLimits({.long_poll = absl::ZeroDuration()}).Validate(),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("long_poll")));
}

}  // namespace
}  // namespace laconic
