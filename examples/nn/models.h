// Three small classifiers whose gradients a GradientSync can take: logistic regression, a perceptron, a convolutional
// network.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "examples/nn/layers.h"
#include "laconic/optim/parameter.h"

namespace laconic::nn {

// `rows` samples: inputs row by row, a class below the model's `classes` for each.
struct Batch {
  std::span<const float> inputs;
  std::span<const uint16_t> labels;
  size_t rows() const { return labels.size(); }
};

enum class ModelKind { kLogistic, kMlp, kCnn };
absl::StatusOr<ModelKind> ParseModelKind(std::string_view name);  // logistic | mlp | cnn

struct ModelOptions {
  ModelKind kind = ModelKind::kMlp;
  ImageShape input;
  size_t classes = 10;
  std::vector<size_t> channels = {16, 32};  // cnn: each a 5 x 5 convolution, ReLU and 2 x 2 maximum: conv1, conv2
  std::vector<size_t> hidden = {256, 128};  // mlp and cnn: dense layers with ReLU: fc1, fc2
  size_t max_rows = 128;                    // of any batch
  uint64_t seed = 0;                        // equal seeds give equal weights, bit for bit
};

// A stack of layers under a softmax. All memory is sized at construction. One thread at a time; different models on
// different threads.
class Model {
 public:
  // He initialisation (He et al. 2015, uniform form): weights in +-sqrt(6 / fan-in), biases 0. InvalidArgument when the
  // input is too small for the convolutions.
  static absl::StatusOr<std::unique_ptr<Model>> Create(const ModelOptions& options);
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // In the order of the forward pass; TensorId i is parameters()[i].
  std::span<const Parameter> parameters() const { return parameters_; }
  std::span<float> weights() { return weights_; }  // all of them, one after the other
  size_t classes() const { return options_.classes; }

  // Mean cross-entropy of the softmax over the batch, which must stay as it is until Backward.
  float Forward(const Batch& batch);

  // Writes the gradient of scale * (the last Forward's loss) into the parameters' gradients, or adds it to them, and
  // calls `ready` for each tensor as soon as it is complete, in reverse order of parameters(). Once after each Forward.
  struct BackwardOptions {
    float scale = 1;
    bool add = false;
  };
  void Backward(const BackwardOptions& options, ReadyFunction ready);
  void Backward(ReadyFunction ready) { Backward({}, ready); }

  // How many samples of the batch get their own class the largest score.
  size_t CountCorrect(const Batch& batch);

 private:
  explicit Model(const ModelOptions& options) : options_(options) {}
  absl::Status Build();
  void Append(std::unique_ptr<Layer> layer) { layers_.push_back(std::move(layer)); }
  const ImageShape& last_shape() const { return layers_.empty() ? options_.input : layers_.back()->out_shape(); }
  std::span<const float> Scores(const Batch& batch);  // rows x classes
  std::span<const float> LayerInput(size_t layer) const;

  const ModelOptions options_;
  std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<Parameter> parameters_;
  std::vector<float> weights_, gradients_;
  std::vector<std::vector<float>> outputs_;  // of each layer, max_rows x its size
  std::vector<float> gradient_, next_gradient_;
  Batch batch_;
};

}  // namespace laconic::nn
