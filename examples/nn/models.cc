#include "examples/nn/models.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "fmt/format.h"
#include "laconic/base/rng.h"
#include "laconic/base/status.h"

namespace laconic::nn {
namespace {

constexpr size_t kKernel = 5;
constexpr uint32_t kInitStream = 0x1417;  // random draws of the initial weights

void InitializeHe(const LayerTensor& tensor, uint64_t seed) {
  const std::span<float> weights = tensor.parameter.weights;
  if (tensor.fan_in == 0) return;  // vectors start at zero
  const CounterRng rng({.seed = seed, .tensor = Index(tensor.id), .rank = RngKey::kSharedRank, .stream = kInitStream});
  const float bound = std::sqrt(6.0f / static_cast<float>(tensor.fan_in));
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = (2 * rng.Uniform(i) - 1) * bound;
}

}  // namespace

absl::StatusOr<ModelKind> ParseModelKind(std::string_view name) {
  if (name == "logistic") return ModelKind::kLogistic;
  if (name == "mlp") return ModelKind::kMlp;
  if (name == "cnn") return ModelKind::kCnn;
  return absl::InvalidArgumentError(fmt::format("unknown model \"{}\"; known are logistic, mlp and cnn", name));
}

absl::StatusOr<std::unique_ptr<Model>> Model::Create(const ModelOptions& options) {
  UseOneBlasThread();
  UseOneBlasThread();
  std::unique_ptr<Model> model(new Model(options));
  LACONIC_RETURN_IF_ERROR(model->Build());
  return model;
}

absl::Status Model::Build() {
  if (options_.kind == ModelKind::kCnn) {
    for (size_t i = 0; i < options_.channels.size(); ++i) {
      const ImageShape in = last_shape();
      if (std::min(in.height, in.width) < kKernel + 1) {
        return absl::InvalidArgumentError(fmt::format("conv{} needs at least {} x {} pixels and gets {} x {}", i + 1,
                                                      kKernel + 1, kKernel + 1, in.height, in.width));
      }
      Append(MakeConvolution(fmt::format("conv{}", i + 1), in, options_.channels[i], kKernel));
      Append(MakeRelu(last_shape()));
      Append(MakeMaxPool(last_shape()));
    }
  }
  const std::vector<size_t> hidden = options_.kind == ModelKind::kLogistic ? std::vector<size_t>() : options_.hidden;
  for (size_t i = 0; i < hidden.size(); ++i) {
    Append(MakeDense(fmt::format("fc{}", i + 1), last_shape(), hidden[i]));
    Append(MakeRelu(last_shape()));
  }
  Append(MakeDense(fmt::format("fc{}", hidden.size() + 1), last_shape(), options_.classes));

  size_t elements = 0, widest = 0;
  for (const auto& layer : layers_) {
    for (const LayerTensor& tensor : layer->tensors()) elements += tensor.parameter.shape.elements();
    widest = std::max({widest, layer->in_shape().size(), layer->out_shape().size()});
    outputs_.emplace_back(options_.max_rows * layer->out_shape().size());
  }
  weights_.resize(elements);
  gradients_.resize(elements);
  gradient_.resize(options_.max_rows * widest);
  next_gradient_.resize(options_.max_rows * widest);

  size_t offset = 0;
  for (const auto& layer : layers_) {
    for (LayerTensor& tensor : layer->tensors()) {
      const size_t count = tensor.parameter.shape.elements();
      tensor.id = static_cast<TensorId>(parameters_.size());
      tensor.parameter.weights = std::span(weights_).subspan(offset, count);
      tensor.parameter.gradient = std::span(gradients_).subspan(offset, count);
      offset += count;
      InitializeHe(tensor, options_.seed);
      parameters_.push_back(tensor.parameter);
    }
  }
  return absl::OkStatus();
}

std::span<const float> Model::LayerInput(size_t layer) const {
  return layer == 0 ? batch_.inputs : std::span<const float>(outputs_[layer - 1]);
}

std::span<const float> Model::Scores(const Batch& batch) {
  assert(batch.rows() <= options_.max_rows && batch.inputs.size() == batch.rows() * options_.input.size());
  batch_ = batch;
  for (size_t i = 0; i < layers_.size(); ++i) layers_[i]->Forward(batch.rows(), LayerInput(i), outputs_[i]);
  return std::span<const float>(outputs_.back()).first(batch.rows() * options_.classes);
}

float Model::Forward(const Batch& batch) {
  const std::span<const float> scores = Scores(batch);
  const size_t classes = options_.classes;
  double loss = 0;
  for (size_t row = 0; row < batch.rows(); ++row) {
    // p_j = exp(z_j - max z) / sum; loss = -log p_label; its gradient by z is (p - onehot(label)) / rows.
    const float* z = scores.data() + row * classes;
    float* p = gradient_.data() + row * classes;
    const float largest = *std::max_element(z, z + classes);
    float sum = 0;
    for (size_t j = 0; j < classes; ++j) sum += p[j] = std::exp(z[j] - largest);
    const size_t label = batch.labels[row];
    loss += std::log(sum) - (z[label] - largest);
    const float share = 1 / (sum * static_cast<float>(batch.rows()));
    for (size_t j = 0; j < classes; ++j) p[j] *= share;
    p[label] -= 1 / static_cast<float>(batch.rows());
  }
  return static_cast<float>(loss / static_cast<double>(batch.rows()));
}

void Model::Backward(const BackwardOptions& options, ReadyFunction ready) {
  const size_t rows = batch_.rows();
  for (size_t i = 0; i < rows * options_.classes && options.scale != 1; ++i) gradient_[i] *= options.scale;
  for (size_t i = layers_.size(); i-- > 0;) {
    Layer& layer = *layers_[i];
    const size_t in_size = i == 0 ? 0 : rows * layer.in_shape().size();
    layer.Backward({.rows = rows,
                    .in = LayerInput(i),
                    .out = outputs_[i],
                    .out_gradient = gradient_,
                    .in_gradient = std::span(next_gradient_).first(in_size),
                    .add = options.add},
                   ready);
    std::swap(gradient_, next_gradient_);
  }
}

size_t Model::CountCorrect(const Batch& batch) {
  const std::span<const float> scores = Scores(batch);
  size_t correct = 0;
  for (size_t row = 0; row < batch.rows(); ++row) {
    const auto z = scores.begin() + row * options_.classes;
    correct += static_cast<size_t>(std::max_element(z, z + options_.classes) - z) == batch.labels[row];
  }
  return correct;
}

}  // namespace laconic::nn
