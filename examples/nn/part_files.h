// One client's samples, or a test set, as a file: exactly the numbers that training would see, so that a process that
// has the file alone computes the same bits as one that has all the data.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/nn/client_data.h"

namespace laconic::nn {

// <folder>/samples.safetensors of the samples of one client: "inputs" (samples x features), "labels" (samples x labels
// of each, as numbers) or "targets"; in the texts the format, the client and how many clients there are.
absl::Status WritePart(const std::string& folder, const ClientData& data, uint32_t client);
// The clients of whom one's samples are here; of a test set's file, clients of whom nobody's are: enough for a server,
// which computes no gradients. NotFound; DataLoss naming the file for what is no such file.
struct Part {
  std::unique_ptr<ClientData> data;  // of a test set: 0 clients
  uint32_t client = 0;
};
absl::StatusOr<Part> ReadPart(const std::string& folder);

// The same of a test set: <folder>/samples.safetensors.
absl::Status WriteTestPart(const std::string& folder, const Dataset& test);
absl::StatusOr<Dataset> ReadTestPart(const std::string& folder);

}  // namespace laconic::nn
