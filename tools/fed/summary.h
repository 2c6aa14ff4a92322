// What the runs of a folder come to: one row for each method and codec, means over seeds.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"
#include "tools/fed/folder.h"

namespace laconic::tools {

struct SummaryRow {
  std::string label, method, compress;
  size_t runs = 0;                              // finished
  double accuracy = 0, accuracy_deviation = 0;  // of the last evaluation; NaN where there is nothing to classify
  double loss = 0;                              // of the test set
  double bits_per_parameter = 0;                // of an update, frames included
  double uplink_bytes = 0, downlink_bytes = 0;  // of one run, over all clients
  double ratio = 0;                             // bytes of the same updates as plain floats / uplink_bytes
  std::optional<double> bytes_to_target, seconds_to_target;  // uplink; absent: not every seed got there
  double rounds_per_second = 0;                              // real, without evaluations
  std::string error;                                         // a run that ended early
};

struct Summary {
  double target = 0;  // the accuracy, or with target_is_loss the test loss, that bytes and seconds are counted to
  bool target_is_loss = false;
  bool has_clock = false;  // seconds were simulated
  std::vector<SummaryRow> rows;
};

// Of the runs that have finished. The target, where the configuration names none, is the best that every row reached,
// rounded to what is easier.
absl::StatusOr<Summary> Summarize(const FedFolder& folder);

std::string SummaryTable(const Summary& summary);
std::string SummaryCsv(const Summary& summary);
nlohmann::ordered_json SummaryJson(const Summary& summary);

// results.csv, results.json, curves.json, report.html and the hashes in config.json.
absl::Status WriteSummary(const FedFolder& folder, const Summary& summary);

}  // namespace laconic::tools
