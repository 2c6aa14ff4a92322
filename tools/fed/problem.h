// The data, split and model of a description, in memory.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "examples/nn/client_data.h"
#include "examples/nn/client_objective.h"
#include "examples/nn/models.h"
#include "laconic/optim/federated/objective.h"
#include "tools/fed/description.h"

namespace laconic::tools {

// "logistic" from weights 0, "logistic(start=random)", "mlp(hidden=128)", "mlp(hidden=256x128)", "cnn(channels=16x32,
// hidden=128)", "transformer(width=128, blocks=2, heads=4)". InvalidArgument with column.
absl::StatusOr<nn::ModelOptions> ParseModelSpec(std::string_view text);

// What all runs on the same data share. Immutable; thread-safe.
class FederatedProblem {
 public:
  // Looks at data, normalize, model, split, data-seed and clients. Where data is a folder of `laconic fed split`, only
  // that client's samples are there, of the folder "test" nobody's; for testing those of the folder "test" beside it,
  // if any. Errors: those of the data, the split and the model, with the option's name.
  static absl::StatusOr<std::unique_ptr<FederatedProblem>> Load(const RunDescription& description);

  const nn::ClientData& clients() const { return *clients_; }
  const nn::Dataset& test() const { return test_; }
  bool has_classes() const { return clients_->format().classes > 0; }
  // Names and shapes of the model's tensors; the spans are empty.
  const std::vector<Parameter>& parameters() const { return parameters_; }
  size_t elements() const { return elements_; }

  // The objective of `run`'s batch, local steps and seed; weights are the run's initial ones.
  absl::StatusOr<std::unique_ptr<LocalObjective>> MakeObjective(const RunDescription& run) const;
  absl::StatusOr<std::unique_ptr<nn::ModelEvaluator>> MakeEvaluator(int threads) const;

 private:
  FederatedProblem() = default;

  nn::ModelOptions model_;
  nn::Dataset train_, test_;
  std::unique_ptr<nn::ClientData> clients_;
  std::vector<Parameter> parameters_;
  size_t elements_ = 0;
};

}  // namespace laconic::tools
