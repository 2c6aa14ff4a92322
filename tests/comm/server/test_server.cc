#include "tests/comm/server/test_server.h"

#include <gtest/gtest.h>

#include <cstring>
#include <utility>

#include "absl/time/clock.h"
#include "tests/base/matchers.h"

namespace laconic {

Validity ToDay() { return Validity::Days(absl::Now(), 1); }

const CertificateAuthority& TestAuthority() {
  static const CertificateAuthority authority = *CertificateAuthority::Create("laconic tests", ToDay());
  return authority;
}

TlsIdentity ServerIdentity() {
  const std::vector<std::string> names = {"127.0.0.1", "localhost"};
  return TestAuthority().Identity(*TestAuthority().IssueServer(names, ToDay()));
}

TlsIdentity ClientIdentity(uint32_t client) {
  return TestAuthority().Identity(*TestAuthority().IssueClient(client, ToDay()));
}

TestServer::TestServer(TestServerOptions options) : options_(std::move(options)) { Start(); }

void TestServer::Start() {
  work_ = std::make_unique<SumWork>(options_.clients, options_.update_bytes, options_.broadcast_bytes);
  journal_ = MakeMemoryJournal(&disk_);
  MachineOptions options;
  options.run = {.id = 7, .description = "sum", .clients = options_.clients, .rounds = options_.rounds};
  options.rules = options_.rules;
  options.on_event = LogEvents(options_.log);
  auto machine = RoundMachine::Create(std::move(options), work_.get(), journal_.get(), absl::Now());
  ASSERT_THAT(machine, IsOk());
  machine_ = *std::move(machine);
  options_.server.log = options_.log;
  auto server = ParameterServer::Start(machine_.get(), options_.server);
  ASSERT_THAT(server, IsOk());
  server_ = *std::move(server);
  options_.server.address = address();
}

void TestServer::Restart() {
  Stop();
  Start();
}

ServerClientOptions TestServer::ClientOptions(uint32_t client) const {
  return {.server = address(),
          .client = client,
          .tls = options_.server.tls.has_value() ? std::optional(ClientIdentity(client)) : std::nullopt,
          .call_timeout = absl::Seconds(30),
          .connect_for = absl::Seconds(20),
          .retry_for = absl::Seconds(60),
          .first_backoff = absl::Milliseconds(5),
          .max_backoff = absl::Milliseconds(50)};
}

ClientRun TakePart(const ServerClientOptions& options, size_t update_bytes,
                   const std::function<void(uint64_t round)>& after_round) {
  ClientRun run;
  auto client = ServerClient::Create(options);
  run.status = client.status();
  if (!run.status.ok()) return run;
  run.status = (*client)->Register().status();
  std::vector<std::byte> broadcast;
  uint64_t from_round = 0, known = 0;
  while (run.status.ok()) {
    const auto task = (*client)->NextTask(from_round);
    run.status = task.status();
    if (!task.ok() || task->kind == Task::Kind::kFinished) break;
    const auto pulled = (*client)->Pull(task->round, known, broadcast);
    run.status = pulled.status();
    if (!pulled.ok()) break;
    if (!*pulled) continue;
    std::memcpy(&run.last_total, broadcast.data(), sizeof(run.last_total));
    known = task->round + 1;
    const auto outcome =
        (*client)->Push(task->round, SumWork::Update(SumWork::NumberOf(options.client, task->round), update_bytes));
    run.status = outcome.status();
    if (!outcome.ok()) break;
    if (*outcome == PushOutcome::kAccepted) ++run.accepted;
    if (*outcome == PushOutcome::kAlreadyAccepted) ++run.already_accepted;
    if (*outcome == PushOutcome::kLate) ++run.late;
    from_round = task->round + 1;
    if (after_round) after_round(task->round);
  }
  return run;
}

std::vector<ClientRun> TakePartAll(uint32_t clients, const std::function<ServerClientOptions(uint32_t)>& options,
                                   size_t update_bytes, const std::function<void(uint64_t round)>& after_round) {
  std::vector<ClientRun> runs(clients);
  std::vector<std::thread> threads;
  for (uint32_t client = 0; client < clients; ++client) {
    threads.emplace_back([&, client] { runs[client] = TakePart(options(client), update_bytes, after_round); });
  }
  for (std::thread& thread : threads) thread.join();
  return runs;
}

}  // namespace laconic
