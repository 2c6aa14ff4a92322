// The losses of clients on a model of this folder: what local steps of federated learning descend.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "examples/nn/client_data.h"
#include "examples/nn/models.h"
#include "examples/nn/sampling.h"
#include "laconic/optim/federated/objective.h"

namespace laconic::nn {

struct ClientObjectiveOptions {
  ModelOptions model;                // input, classes and max_rows follow from the data and the batch
  const ClientData* data = nullptr;  // must outlive the objective
  size_t batch = 32;                 // samples of a minibatch
  uint32_t steps_per_round = 1;      // K
  uint64_t seed = 0;                 // of the order in which clients draw their samples
};

// Step k of round t of client i takes the draws (t K + k) * batch ... of the client's order (DrawOrder): without
// replacement until all of its samples have been seen.
class ClientObjective final : public LocalObjective {
 public:
  static absl::StatusOr<std::unique_ptr<ClientObjective>> Create(const ClientObjectiveOptions& options);

  std::span<const Parameter> parameters() const override { return model_->parameters(); }
  std::span<float> weights() override { return model_->weights(); }
  std::span<const float> gradient() const override { return model_->gradients(); }
  absl::StatusOr<double> Evaluate(const MinibatchKey& key) override;

 private:
  ClientObjective(const ClientObjectiveOptions& options, std::unique_ptr<Model> model);

  const ClientObjectiveOptions options_;
  const std::unique_ptr<Model> model_;
  const std::unique_ptr<ClientData::Reader> reader_;
  DrawOrder order_;
  uint32_t client_;  // that the reader has open
  std::vector<float> inputs_, targets_;
  std::vector<uint16_t> labels_;
};

// How well a model predicts a data set. Rows are looked at in pieces that do not depend on who computes them, so that
// sums are the same bits for any number of threads.
class ModelEvaluator {
 public:
  // data: must outlive it.   threads: at least 1.
  static absl::StatusOr<std::unique_ptr<ModelEvaluator>> Create(const ModelOptions& model, const Dataset* data,
                                                                int threads);
  virtual ~ModelEvaluator() = default;
  // weights: as Model::weights().
  virtual Score Evaluate(std::span<const float> weights) = 0;
};

// The model that fits the data: input shape, classes and the number of rows filled in.
ModelOptions ModelFor(const ModelOptions& model, const SampleFormat& format, size_t rows);

}  // namespace laconic::nn
