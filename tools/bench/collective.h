// `laconic bench allreduce | allgather | ps`: one tensor a step through the library's own strategies, timed, counted
// and checked.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "laconic/comm/transport/paced.h"
#include "laconic/comm/transport/transport.h"
#include "tools/bench/contender.h"

namespace laconic::tools {

struct CollectiveOptions {
  Pattern pattern = Pattern::kAllreduce;
  std::vector<Contender> contenders;  // the baseline first
  std::vector<uint64_t> sizes_bytes;  // ascending, multiples of 4
  int repetitions = 20, warmup = 5;   // at most; a row that takes longer than row_seconds ends after 5
  double row_seconds = 2;             // infinity: every repetition
  int rounds = 100;                   // of the error after many rounds
  bool check = true;                  // #wrong
  uint64_t seed = 1;
  std::optional<LinkModel> link;  // emulated
  absl::Duration timeout = absl::Seconds(120);
};

struct CollectiveRow {
  std::string spec, runs_as;
  bool baseline = false;
  uint64_t size_bytes = 0, count = 0;
  std::vector<double> seconds;                                          // of each repetition, on its slowest rank
  double encode_seconds = 0, exchange_seconds = 0, decode_seconds = 0;  // medians of that rank's
  double bus_factor = 0;                                                // bus bandwidth over algorithm bandwidth
  std::optional<uint64_t> wrong;  // elements, over all ranks; nullopt: not checked
  double wire_bytes = 0;          // sent a step by the rank that sends most
  double ratio = 0;               // the baseline's wire bytes over these; 0 where there are none
  double error_one_round = 0, error_after_rounds = 0;
  uint64_t rounds_size_bytes = 0;  // of the tensor that error_after_rounds was measured on
  std::optional<double>
      break_even_bits_per_second;  // below it this beats the baseline; nullopt: never; kAnyLink: always

  double median_seconds() const;
  double p99_seconds() const;
};
inline constexpr double kAnyLink = 1e18;

// Copying one rank's tensor once, on all ranks at a time: what memory alone would take.
struct MemcpyRow {
  uint64_t size_bytes = 0;
  std::vector<double> seconds;  // on the slowest rank
};

// A size that a codec cannot take, such as a matrix that low-rank factors would not make smaller.
struct SkippedRow {
  std::string spec;
  uint64_t size_bytes = 0;
  std::string reason;
};

// Where rows go as they are measured; called on rank 0 only.
struct CollectiveSink {
  std::function<void(const MemcpyRow&)> on_memcpy;
  std::function<void(const CollectiveRow&)> on_row;
  std::function<void(const SkippedRow&)> on_skipped;
  std::function<void(const std::string&)> on_progress;
};

// At each rank: measures every contender at every size. Collective.
absl::Status RunCollective(const CollectiveOptions& options, std::unique_ptr<Transport> transport,
                           const CollectiveSink& sink);

}  // namespace laconic::tools
