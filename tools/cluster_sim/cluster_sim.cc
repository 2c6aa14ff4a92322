// One allreduce on a simulated cluster: the collectives of this library over MPI, run by SimGrid's SMPI, which lets
// every rank compute for real and moves its clock only by messages and by what the codecs are said to take.
// Driven by scripts/cluster_sim.sh.
//
//   cluster_sim --elements 4000000 --spec sign+ef+scatter --speeds codec.json
//   cluster_sim --elements 4000000 --spec mpi        MPI_Allreduce, by the algorithm SimGrid was told
//
// Prints one line: seconds of a step on the slowest rank and bytes sent by rank 0, after one step that is not timed.
#include <smpi/mpi.h>
#include <smpi/smpi.h>

#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "laconic/base/rng.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/strategy.h"
#include "laconic/comm/transport/mpi.h"
#include "nlohmann/json.hpp"
#include "tools/cluster_sim/timed_codec.h"

namespace laconic::tools {
namespace {

struct Options {
  uint64_t elements = 1'000'000;
  uint64_t columns = 0;  // 0: a flat tensor
  std::string spec = "dense";
  std::string speeds;  // file
  int steps = 1;
};

struct Outcome {
  double seconds = 0;
  uint64_t bytes_sent = 0;
};

constexpr double kFlopsPerSecond = 1e9;  // of every host of the platform file: cluster_sim.sh writes it

void Spend(double seconds) { smpi_execute_flops(seconds * kFlopsPerSecond); }

std::vector<float> Gradient(uint64_t elements, int rank) {
  const CounterRng rng(RngKey{.seed = 1, .rank = static_cast<uint32_t>(rank)});
  std::vector<float> gradient(elements);
  for (uint64_t i = 0; i < elements; i += 4) {
    const std::array<uint32_t, 4> words = rng.Block(i / 4);
    for (uint64_t j = 0; j < 4 && i + j < elements; ++j) {
      const uint32_t word = words[j];  // nearly normal: the sum of four bytes
      const int sum = static_cast<int>((word & 255) + (word >> 8 & 255) + (word >> 16 & 255) + (word >> 24));
      gradient[i + j] = static_cast<float>(sum - 510) + static_cast<float>(word & 0xffff) * 0x1p-16f;
    }
  }
  return gradient;
}

// The speeds of `codec` in a file of `laconic bench codec`; of several inputs the first.
absl::StatusOr<CodecRates> ReadRates(const std::string& path, const Compressor& codec) {
  std::ifstream file(path);
  const nlohmann::json json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || json.value("schema", "") != "laconic-bench" || json.value("kind", "") != "codec") {
    return absl::InvalidArgumentError("--speeds " + path + ": not a file of `laconic bench codec -J`");
  }
  for (const nlohmann::json& row : json.value("rows", nlohmann::json::array())) {
    const auto measured = CodecRegistry::BuiltIn().Create(row.value("spec", ""));
    if (!measured.ok() || (*measured)->ToString() != codec.ToString()) continue;
    const CodecRates rates = {row.value("encode_residual_bytes_per_second", 0.0),
                              row.value("decode_add_bytes_per_second", 0.0)};
    if (rates.encode_bytes_per_second > 0 && rates.decode_bytes_per_second > 0) return rates;
  }
  return absl::NotFoundError("--speeds " + path + " has no row for " + codec.ToString());
}

template <typename Step>
absl::StatusOr<double> TimeSteps(int steps, Step step) {
  double begin = 0;
  for (int i = 0; i <= steps; ++i) {
    if (i == 1) {
      MPI_Barrier(MPI_COMM_WORLD);
      begin = MPI_Wtime();
    }
    LACONIC_RETURN_IF_ERROR(step(static_cast<uint64_t>(i)));
  }
  const double own = (MPI_Wtime() - begin) / steps;
  double slowest = 0;
  MPI_Allreduce(&own, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return slowest;
}

absl::StatusOr<Outcome> RunMpi(const Options& options, int rank) {
  std::vector<float> x = Gradient(options.elements, rank);
  Outcome outcome;
  LACONIC_ASSIGN_OR_RETURN(outcome.seconds, TimeSteps(options.steps, [&](uint64_t) {
                             MPI_Allreduce(MPI_IN_PLACE, x.data(), static_cast<int>(x.size()), MPI_FLOAT, MPI_SUM,
                                           MPI_COMM_WORLD);
                             return absl::OkStatus();
                           }));
  return outcome;
}

absl::StatusOr<Outcome> RunStrategy(const Options& options, Communicator& comm) {
  LACONIC_ASSIGN_OR_RETURN(const std::vector<SpecRule> rules, ParseSpec(options.spec));
  LACONIC_ASSIGN_OR_RETURN(Pipeline pipeline, MakePipeline(rules.front().pipeline, CodecRegistry::BuiltIn()));
  if (pipeline.adaptive) return absl::InvalidArgumentError("adaptive(...) chooses codecs while training: name one");
  if (!pipeline.dense()) {
    LACONIC_ASSIGN_OR_RETURN(const CodecRates rates, ReadRates(options.speeds, *pipeline.codec));
    pipeline.codec = MakeTimedCodec(pipeline.codec, rates, Spend);
  }
  std::vector<float> gradient = Gradient(options.elements, comm.rank());
  std::vector<float> direction(options.elements);
  std::vector<GradientSlot> bucket(1);
  bucket[0].name = "gradient";
  bucket[0].codec = pipeline.codec;
  bucket[0].shape = options.columns == 0 ? Shape::Flat(options.elements)
                                         : Shape({options.elements / options.columns, options.columns});
  bucket[0].gradient = gradient;
  bucket[0].direction = direction;
  LACONIC_ASSIGN_OR_RETURN(const std::unique_ptr<AllreduceStrategy> strategy,
                           MakeStrategy(pipeline, comm, bucket, {.seed = 1}));
  Outcome outcome;
  uint64_t bytes_before = 0;
  LACONIC_ASSIGN_OR_RETURN(outcome.seconds, TimeSteps(options.steps, [&](uint64_t step) -> absl::Status {
                             if (step == 1) bytes_before = comm.traffic().bytes_sent;
                             BucketResult result;
                             LACONIC_RETURN_IF_ERROR(strategy->Run(comm, bucket, {.step = step}, 1.0f, result));
                             strategy->Commit(bucket);
                             return absl::OkStatus();
                           }));
  outcome.bytes_sent = (comm.traffic().bytes_sent - bytes_before) / static_cast<uint64_t>(options.steps);
  return outcome;
}

absl::StatusOr<Outcome> Run(const Options& options) {
  LACONIC_ASSIGN_OR_RETURN(std::unique_ptr<Transport> transport,
                           MakeMpiTransport({.remote_piece_bytes = MpiTransportOptions().max_piece_bytes,
                                             .wait = MpiTransportOptions::Wait::kBlock}));
  Communicator comm(std::move(transport), {.timeout = absl::InfiniteDuration()});
  return options.spec == "mpi" ? RunMpi(options, comm.rank()) : RunStrategy(options, comm);
}

}  // namespace
}  // namespace laconic::tools

int main(int argc, char** argv) {
  using laconic::tools::Options;
  using laconic::tools::Outcome;
  CLI::App app{"One allreduce on a simulated cluster; see scripts/cluster_sim.sh --help."};
  Options options;
  app.add_option("--elements", options.elements, "float32 elements of the gradient");
  app.add_option("--columns", options.columns, "columns of the gradient as a matrix; 0: flat");
  app.add_option("--spec", options.spec, "what to run: a spec, or `mpi` for MPI_Allreduce");
  app.add_option("--speeds", options.speeds, "how fast codecs are: what `laconic bench codec -J` wrote");
  app.add_option("--steps", options.steps, "steps to time")->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);

  MPI_Init(&argc, &argv);
  int rank = 0, ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const absl::StatusOr<Outcome> outcome = laconic::tools::Run(options);
  int exit_code = 0;
  if (!outcome.ok()) {
    std::fprintf(stderr, "cluster_sim: rank %d: %s\n", rank, outcome.status().ToString().c_str());
    exit_code = 2;
  } else if (rank == 0) {
    std::printf("%s\t%d\t%" PRIu64 "\t%.6f\t%" PRIu64 "\n", options.spec.c_str(), ranks, options.elements,
                outcome->seconds, outcome->bytes_sent);
  }
  MPI_Finalize();
  return exit_code;
}
