// What is the same on all ranks is computed by all of them together.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/nn/dataset.h"
#include "examples/nn/models.h"
#include "laconic/comm/communicator.h"

namespace laconic::train {

// Share of `test` that the model gets right; every rank looks at its part, in batches of at most `rows`. Collective.
absl::StatusOr<double> TestAccuracy(Communicator& comm, nn::Model& model, const nn::Dataset& test, size_t rows);

// Hash of the weights; Internal, naming two ranks and their hashes, when not all ranks have the same. Collective.
absl::StatusOr<uint64_t> AgreedWeightHash(Communicator& comm, std::span<const float> weights);

}  // namespace laconic::train
