// The JSON files that `laconic bench -J` writes, read back: for report, compare and plan --validate.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace laconic::tools {

inline constexpr std::string_view kResultSchema = "laconic-bench";
inline constexpr int kResultVersion = 1;

// One (spec, size) of `laconic bench allreduce|allgather|ps`. Seconds are medians of the slowest rank.
struct CollectiveResult {
  std::string spec;     // as asked
  std::string runs_as;  // what `auto` became
  bool baseline = false;
  uint64_t size_bytes = 0;
  uint64_t count = 0;
  double time_seconds = 0, p99_seconds = 0;
  std::vector<double> times_seconds;
  double algbw_bytes_per_second = 0, busbw_bytes_per_second = 0;
  std::optional<uint64_t> wrong;  // absent: not checked
  double wire_bytes_per_rank = 0;
  double ratio = 0;  // dense bytes / wire bytes
  double encode_seconds = 0, exchange_seconds = 0, decode_seconds = 0;
  double error_one_round = 0, error_after_rounds = 0;
  int rounds = 0;
  std::optional<double> break_even_bits_per_second;  // absent: never wins
};

// One (spec, input) of `laconic bench codec`. Speeds are of float32 input.
struct CodecResult {
  std::string spec;
  std::string input;  // "gaussian"
  uint64_t elements = 0;
  int threads = 1;
  double encode_bytes_per_second = 0, encode_residual_bytes_per_second = 0, decode_add_bytes_per_second = 0;
  double session_bytes_per_second = 0;  // linear codecs: a whole session; else 0
  double memcpy_bytes_per_second = 0, read_bytes_per_second = 0;
  double bits_per_element = 0;
  double error = 0;
  std::vector<double> encode_seconds, encode_residual_seconds, decode_add_seconds, session_seconds;  // raw
};

struct ResultLink {
  std::string text;  // "1Gbit,rtt=1ms"
  double bits_per_second = 0;
  double round_trip_seconds = 0;
};

struct ResultFile {
  std::string name;  // of the file
  std::string kind;  // "allreduce", "allgather", "ps", "codec"
  std::string command, date;
  std::string cpu, kernels, laconic;  // of the machine
  int cores = 0;
  int ranks = 0;
  std::string backend;  // "inproc", "mpi"; empty for codec
  std::optional<ResultLink> link;
  std::vector<CollectiveResult> collectives;  // every kind but codec
  std::vector<CodecResult> codecs;

  // "allreduce, 4 ranks, inproc, 1Gbit,rtt=1ms": what must be equal for times to be comparable.
  std::string Setting() const;
};

// InvalidArgument for what is no such file, another schema version, or a field of the wrong type (named:
// "out.json: rows[3].time_seconds is missing or no number"); NotFound for a file that cannot be read.
absl::StatusOr<ResultFile> ReadResultFile(const std::string& path);
absl::StatusOr<ResultFile> ParseResultFile(std::string_view name, std::string_view text);

// The file's bytes. NotFound with the reason the system gives.
absl::StatusOr<std::string> ReadTextFile(const std::string& path);

}  // namespace laconic::tools
