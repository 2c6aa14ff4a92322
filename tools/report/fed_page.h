// A folder of `laconic fed run` as one HTML page that opens without a network.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace laconic::tools {

class FedFolder;
struct Summary;

// Accuracy and loss against bytes, rounds and simulated time, the table of `summary`, who had which labels, and the
// command that repeats it all. Errors: the folder's.
absl::StatusOr<std::string> FedPage(const FedFolder& folder, const Summary& summary);

}  // namespace laconic::tools
