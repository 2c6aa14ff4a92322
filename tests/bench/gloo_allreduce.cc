// Gloo's allreduce of the same floats as dense_allreduce's, over TCP, to compare with.
//
//   scripts/netlab.sh run tests/bench/gloo_allreduce --store $(mktemp -d) --sizes 16M --link 1Gbit
//
// One process a rank; RANK and WORLD_SIZE say which and of how many, NETLAB_INTERFACE which network interface to use.
// `store` is an empty folder that all see. A time is the slowest rank's; "exact" compares every element.
#include <fmt/core.h>
#include <gloo/algorithm.h>
#include <gloo/allgather.h>
#include <gloo/allreduce.h>
#include <gloo/allreduce_halving_doubling.h>
#include <gloo/barrier.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "laconic/comm/transport/paced.h"

namespace laconic {
namespace {

constexpr double kTcpGoodput = 1448.0 / 1514.0;  // segments of 1448 bytes in Ethernet frames of 1514

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

class Bench {
 public:
  Bench(std::shared_ptr<gloo::Context> context, size_t bytes)
      : context_(std::move(context)),
        values_(bytes / sizeof(float)),
        halving_doubling_(context_, {values_.data()}, static_cast<int>(values_.size())) {}

  void RunRing() {
    gloo::AllreduceOptions options(context_);
    options.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
    options.setOutput(values_.data(), values_.size());
    void (*sum)(void*, const void*, const void*, size_t) = &gloo::sum<float>;
    options.setReduceFunction(sum);
    gloo::allreduce(options);
  }
  void RunHalvingDoubling() { halving_doubling_.run(); }

  // One of `calls` in a row, at the slowest rank.
  double Seconds(void (Bench::*run)(), int calls) {
    gloo::BarrierOptions barrier(context_);
    barrier.setTag(1);
    gloo::barrier(barrier);
    const double start = Now();
    for (int i = 0; i < calls; ++i) (this->*run)();
    double own = (Now() - start) / calls;
    std::vector<double> all(context_->size);
    gloo::AllgatherOptions gather(context_);
    gather.setTag(2);
    gather.setInput(&own, 1);
    gather.setOutput(all.data(), all.size());
    gloo::allgather(gather);
    return *std::max_element(all.begin(), all.end());
  }

  bool Exact(void (Bench::*run)()) {
    const auto input = [](int rank, size_t i) { return static_cast<float>((i * 31 + size_t(rank) * 7) % 1021); };
    for (size_t i = 0; i < values_.size(); ++i) values_[i] = input(context_->rank, i);
    Seconds(run, 1);
    bool exact = true;
    for (size_t i = 0; i < values_.size(); ++i) {
      float sum = 0;
      for (int rank = 0; rank < context_->size; ++rank) sum += input(rank, i);
      exact &= values_[i] == sum;
    }
    std::fill(values_.begin(), values_.end(), 0.0f);
    return exact;
  }

 private:
  std::shared_ptr<gloo::Context> context_;
  std::vector<float> values_;
  gloo::AllreduceHalvingDoubling<float> halving_doubling_;
};

std::string Environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

int Main(int argc, char** argv) {
  int repetitions = 15;
  std::vector<uint64_t> sizes = {1 << 20, 16 << 20};
  std::string store, link_text = "unlimited";
  CLI::App app("Times Gloo's ring and halving-doubling allreduce.");
  app.add_option("--repetitions", repetitions)->check(CLI::Range(1, 10000))->capture_default_str();
  app.add_option("--sizes", sizes, "bytes of the array: 1M,16M")->delimiter(',')->transform(CLI::AsSizeValue(false));
  app.add_option("--store", store, "an empty folder that all ranks see")->required()->check(CLI::ExistingDirectory);
  app.add_option("--link", link_text, "rate of the link, to compare with: 100Mbit")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const absl::StatusOr<LinkModel> link = LinkModel::Parse(link_text);
  if (!link.ok()) return fmt::print(stderr, "{}\n", link.status().ToString()), 2;
  const int rank = std::atoi(Environment("RANK", "0").c_str());
  const int ranks = std::atoi(Environment("WORLD_SIZE", "1").c_str());

  gloo::transport::tcp::attr attributes;
  attributes.iface = Environment("NETLAB_INTERFACE", "lo");
  auto device = gloo::transport::tcp::CreateDevice(attributes);
  gloo::rendezvous::FileStore file_store(store);
  auto context = std::make_shared<gloo::rendezvous::Context>(rank, ranks);
  context->connectFullMesh(file_store, device);

  bool exact = true;
  if (rank == 0) {
    fmt::print("{} ranks; times in ms, median [quartiles]\n{:>8}  {:>18}  {:>26}  {:>5}  {:>9}  {:>11}\n", ranks, "KiB",
               "Gloo", "time", "exact", "link ms", "time / link");
  }
  for (const uint64_t bytes : sizes) {
    Bench bench(context, bytes);
    for (const auto& [name, run] :
         {std::pair("ring", &Bench::RunRing), {"halving-doubling", &Bench::RunHalvingDoubling}}) {
      const bool right = bench.Exact(run);
      exact &= right;
      const int calls = static_cast<int>(std::clamp<uint64_t>((16 << 20) / bytes, 1, 64));  // as dense_allreduce
      std::vector<double> seconds;
      for (int i = 0; i < repetitions; ++i) seconds.push_back(bench.Seconds(run, calls));
      std::sort(seconds.begin(), seconds.end());
      const double median = seconds[repetitions / 2];
      const double wire_bits = 16.0 * (ranks - 1) / ranks * static_cast<double>(bytes);
      const double wire = link->bits_per_second > 0 ? wire_bits / (kTcpGoodput * link->bits_per_second) : 0;
      if (rank != 0) continue;
      fmt::print("{:>8}  {:>18}  {:>26}  {:>5}  {:>9.2f}  {:>11}\n", bytes >> 10, name,
                 fmt::format("{:.3f} [{:.3f} {:.3f}]", median * 1e3, seconds[repetitions / 4] * 1e3,
                             seconds[repetitions - 1 - repetitions / 4] * 1e3),
                 right ? "yes" : "NO", wire * 1e3, wire > 0 ? fmt::format("{:.3f}", median / wire) : "-");
    }
  }
  return exact ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace laconic

int main(int argc, char** argv) { return laconic::Main(argc, argv); }
