// Which rows of one measurement are slower than in another, and whether that is more than noise.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/result_file.h"

namespace laconic::tools {

enum class Verdict {
  kSame,     // within the threshold
  kFaster,   // beyond it, and more than noise
  kSlower,   // beyond it, and more than noise
  kUnclear,  // beyond it, but the intervals of the two medians overlap
};
std::string_view VerdictName(Verdict verdict);

struct ComparedRow {
  std::string what;  // "topk(ratio=0.01)+ef+gather, 1 MiB" or "sign, gaussian, 25600000 elements: encode_residual"
  double before_seconds = 0, after_seconds = 0;  // medians
  double change = 0;                             // after / before - 1
  // Of `change`, from 95 % intervals of both medians; both -1 and infinity without raw times.
  double change_low = 0, change_high = 0;
  Verdict verdict = Verdict::kSame;
};

struct Comparison {
  std::vector<ComparedRow> rows;         // in the order of `before`
  std::vector<std::string> only_before;  // rows without a partner
  std::vector<std::string> only_after;
  bool other_machine = false;

  bool AnySlower() const;
};

// Rows of equal setting (kind, ranks, backend, link), spec and size or input. Without raw times on a side, a change
// beyond the threshold counts as it is.
//   threshold: 0.05 for 5 %.
// InvalidArgument when no row of the one is in the other, with the settings of both.
absl::StatusOr<Comparison> CompareResults(const ResultFile& before, const ResultFile& after, double threshold);

// The interval of the median that covers it with 95 % for any distribution, by order statistics (Conover 1999, 3.2);
// smallest and largest below six values. `values` not empty.
struct Interval {
  double low = 0, high = 0;
};
Interval MedianInterval(std::span<const double> values);

// "5%", "0.5 %", "7": at least 0. InvalidArgument starting with `what`.
absl::StatusOr<double> ParsePercentage(std::string_view what, std::string_view text);

}  // namespace laconic::tools
