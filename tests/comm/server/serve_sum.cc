// A parameter server to be killed: adds up numbers, with everything in <folder>.   serve_sum <folder> <port> <clients>
// <rounds> Prints its port, the total when the run is finished, and goes on until its standard input ends.
#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/time/clock.h"
#include "laconic/base/status.h"
#include "laconic/comm/server/server.h"
#include "laconic/comm/server/sqlite_journal.h"
#include "tests/comm/server/sum_work.h"

namespace laconic {
namespace {

absl::Status Serve(const std::string& folder, const std::string& port, uint32_t clients, uint64_t rounds) {
  LACONIC_ASSIGN_OR_RETURN(const auto journal, MakeSqliteJournal({.path = folder + "/run.db"}));
  LACONIC_ASSIGN_OR_RETURN(const TlsIdentity identity,
                           TlsIdentity::Read(folder + "/certificates/ca.pem", folder + "/certificates/server.pem",
                                             folder + "/certificates/server.key"));
  SumWork work(clients, 64, 64);
  MachineOptions options;
  options.run = {.id = 7, .description = "sum", .clients = clients, .rounds = rounds};
  LACONIC_ASSIGN_OR_RETURN(const auto machine,
                           RoundMachine::Create(std::move(options), &work, journal.get(), absl::Now()));
  ServerOptions server_options;
  server_options.address = "127.0.0.1:" + port;
  server_options.tls = identity;
  LACONIC_ASSIGN_OR_RETURN(const auto server, ParameterServer::Start(machine.get(), std::move(server_options)));
  fmt::print("{}\n", server->port());
  std::fflush(stdout);
  LACONIC_RETURN_IF_ERROR(server->AwaitEnd(absl::InfiniteFuture()));
  fmt::print("{}\n", work.total());
  std::fflush(stdout);
  char ignored;
  while (read(STDIN_FILENO, &ignored, 1) > 0) {
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace laconic

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const absl::Status status = laconic::Serve(argv[1], argv[2], std::atoi(argv[3]), std::atoi(argv[4]));
  if (!status.ok()) fmt::print(stderr, "serve_sum: {}\n", status.ToString());
  return status.ok() ? 0 : 1;
}
