// How fast is our dense allreduce, on threads and over MPI, next to the MPI_Allreduce of the same MPI and to what a
// link allows?
//
//   mpirun -np 2 --bind-to none tests/bench/dense_allreduce [options]      processes, and as many threads of rank 0
//   tests/bench/dense_allreduce --threads 4                                threads only
//   scripts/netlab.sh mpirun -- tests/bench/dense_allreduce --threads 0 --link 1Gbit --sizes 16M
//
// All sum the same floats, in place, alternating in one run; a memcpy of the array gives the scale. A time is the
// slowest rank's. Bus bandwidth is 2 (n-1)/n B / t. "exact" compares every element of every result with the sum known
// beforehand; it decides the exit status.
#include <fmt/core.h>
#include <sched.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "comm/transport/mpi_c.h"
#include "laconic/comm/collectives/dense.h"
#include "laconic/comm/collectives/primitives.h"
#include "laconic/comm/communicator.h"
#include "laconic/comm/transport/in_process.h"
#include "laconic/comm/transport/mpi.h"
#include "laconic/comm/transport/paced.h"

namespace laconic {
namespace {

// What TCP over Ethernet leaves of a link for data: segments of 1448 bytes in frames of 1514.
constexpr double kTcpGoodput = 1448.0 / 1514.0;

struct Options {
  int repetitions = 15;
  std::vector<uint64_t> sizes = {4 << 10, 64 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20};
  int threads = -1;  // -1: as many as processes
  std::string link;
  size_t piece_bytes = MpiTransportOptions().remote_piece_bytes;
  bool json = false;
};

struct Spread {
  double median = 0, low = 0, high = 0;  // low and high: the quartiles
};

Spread SpreadOf(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return {values[n / 2], values[n / 4], values[n - 1 - n / 4]};
}

// One row of the table: one size. Seconds; a median of 0 means not measured.
struct Row {
  size_t bytes = 0;
  Spread mpi, ours, threads, copy;
  Spread mpi_over_ours;
  bool exact = true;
};

// So that a timed loop takes over a millisecond.
int CallsFor(size_t bytes) { return static_cast<int>(std::clamp<size_t>((16 << 20) / bytes, 1, 64)); }

// Small integers, so that sums are exact in any order.
float Input(int rank, size_t i) { return static_cast<float>((i * 31 + static_cast<size_t>(rank) * 7) % 1021); }

void Fill(std::vector<float>& values, int rank, float scale) {
  for (size_t i = 0; i < values.size(); ++i) values[i] = scale * Input(rank, i);
}

bool IsSum(const std::vector<float>& values, int ranks) {
  for (size_t i = 0; i < values.size(); ++i) {
    float sum = 0;
    for (int rank = 0; rank < ranks; ++rank) sum += Input(rank, i);
    if (values[i] != sum) return false;
  }
  return true;
}

// The processes of an mpirun.
class ProcessBench {
 public:
  ProcessBench(Communicator& comm, size_t bytes)
      : comm_(comm), values_(bytes / sizeof(float)), copy_(values_.size()), calls_(CallsFor(bytes)) {}

  void Run(int repetitions, Row& row) {
    row.exact = Exact([this] { RunMpi(); }) & Exact([this] { RunOurs(); });
    std::vector<double> mpi, ours, copy, ratio;
    for (int i = 0; i < repetitions; ++i) {
      Fill(values_, comm_.rank(), 0);
      mpi.push_back(Seconds([this] { RunMpi(); }));
      ours.push_back(Seconds([this] { RunOurs(); }));
      copy.push_back(Seconds([this] { std::memcpy(copy_.data(), values_.data(), copy_.size() * sizeof(float)); }));
      ratio.push_back(mpi.back() / ours.back());
    }
    row.mpi = SpreadOf(mpi);
    row.ours = SpreadOf(ours);
    row.copy = SpreadOf(copy);
    row.mpi_over_ours = SpreadOf(ratio);
  }

 private:
  void RunMpi() {
    MPI_Allreduce(MPI_IN_PLACE, values_.data(), static_cast<int>(values_.size()), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
  }
  void RunOurs() {
    const absl::Status status = AllreduceSum(comm_, values_);
    if (!status.ok()) comm_.Abort(status);
  }
  bool Exact(const std::function<void()>& allreduce) {
    Fill(values_, comm_.rank(), 1);
    allreduce();
    int exact = IsSum(values_, comm_.size());
    MPI_Allreduce(MPI_IN_PLACE, &exact, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    return exact == 1;
  }
  double Seconds(const std::function<void()>& call) {
    MPI_Barrier(MPI_COMM_WORLD);
    const double start = MPI_Wtime();
    for (int i = 0; i < calls_; ++i) call();
    double seconds = (MPI_Wtime() - start) / calls_;
    MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    return seconds;
  }

  Communicator& comm_;
  std::vector<float> values_, copy_;
  const int calls_;
};

// Threads of this process.
absl::Status RunThreads(int threads, int repetitions, Row& row) {
  std::vector<std::vector<double>> seconds(threads, std::vector<double>(repetitions));
  std::vector<double> copy;
  std::vector<int> exact(threads);
  const absl::Status status = RunInProcess(threads, [&](std::unique_ptr<Transport> transport) -> absl::Status {
    Communicator comm(std::move(transport));
    std::vector<float> values(row.bytes / sizeof(float));
    Fill(values, comm.rank(), 1);
    absl::Status run = AllreduceSum(comm, values);
    exact[comm.rank()] = IsSum(values, threads);
    Fill(values, comm.rank(), 0);
    const int calls = CallsFor(row.bytes);
    for (int i = 0; i < repetitions && run.ok(); ++i) {
      run = Barrier(comm);
      const double start = MPI_Wtime();
      for (int call = 0; call < calls && run.ok(); ++call) run = AllreduceSum(comm, values);
      seconds[comm.rank()][i] = (MPI_Wtime() - start) / calls;
    }
    if (run.ok()) run = Barrier(comm);
    if (comm.rank() == 0 && row.copy.median == 0) {
      std::vector<float> target(values.size());
      for (int i = 0; i < repetitions; ++i) {
        const double start = MPI_Wtime();
        std::memcpy(target.data(), values.data(), row.bytes);
        copy.push_back(MPI_Wtime() - start);
      }
    }
    return run;
  });
  std::vector<double> slowest = seconds[0];
  for (const std::vector<double>& rank : seconds) {
    for (int i = 0; i < repetitions; ++i) slowest[i] = std::max(slowest[i], rank[i]);
  }
  row.threads = SpreadOf(slowest);
  if (!copy.empty()) row.copy = SpreadOf(copy);
  row.exact &= std::all_of(exact.begin(), exact.end(), [](int yes) { return yes == 1; });
  return status;
}

// Waits for all processes without taking a core from those that measure.
void IdleBarrier() {
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Ibarrier(MPI_COMM_WORLD, &request);
  for (int done = 0; !done; MPI_Test(&request, &done, MPI_STATUS_IGNORE)) usleep(1000);
}

// 2 (n-1)/n B.
double WireBytes(size_t bytes, int ranks) { return 2.0 * (ranks - 1) / ranks * static_cast<double>(bytes); }

std::string Table(const std::vector<Row>& rows, int processes, int threads, double link_bits_per_second) {
  const int ranks = std::max(processes, threads);
  std::string text = fmt::format(
      "{} ranks; times in ms, median [quartiles]; bus: bus bandwidth in GB/s\n"
      "{:>8}  {:>26} {:>6}  {:>26} {:>6}  {:>26} {:>6}  {:>9}  {:>18}  {}",
      ranks, "KiB", "MPI_Allreduce", "bus", "ours over MPI", "bus", "ours on threads", "bus", "memcpy", "MPI / ours",
      "exact");
  if (link_bits_per_second > 0) text += fmt::format("  {:>9}  {:>12}  {:>12}", "link ms", "MPI / link", "ours / link");
  text += '\n';
  for (const Row& row : rows) {
    const auto columns = [&](const Spread& s) {
      if (s.median == 0) return fmt::format("  {:>26} {:>6}", "-", "-");
      return fmt::format("  {:>26} {:>6.2f}",
                         fmt::format("{:.3f} [{:.3f} {:.3f}]", s.median * 1e3, s.low * 1e3, s.high * 1e3),
                         WireBytes(row.bytes, ranks) / s.median / 1e9);
    };
    const Spread& ratio = row.mpi_over_ours;
    text += fmt::format(
        "{:>8}{}{}{}  {:>9.3f}  {:>18}  {:>5}", row.bytes >> 10, columns(row.mpi), columns(row.ours),
        columns(row.threads), row.copy.median * 1e3,
        ratio.median == 0 ? "-" : fmt::format("{:.2f} [{:.2f} {:.2f}]", ratio.median, ratio.low, ratio.high),
        row.exact ? "yes" : "NO");
    if (link_bits_per_second > 0) {
      const double link = 8 * WireBytes(row.bytes, ranks) / (kTcpGoodput * link_bits_per_second);
      text +=
          fmt::format("  {:>9.2f}  {:>12.3f}  {:>12.3f}", link * 1e3, row.mpi.median / link, row.ours.median / link);
    }
    text += '\n';
  }
  return text;
}

std::string Json(const std::vector<Row>& rows, int processes, int threads) {
  std::string text;
  for (const Row& row : rows) {
    text += fmt::format(
        "{{\"processes\": {}, \"threads\": {}, \"bytes\": {}, \"mpi_seconds\": {:.9f}, \"our_seconds\": {:.9f}, "
        "\"thread_seconds\": {:.9f}, \"memcpy_seconds\": {:.9f}, \"exact\": {}}}\n",
        processes, threads, row.bytes, row.mpi.median, row.ours.median, row.threads.median, row.copy.median, row.exact);
  }
  return text;
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Times the dense allreduce on threads and over MPI, next to MPI_Allreduce.");
  app.add_option("--repetitions", options.repetitions, "timed rounds of each size; their median is shown")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--sizes", options.sizes, "bytes of the array, a multiple of 4: 4K,1M,64M")
      ->delimiter(',')
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--threads", options.threads, "ranks as threads; 0 for none, -1 for as many as processes")
      ->check(CLI::Range(-1, 64))
      ->capture_default_str();
  app.add_option("--link", options.link, "rate of the link between the processes, to compare with: 100Mbit");
  app.add_option("--piece", options.piece_bytes, "MpiTransportOptions::remote_piece_bytes")->capture_default_str();
  app.add_flag("--json", options.json, "one JSON object a line instead of the table");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  double link_bits_per_second = 0;
  if (!options.link.empty()) {
    const absl::StatusOr<LinkModel> link = LinkModel::Parse(options.link);
    if (!link.ok()) return fmt::print(stderr, "{}\n", link.status().ToString()), 2;
    link_bits_per_second = link->bits_per_second;
  }
  for (const uint64_t bytes : options.sizes) {
    if (bytes == 0 || bytes % sizeof(float) != 0) {
      return fmt::print(stderr, "--sizes: {} bytes is not a positive multiple of 4\n", bytes), 2;
    }
  }

  const auto environment = MpiEnvironment::Create(&argc, &argv);
  auto transport =
      environment.ok() ? MakeMpiTransport({.remote_piece_bytes = options.piece_bytes}) : environment.status();
  if (!transport.ok()) return fmt::print(stderr, "{}\n", transport.status().ToString()), 2;
  Communicator comm(*std::move(transport));
  const int processes = comm.size();
  const int threads = options.threads < 0 ? processes : options.threads;
  if (processes == 1 && threads < 2) {
    return fmt::print(stderr, "nothing to add up: start several processes with mpirun, or give --threads 2\n"), 2;
  }
  if (processes > 1 && threads > 1 && threads != processes) {
    return fmt::print(stderr, "--threads {}: not the {} processes it is to be compared with\n", threads, processes), 2;
  }
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (comm.rank() == 0 && threads > 1 && sched_getaffinity(0, sizeof(cores), &cores) == 0 && CPU_COUNT(&cores) == 1) {
    fmt::print(stderr, "warning: all threads are bound to one core; use mpirun --bind-to none\n");
  }

  std::vector<Row> rows;
  for (const uint64_t bytes : options.sizes) {
    Row& row = rows.emplace_back(Row{.bytes = bytes});
    if (processes > 1) ProcessBench(comm, bytes).Run(options.repetitions, row);
    if (comm.rank() == 0 && threads > 1) {
      const absl::Status status = RunThreads(threads, options.repetitions, row);
      if (!status.ok()) comm.Abort(status);
    }
    IdleBarrier();
  }
  if (comm.rank() == 0) {
    fmt::print("{}",
               options.json ? Json(rows, processes, threads) : Table(rows, processes, threads, link_bits_per_second));
  }
  return std::all_of(rows.begin(), rows.end(), [](const Row& row) { return row.exact; }) ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace laconic

int main(int argc, char** argv) { return laconic::Main(argc, argv); }
