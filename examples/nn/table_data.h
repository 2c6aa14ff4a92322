// Samples from tables of features: LIBSVM and CSV files.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "examples/nn/csv.h"
#include "examples/nn/dataset.h"

namespace laconic::nn {

// paths: training, and perhaps test. Labels become classes in ascending order: by value where all are integers, else
// as texts. Features are as they stand in the files. Errors as LoadData's.
absl::StatusOr<TrainTest> LoadLibsvm(const std::vector<std::string>& paths);
absl::StatusOr<TrainTest> LoadCsv(const std::vector<std::string>& paths, LabelColumn label);

// Moves every seventh sample into a test set.
absl::StatusOr<Dataset> HoldOut(Dataset& train, const std::string& path);

}  // namespace laconic::nn
