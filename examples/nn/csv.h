// Comma-separated values: a label and numbers on each line.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace laconic::nn {

struct CsvFile {
  std::vector<std::string> labels;  // as written, blanks and quotes trimmed
  size_t features = 0;              // of each line
  std::vector<float> values;        // labels.size() x features
};

enum class LabelColumn { kFirst, kLast };

// Blank lines are skipped. The first line is a header, and skipped too, where one of its features is no number. Text
// is untrusted: DataLoss naming file, line and column for a line of another length than the first, a feature that is
// no finite number, an empty label, or no line at all.
absl::StatusOr<CsvFile> ParseCsv(std::string_view text, std::string_view name, LabelColumn label);
// A plain or gzip file. Also NotFound.
absl::StatusOr<CsvFile> ReadCsvFile(const std::string& path, LabelColumn label);

}  // namespace laconic::nn
