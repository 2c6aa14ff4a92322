// How fast is our dense allreduce next to the MPI_Allreduce of the same MPI? Both sum the same floats, in place,
// alternating in one run; a memcpy of the array gives the scale.
//
//   mpirun -np 2 tests/bench/dense_allreduce [--repetitions 15] [--mib 1,2,4,8,16,32,64] [--json]
//
// A time is the slowest rank's. Bus bandwidth is 2 (n-1)/n B / t. "ratio" is the median over repetitions of MPI's time
// over ours, taken back to back: above 1 ours is faster. "exact" compares every element of both results with the sum
// known beforehand.
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "comm/transport/mpi_c.h"
#include "laconic/comm/collectives/dense.h"
#include "laconic/comm/communicator.h"
#include "laconic/comm/transport/mpi.h"

namespace laconic {
namespace {

struct Options {
  int repetitions = 15;
  std::vector<size_t> mib = {1, 2, 4, 8, 16, 32, 64};
  bool json = false;
};

struct Spread {
  double median = 0, low = 0, high = 0;  // low and high: the quartiles
};

Spread SpreadOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return {values[n / 2], values[n / 4], values[n - 1 - n / 4]};
}

struct Row {
  size_t bytes = 0;
  Spread mpi_seconds, our_seconds, copy_seconds, ratio;
  bool exact = false;
};

// Small integers, so that sums are exact in any order.
float Input(int rank, size_t i) { return static_cast<float>((i * 31 + static_cast<size_t>(rank) * 7) % 1021); }

class Bench {
 public:
  Bench(Communicator& comm, size_t bytes) : comm_(comm), values_(bytes / sizeof(float)), copy_(values_.size()) {
    calls_ = static_cast<int>(
        std::clamp<size_t>((16 << 20) / bytes, 1, 16));  // so that a timed loop takes over a millisecond
  }

  Row Run(int repetitions) {
    Row row{.bytes = values_.size() * sizeof(float)};
    row.exact = Exact([this] { RunMpi(); }) & Exact([this] { RunOurs(); });
    std::vector<double> mpi, ours, copy, ratio;
    for (int i = 0; i < repetitions; ++i) {
      Fill(0);
      mpi.push_back(Seconds([this] { RunMpi(); }));
      Fill(0);
      ours.push_back(Seconds([this] { RunOurs(); }));
      copy.push_back(Seconds([this] { std::memcpy(copy_.data(), values_.data(), copy_.size() * sizeof(float)); }));
      ratio.push_back(mpi.back() / ours.back());
    }
    row.mpi_seconds = SpreadOf(mpi);
    row.our_seconds = SpreadOf(ours);
    row.copy_seconds = SpreadOf(copy);
    row.ratio = SpreadOf(ratio);
    return row;
  }

 private:
  void RunMpi() {
    MPI_Allreduce(MPI_IN_PLACE, values_.data(), static_cast<int>(values_.size()), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
  }
  void RunOurs() {
    const absl::Status status = AllreduceSum(comm_, values_);
    if (!status.ok()) comm_.Abort(status);
  }
  void Fill(float scale) {
    for (size_t i = 0; i < values_.size(); ++i) values_[i] = scale * Input(comm_.rank(), i);
  }
  bool Exact(const std::function<void()>& allreduce) {
    Fill(1);
    allreduce();
    int exact = 1;
    for (size_t i = 0; i < values_.size(); ++i) {
      float sum = 0;
      for (int rank = 0; rank < comm_.size(); ++rank) sum += Input(rank, i);
      if (values_[i] != sum) exact = 0;
    }
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
  int calls_ = 1;
};

std::string Table(const std::vector<Row>& rows, int ranks) {
  const double bus = 2.0 * (ranks - 1) / ranks;
  std::string text = fmt::format(
      "{} ranks; times in ms, median [quartiles]; bus bandwidth in GB/s\n"
      "{:>8}  {:>24} {:>8}  {:>24} {:>8}  {:>10}  {:>22}  {}\n",
      ranks, "MiB", "MPI_Allreduce", "bus", "AllreduceSum", "bus", "memcpy", "ratio", "exact");
  const auto time = [](const Spread& s) {
    return fmt::format("{:.3f} [{:.3f} {:.3f}]", s.median * 1e3, s.low * 1e3, s.high * 1e3);
  };
  for (const Row& row : rows) {
    const auto bandwidth = [&](const Spread& s) { return bus * static_cast<double>(row.bytes) / s.median / 1e9; };
    text += fmt::format("{:>8}  {:>24} {:>8.2f}  {:>24} {:>8.2f}  {:>10.3f}  {:>22}  {}\n", row.bytes >> 20,
                        time(row.mpi_seconds), bandwidth(row.mpi_seconds), time(row.our_seconds),
                        bandwidth(row.our_seconds), row.copy_seconds.median * 1e3,
                        fmt::format("{:.2f} [{:.2f} {:.2f}]", row.ratio.median, row.ratio.low, row.ratio.high),
                        row.exact ? "yes" : "NO");
  }
  return text;
}

std::string Json(const std::vector<Row>& rows, int ranks) {
  std::string text;
  for (const Row& row : rows) {
    text += fmt::format(
        "{{\"ranks\": {}, \"bytes\": {}, \"mpi_seconds\": {:.9f}, \"our_seconds\": {:.9f}, \"memcpy_seconds\": {:.9f}, "
        "\"ratio\": {:.4f}, \"ratio_quartiles\": [{:.4f}, {:.4f}], \"exact\": {}}}\n",
        ranks, row.bytes, row.mpi_seconds.median, row.our_seconds.median, row.copy_seconds.median, row.ratio.median,
        row.ratio.low, row.ratio.high, row.exact);
  }
  return text;
}

// False for arguments that are not understood.
bool Parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--json") {
      options.json = true;
    } else if (name == "--repetitions" && i + 1 < argc) {
      options.repetitions = std::max(1, std::atoi(argv[++i]));
    } else if (name == "--mib" && i + 1 < argc) {
      options.mib.clear();
      for (char* rest = argv[++i]; *rest != '\0'; rest += *rest == ',') {
        char* const number = rest;
        options.mib.push_back(std::strtoul(number, &rest, 10));
        if (rest == number || options.mib.back() == 0) return false;
      }
    } else {
      return false;
    }
  }
  return true;
}

int Main(int argc, char** argv) {
  const auto environment = MpiEnvironment::Create(&argc, &argv);
  Options options;
  if (!environment.ok() || !Parse(argc, argv, options)) {
    fmt::print(stderr, "usage: dense_allreduce [--repetitions N] [--mib 1,2,4] [--json]\n");
    return EXIT_FAILURE;
  }
  auto transport = MakeMpiTransport();
  if (!transport.ok()) return EXIT_FAILURE;
  Communicator comm(*std::move(transport));

  std::vector<Row> rows;
  for (const size_t mib : options.mib) rows.push_back(Bench(comm, mib << 20).Run(options.repetitions));
  if (comm.rank() == 0) fmt::print("{}", options.json ? Json(rows, comm.size()) : Table(rows, comm.size()));
  const bool exact = std::all_of(rows.begin(), rows.end(), [](const Row& row) { return row.exact; });
  return exact ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace laconic

int main(int argc, char** argv) { return laconic::Main(argc, argv); }
