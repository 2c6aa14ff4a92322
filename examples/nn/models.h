// Small models whose gradients a GradientSync can take: logistic regression, a perceptron and a convolutional network
// for images, a transformer for the characters of a text.
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
#include "examples/nn/stack.h"
#include "laconic/optim/parameter.h"

namespace laconic::nn {

// Samples one after the other: inputs of the model's `input` size, and for each of the sample's predictions (one for an
// image, one for each character of a text) a class below the model's `classes`.
struct Batch {
  std::span<const float> inputs;
  std::span<const uint16_t> labels;
  std::span<const float> targets = {};  // instead of labels: a number for each sample, which the only class predicts
};

enum class ModelKind { kLogistic, kMlp, kCnn, kTransformer };
absl::StatusOr<ModelKind> ParseModelKind(std::string_view name);  // logistic | mlp | cnn | transformer

struct ModelOptions {
  ModelKind kind = ModelKind::kMlp;
  ImageShape input;  // transformer: 1 x 1 x context, numbers of characters
  size_t classes = 10;
  std::vector<size_t> channels = {16, 32};  // cnn: each a 5 x 5 convolution, ReLU and 2 x 2 maximum: conv1, conv2
  std::vector<size_t> hidden = {256, 128};  // mlp and cnn: dense layers with ReLU: fc1, fc2
  size_t blocks = 2;                        // transformer: attention and a dense layer of four times the width
  size_t width = 128;                       // transformer: features of a character
  size_t heads = 4;                         // transformer: parts of the width that attend each for itself
  size_t max_rows = 128;                    // of any batch
  bool start_at_zero = false;               // logistic: all weights start at 0, where its loss is ln(classes)
  uint64_t seed = 0;                        // equal seeds give equal weights, bit for bit
};

// How well a model predicts.
struct Score {
  size_t predictions = 0;
  size_t correct = 0;  // got their own class the largest score
  double loss = 0;     // sum of -log(probability given to their own class), nats; of half the squared errors
};

// A stack of layers under a softmax. All memory is sized at construction. One thread at a time; different models on
// different threads.
class Model {
 public:
  // Weights of logistic, mlp and cnn start in +-sqrt(6 / fan-in) (He et al. 2015, uniform form), those of the
  // transformer in +-sqrt(3 / fan-in), at the end of a block divided by sqrt(2 blocks) (Radford et al. 2019); biases at
  // 0. InvalidArgument when the input is too small for the convolutions or the heads do not divide the width.
  static absl::StatusOr<std::unique_ptr<Model>> Create(const ModelOptions& options);
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // In the order of the forward pass; TensorId i is parameters()[i].
  std::span<const Parameter> parameters() const { return parameters_; }
  std::span<float> weights() { return weights_; }                  // all of them, one after the other
  std::span<const float> gradients() const { return gradients_; }  // of the last Backward, in the same order
  size_t classes() const { return options_.classes; }

  // Mean cross-entropy of the softmax over the batch's predictions, in nats; with targets, the mean of half the squared
  // errors. The batch must stay as it is until Backward.
  float Forward(const Batch& batch);

  // Writes the gradient of scale * (the last Forward's loss) into the parameters' gradients, or adds it to them, and
  // calls `ready` for each tensor as soon as it is complete, in reverse order of parameters(). Once after each Forward.
  struct BackwardOptions {
    float scale = 1;
    bool add = false;
  };
  void Backward(const BackwardOptions& options, ReadyFunction ready);
  void Backward(ReadyFunction ready) { Backward({}, ready); }

  Score Evaluate(const Batch& batch);

 private:
  explicit Model(const ModelOptions& options) : options_(options), layers_(options.input) {}
  absl::Status BuildImageClassifier();
  absl::Status BuildTransformer();
  void Bind();                                        // memory for the layers' tensors, and their initial weights
  std::span<const float> Logits(const Batch& batch);  // predictions x classes
  float SquaredLoss(const Batch& batch, std::span<const float> predicted);

  const ModelOptions options_;
  Stack layers_;
  std::vector<Parameter> parameters_;
  std::vector<float> weights_, gradients_;
  std::vector<float> gradient_;  // of the loss by the logits
  Batch batch_;
};

}  // namespace laconic::nn
