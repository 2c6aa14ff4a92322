// The output folder of `laconic fed run`: what was asked, what came out, and what it takes to go on.
//
//   config.json            what was run, with the exact command; at the end the hashes of every run
//   rounds.jsonl           a line for each evaluated round of each run
//   runs/<id>.json         a finished run; models/<id>.safetensors its model
//   checkpoints/<id>/      of a run that goes on
//   results.csv, results.json, report.html
//   curves.json            the runs as `laconic report --svg` and `--table` read them
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "tools/fed/experiment.h"

namespace laconic::tools {

inline constexpr std::string_view kFedSchema = "laconic-fed";
inline constexpr int kFedVersion = 1;

// What config.json says.
struct FedConfig {
  std::string name, command, date;
  RunDescription base;  // of all runs, but for method, codec and seed
  std::vector<PlannedRun> runs;
  SimulationSettings settings;
  uint64_t checkpoint_every = 0;
  double target = 0;               // accuracy that bytes and seconds are counted to; 0: chosen from the results
  std::vector<Parameter> tensors;  // names and shapes
  std::vector<std::vector<uint64_t>> split;  // samples of each class at the first clients
  nlohmann::ordered_json machine = nlohmann::ordered_json::object();

  size_t elements() const;
};

// A finished run, as runs/<id>.json says it.
struct FinishedRun {
  uint64_t model_hash = 0, state_hash = 0;
  uint64_t rounds = 0;
  std::string error;  // it diverged
  double real_seconds = 0;
  uint64_t real_rounds = 0;
  uint64_t client_state_bytes = 0;
};

// One thread at a time.
class FedFolder {
 public:
  // Makes the folder. AlreadyExists where it holds a config.json.
  static absl::StatusOr<FedFolder> Create(const std::string& path, const FedConfig& config);
  // NotFound; DataLoss or InvalidArgument naming file and field for what is no such folder.
  static absl::StatusOr<FedFolder> Open(const std::string& path);

  const std::string& path() const { return path_; }
  const FedConfig& config() const { return config_; }

  // nullopt: the run has not finished.
  absl::StatusOr<std::optional<FinishedRun>> Finished(const std::string& id) const;
  // The run's lines in rounds.jsonl, in order.
  absl::StatusOr<std::vector<Evaluation>> Evaluations(const std::string& id) const;

  // Durable lines: one is on the disk before the next is written.
  absl::Status Append(const std::string& id, const Evaluation& evaluation);
  // Leaves of the run's lines those up to `round` (all go where keep is false), and of all others everything.
  absl::Status Truncate(const std::string& id, bool keep, uint64_t round);

  absl::Status Finish(const PlannedRun& run, const RunOutcome& outcome);
  // With the hashes of the runs that have finished.
  absl::Status WriteConfig() const;

  std::string CheckpointFolder(const std::string& id) const { return path_ + "/checkpoints/" + id; }

 private:
  FedFolder(std::string path, FedConfig config) : path_(std::move(path)), config_(std::move(config)) {}

  std::string path_;
  FedConfig config_;
};

// "path", or "path-2", "path-3" ... : the first that there is not.
std::string FreeFolder(const std::string& path);

std::string HashText(uint64_t hash);  // 16 hex digits

// One line of rounds.jsonl.
nlohmann::ordered_json EvaluationJson(const std::string& id, const Evaluation& evaluation);

}  // namespace laconic::tools
