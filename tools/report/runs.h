// Runs of training and of experiments, several of each method with different seeds, as lines of a plot and rows of a
// table. Their files are what `train --json` and examples/experiments write:
//   {"runs": [{"label": "EControl", "case": "n=4", "seed": 0, "test_loss": 1.62, ...,
//              "curve": {"step": [100, 200], "loss": [2.3, 1.9], "wire_bytes": [3e6, 6e6]}}, ...]}
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/report/svg.h"

namespace laconic::tools {

struct RunRecord {
  std::string label;  // the method; the spec where the file gives no label
  std::string where;  // "case": what else differs; may be empty
  double seed = 0;
  std::map<std::string, double, std::less<>> figures;             // every other number of the run; infinity: "diverged"
  std::map<std::string, std::vector<double>, std::less<>> curve;  // all of one length
};

// NotFound; InvalidArgument, naming file and run, for what is no such file.
absl::StatusOr<std::vector<RunRecord>> ReadRuns(const std::string& path);

// One line for each label (and case, where there are several), in the order of the runs. Where the runs have curves
// with x and y, a line's points are the means over seeds of the curves' i-th points, and the band goes from the least
// to the largest; otherwise x and y are figures, and runs of equal x are one point. InvalidArgument when no run has
// both.
absl::StatusOr<std::vector<PlotLine>> LinesOf(std::span<const RunRecord> runs, std::string_view x, std::string_view y);

// A Markdown table: a row for each label, and for each case a column for each of the figures: mean and standard
// deviation over seeds. "..._bytes" are in MB and "...accuracy" in per cent. against: a label, with which the others
// are compared ("32.0x fewer" of bytes, "+0.4 %" of anything else); may be empty. InvalidArgument for a figure that no
// run has or a label that there is not.
absl::StatusOr<std::string> TableOf(std::span<const RunRecord> runs, std::span<const std::string> figures,
                                    std::string_view against);

}  // namespace laconic::tools
