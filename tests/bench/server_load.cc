// Load on a parameter server: clients that pull, push and ask for the next round as fast as they can, over mutual TLS
// on loopback, with every update in the SQLite journal. The clients are threads of a process of their own, so that
// memory, descriptors and threads are the server's alone.
//
//   server_load --clients 64 --kib 64 --rounds 200    rounds/s, round trips, memory
//   server_load --idle 500                            the same, with so many connections that say nothing
//   server_load --soak 60                             slope of memory; fails if it, descriptors or threads grow
//
// A round trip is what a client waits for: from the answer that there is work, pull and push, to "accepted".
#include <arpa/inet.h>
#include <dirent.h>
#include <fmt/core.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "laconic/base/status.h"
#include "laconic/comm/server/client.h"
#include "laconic/comm/server/server.h"
#include "laconic/comm/server/sqlite_journal.h"
#include "tests/comm/server/sum_work.h"

extern char** environ;

namespace laconic {
namespace {

struct Options {
  uint32_t clients = 64;
  size_t kib = 64;  // up and down
  uint64_t rounds = 200;
  int idle = 0;             // connections that say nothing
  double soak_seconds = 0;  // 0: until the rounds are done
  bool plain_text = false;
  bool survive_power_loss = false;
  std::string folder;  // of certificates and journal
  std::string server;  // of the clients' process: the address
};

// ---- The clients' process. Prints the round trips' p50, p99 and maximum in milliseconds and how many there were.

absl::Status TakePart(const Options& options, uint32_t number, absl::Time stop, std::vector<double>& trips_ms) {
  ServerClientOptions client_options = {.server = options.server, .client = number};
  if (!options.plain_text) {
    const std::string own = fmt::format("{}/certificates/client-{}", options.folder, number);
    LACONIC_ASSIGN_OR_RETURN(client_options.tls,
                             TlsIdentity::Read(options.folder + "/certificates/ca.pem", own + ".pem", own + ".key"));
  }
  LACONIC_ASSIGN_OR_RETURN(const auto client, ServerClient::Create(std::move(client_options)));
  LACONIC_RETURN_IF_ERROR(client->Register().status());
  std::vector<std::byte> broadcast;
  std::vector<std::byte> update = SumWork::Update(1, options.kib << 10);
  for (uint64_t from_round = 0, known = 0; absl::Now() < stop;) {
    const auto task = client->NextTask(from_round, stop - absl::Now());
    if (absl::IsDeadlineExceeded(task.status()) && absl::Now() >= stop) break;  // the others have stopped
    LACONIC_RETURN_IF_ERROR(task.status());
    if (task->kind == Task::Kind::kFinished) break;
    const absl::Time begin = absl::Now();
    LACONIC_ASSIGN_OR_RETURN(const bool is_open, client->Pull(task->round, known, broadcast));
    if (!is_open) continue;
    known = task->round + 1;
    LACONIC_RETURN_IF_ERROR(client->Push(task->round, update).status());
    trips_ms.push_back(absl::ToDoubleMilliseconds(absl::Now() - begin));
    from_round = task->round + 1;
  }
  return absl::OkStatus();
}

int RunClients(const Options& options) {
  const absl::Time stop =
      options.soak_seconds > 0 ? absl::Now() + absl::Seconds(options.soak_seconds) : absl::InfiniteFuture();
  std::mutex mutex;
  std::vector<double> trips_ms;
  absl::Status first_error;
  std::vector<std::thread> threads;
  for (uint32_t number = 0; number < options.clients; ++number) {
    threads.emplace_back([&, number] {
      std::vector<double> own;
      const absl::Status status = TakePart(options, number, stop, own);
      const std::lock_guard<std::mutex> lock(mutex);
      first_error.Update(status);
      trips_ms.insert(trips_ms.end(), own.begin(), own.end());
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (!first_error.ok() || trips_ms.empty()) {
    fmt::print(stderr, "clients: {}\n", first_error.ToString());
    return 1;
  }
  std::sort(trips_ms.begin(), trips_ms.end());
  const auto quantile = [&](double q) { return trips_ms[static_cast<size_t>(q * (trips_ms.size() - 1))]; };
  fmt::print("round trips: {}, p50 {:.1f} ms, p99 {:.1f} ms, longest {:.1f} ms\n", trips_ms.size(), quantile(0.5),
             quantile(0.99), quantile(1));
  return 0;
}

// ---- The server's process.

struct Footprint {
  double resident_mib = 0, peak_mib = 0;
  int threads = 0, descriptors = 0;
};

Footprint Measure() {
  Footprint footprint;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    const double value = std::atof(line.c_str() + line.find(':') + 1);
    if (line.starts_with("VmRSS:")) footprint.resident_mib = value / 1024;
    if (line.starts_with("VmHWM:")) footprint.peak_mib = value / 1024;
    if (line.starts_with("Threads:")) footprint.threads = static_cast<int>(value);
  }
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++footprint.descriptors;
  return footprint;
}

// Of the least-squares line, MiB a minute.
double Slope(const std::vector<std::pair<double, double>>& minutes_and_mib) {
  double mean_x = 0, mean_y = 0, covariance = 0, variance = 0;
  for (const auto& [x, y] : minutes_and_mib) {
    mean_x += x / minutes_and_mib.size();
    mean_y += y / minutes_and_mib.size();
  }
  for (const auto& [x, y] : minutes_and_mib) {
    covariance += (x - mean_x) * (y - mean_y);
    variance += (x - mean_x) * (x - mean_x);
  }
  return variance > 0 ? covariance / variance : 0;
}

absl::StatusOr<pid_t> SpawnClients(const Options& options, const char* program) {
  std::vector<std::string> arguments = {program,
                                        "--server=" + options.server,
                                        "--folder=" + options.folder,
                                        fmt::format("--clients={}", options.clients),
                                        fmt::format("--kib={}", options.kib),
                                        fmt::format("--soak={}", options.soak_seconds)};
  if (options.plain_text) arguments.push_back("--plain-text");
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  pid_t child = 0;
  if (posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, pointers.data(), environ) != 0) {
    return absl::InternalError("the clients' process does not start");
  }
  return child;
}

std::vector<int> DialIdle(int count, uint16_t port) {
  std::vector<int> idle;
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  while (static_cast<int>(idle.size()) < count) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) break;
    idle.push_back(fd);
  }
  return idle;
}

absl::StatusOr<bool> RunServer(Options options, const char* program) {
  const bool is_soak = options.soak_seconds > 0;
  std::string folder = (std::filesystem::temp_directory_path() / "laconic-load-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) return absl::InternalError("no temporary folder");
  options.folder = folder;
  const std::vector<std::string> names = {"127.0.0.1"};
  LACONIC_RETURN_IF_ERROR(WriteCertificates({.path = folder + "/certificates",
                                             .names = names,
                                             .clients = options.clients,
                                             .validity = Validity::Days(absl::Now(), 2)}));
  const std::string own = folder + "/certificates/server";
  LACONIC_ASSIGN_OR_RETURN(const TlsIdentity identity,
                           TlsIdentity::Read(folder + "/certificates/ca.pem", own + ".pem", own + ".key"));
  LACONIC_ASSIGN_OR_RETURN(const auto journal, MakeSqliteJournal({.path = folder + "/run.db",
                                                                  .survive_power_loss = options.survive_power_loss}));
  SumWork work(options.clients, options.kib << 10, options.kib << 10);
  MachineOptions machine_options;
  machine_options.run = {.id = 1,
                         .description = "load",
                         .clients = options.clients,
                         .rounds = is_soak ? uint64_t{1} << 40 : options.rounds};
  machine_options.rules.deadline = absl::Seconds(30);
  machine_options.rules.start_clients = options.clients;
  LACONIC_ASSIGN_OR_RETURN(const auto machine,
                           RoundMachine::Create(std::move(machine_options), &work, journal.get(), absl::Now()));
  ServerOptions server_options;
  if (!options.plain_text) server_options.tls = identity;
  LACONIC_ASSIGN_OR_RETURN(auto server, ParameterServer::Start(machine.get(), std::move(server_options)));
  options.server = fmt::format("127.0.0.1:{}", server->port());
  const std::vector<int> idle = DialIdle(options.idle, server->port());

  LACONIC_ASSIGN_OR_RETURN(const pid_t child, SpawnClients(options, program));
  const absl::Time begin = absl::Now();
  // Half of the time is left for memory to settle, and at most five minutes.
  const absl::Duration settling = std::min(absl::Seconds(options.soak_seconds / 2), absl::Minutes(5));
  std::vector<std::pair<double, double>> samples;
  Footprint first, last;  // the most before and after the middle of what is measured
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    absl::SleepFor(absl::Milliseconds(is_soak ? 250 : 20));
    const absl::Duration elapsed = absl::Now() - begin;
    if (!is_soak || elapsed < settling || elapsed > absl::Seconds(options.soak_seconds - 1)) continue;
    const Footprint now = Measure();
    Footprint& half = elapsed < (settling + absl::Seconds(options.soak_seconds)) / 2 ? first : last;
    half.threads = std::max(half.threads, now.threads);
    half.descriptors = std::max(half.descriptors, now.descriptors);
    samples.emplace_back(absl::ToDoubleMinutes(elapsed), now.resident_mib);
  }
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  for (const int fd : idle) close(fd);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return absl::InternalError("the clients failed");
  const Footprint footprint = Measure();
  server.reset();
  const double bytes = static_cast<double>(options.clients) * (options.kib << 10);
  const double rounds = static_cast<double>(machine->counters()[Counter::kRounds]);
  fmt::print("{} clients x {} KiB up and down, {}, {} idle connections: {:.1f} rounds/s, {:.0f} MiB/s each way\n",
             options.clients, options.kib, options.plain_text ? "plain text" : "mutual TLS", options.idle,
             rounds / seconds, rounds / seconds * bytes / (1 << 20));
  fmt::print("server: {:.0f} MiB resident, {:.0f} MiB at most, {} threads, {} descriptors\n", footprint.resident_mib,
             footprint.peak_mib, footprint.threads, footprint.descriptors);
  std::filesystem::remove_all(folder);
  if (work.total() != rounds * options.clients) return absl::InternalError("an update is lost or counts twice");
  if (!is_soak) return true;
  const double slope = Slope(samples);
  const double minutes = samples.empty() ? 0 : samples.back().first - samples.front().first;
  constexpr double kBreathMib = 4;  // an allocator's memory comes and goes: a short soak shows larger leaks only
  constexpr int kBreath = 4;        // gRPC's pools grow and shrink by a few threads
  const bool is_flat = (slope < 1 || slope * minutes < kBreathMib) && last.threads <= first.threads + kBreath &&
                       last.descriptors <= first.descriptors + kBreath;
  fmt::print("soak of {:.0f} s after {:.0f} s: {:+.2f} MiB/min, threads {} to {}, descriptors {} to {}: {}\n",
             options.soak_seconds - absl::ToDoubleSeconds(settling), absl::ToDoubleSeconds(settling), slope,
             first.threads, last.threads, first.descriptors, last.descriptors, is_flat ? "flat" : "GROWS");
  return is_flat;
}

}  // namespace
}  // namespace laconic

int main(int argc, char** argv) {
  laconic::Options options;
  CLI::App app("Load on a parameter server");
  app.add_option("--clients", options.clients, "How many")->capture_default_str();
  app.add_option("--kib", options.kib, "Of an update, and of a broadcast")->capture_default_str();
  app.add_option("--rounds", options.rounds, "How many")->capture_default_str();
  app.add_option("--idle", options.idle, "Connections besides, which say nothing")->capture_default_str();
  app.add_option("--soak", options.soak_seconds, "Seconds, in place of rounds");
  app.add_flag("--plain-text", options.plain_text, "Without TLS");
  app.add_flag("--survive-power-loss", options.survive_power_loss, "One fsync for each write of the journal");
  app.add_option("--server", options.server)->group("");  // of the process this program starts
  app.add_option("--folder", options.folder)->group("");
  CLI11_PARSE(app, argc, argv);
  // Debian's Abseil looks for deadlocks in each of gRPC's locks: 5 to 8 % of all time.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  if (!options.server.empty()) return laconic::RunClients(options);
  const auto outcome = laconic::RunServer(options, argv[0]);
  if (!outcome.ok()) fmt::print(stderr, "server_load: {}\n", outcome.status().ToString());
  return outcome.ok() && *outcome ? 0 : 1;
}
