// A parameter server that adds up numbers, over mutual TLS on loopback, and clients of it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "laconic/comm/server/certificates.h"
#include "laconic/comm/server/client.h"
#include "laconic/comm/server/round_machine.h"
#include "laconic/comm/server/server.h"
#include "tests/comm/server/memory_journal.h"
#include "tests/comm/server/sum_work.h"

namespace laconic {

// One authority for all tests of a binary.
const CertificateAuthority& TestAuthority();
Validity ToDay();
TlsIdentity ServerIdentity();
TlsIdentity ClientIdentity(uint32_t client);

struct TestServerOptions {
  uint32_t clients = 8;
  uint64_t rounds = 5;
  size_t update_bytes = 64;
  size_t broadcast_bytes = 64;
  RoundRules rules = {};
  ServerOptions server = {.tls = ServerIdentity()};
  LogSink log = {};
};

// Fails the test if it cannot start. The machine may be looked at once the server is stopped.
class TestServer {
 public:
  explicit TestServer(TestServerOptions options);
  ~TestServer() { Stop(); }

  std::string address() const { return "127.0.0.1:" + std::to_string(server_->port()); }
  ParameterServer& server() { return *server_; }
  void Stop() { server_.reset(); }
  // The same run, in a new machine from the same journal.
  void Restart();

  double total() const { return work_->total(); }
  const MemoryDisk& disk() const { return disk_; }
  const Counters& counters() const { return machine_->counters(); }

  ServerClientOptions ClientOptions(uint32_t client) const;

 private:
  TestServerOptions options_;
  MemoryDisk disk_;
  std::unique_ptr<SumWork> work_;
  std::unique_ptr<RoundJournal> journal_;
  std::unique_ptr<RoundMachine> machine_;
  std::unique_ptr<ParameterServer> server_;

  void Start();
};

// A client of `options` that takes part until the run is finished. known: rounds of which it has the broadcast.
struct ClientRun {
  absl::Status status;
  uint64_t accepted = 0, already_accepted = 0, late = 0;
  double last_total = 0;  // as last pulled
};
ClientRun TakePart(const ServerClientOptions& options, size_t update_bytes,
                   const std::function<void(uint64_t round)>& after_round = {});

// All clients of the server, a thread each.
std::vector<ClientRun> TakePartAll(uint32_t clients, const std::function<ServerClientOptions(uint32_t)>& options,
                                   size_t update_bytes, const std::function<void(uint64_t round)>& after_round = {});

}  // namespace laconic
