// What is the same on all ranks is computed by all of them together.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/nn/dataset.h"
#include "examples/nn/models.h"
#include "laconic/comm/communicator.h"

namespace laconic::train {

// How well a model predicts what it was not trained on.
struct TestFigures {
  double accuracy = 0;  // share of predictions that are right
  double loss = 0;      // mean of -log(probability of what is right), in nats (0.693 of them are a bit)
};
// Of all of `test`; every rank looks at its part, in batches of at most `rows`. Equal on all ranks. Collective.
absl::StatusOr<TestFigures> EvaluateOn(const nn::Dataset& test, size_t rows, nn::Model& model, Communicator& comm);

// Hash of the weights; Internal, naming two ranks and their hashes, when not all ranks have the same. Collective.
absl::StatusOr<uint64_t> AgreedWeightHash(Communicator& comm, std::span<const float> weights);

}  // namespace laconic::train
