#include "examples/nn/models.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "examples/nn/matrix.h"
#include "examples/nn/transformer_layers.h"
#include "fmt/format.h"
#include "laconic/base/rng.h"
#include "laconic/base/status.h"

namespace laconic::nn {
namespace {

constexpr size_t kKernel = 5;
constexpr uint32_t kInitStream = 0x1417;  // random draws of the initial weights

void Initialize(const LayerTensor& tensor, uint64_t seed) {
  const std::span<float> weights = tensor.parameter.weights;
  std::fill(weights.begin(), weights.end(), tensor.start);
  if (tensor.bound == 0) return;
  const CounterRng rng({.seed = seed, .tensor = Index(tensor.id), .rank = RngKey::kSharedRank, .stream = kInitStream});
  for (size_t i = 0; i < weights.size(); ++i) weights[i] += (2 * rng.Uniform(i) - 1) * tensor.bound;
}

// The weights' variance is 1 / fan_in, so that features keep theirs.
float UnitBound(size_t fan_in) { return std::sqrt(3.0f / static_cast<float>(fan_in)); }

}  // namespace

absl::StatusOr<ModelKind> ParseModelKind(std::string_view name) {
  if (name == "logistic") return ModelKind::kLogistic;
  if (name == "mlp") return ModelKind::kMlp;
  if (name == "cnn") return ModelKind::kCnn;
  if (name == "transformer") return ModelKind::kTransformer;
  return absl::InvalidArgumentError(
      fmt::format("unknown model \"{}\"; known are logistic, mlp, cnn and transformer", name));
}

absl::StatusOr<std::unique_ptr<Model>> Model::Create(const ModelOptions& options) {
  UseOneBlasThread();
  std::unique_ptr<Model> model(new Model(options));
  LACONIC_RETURN_IF_ERROR(options.kind == ModelKind::kTransformer ? model->BuildTransformer()
                                                                  : model->BuildImageClassifier());
  model->Bind();
  return model;
}

absl::Status Model::BuildImageClassifier() {
  if (options_.kind == ModelKind::kCnn) {
    for (size_t i = 0; i < options_.channels.size(); ++i) {
      const ImageShape in = layers_.out_shape();
      if (std::min(in.height, in.width) < kKernel + 1) {
        return absl::InvalidArgumentError(fmt::format("conv{} needs at least {} x {} pixels and gets {} x {}", i + 1,
                                                      kKernel + 1, kKernel + 1, in.height, in.width));
      }
      layers_.Append(MakeConvolution(fmt::format("conv{}", i + 1), in, options_.channels[i], kKernel));
      layers_.Append(MakeRelu(layers_.out_shape()));
      layers_.Append(MakeMaxPool(layers_.out_shape()));
    }
  }
  const std::vector<size_t> hidden = options_.kind == ModelKind::kLogistic ? std::vector<size_t>() : options_.hidden;
  for (size_t i = 0; i < hidden.size(); ++i) {
    layers_.Append(MakeDense(fmt::format("fc{}", i + 1), layers_.out_shape(), hidden[i]));
    layers_.Append(MakeRelu(layers_.out_shape()));
  }
  layers_.Append(MakeDense(fmt::format("fc{}", hidden.size() + 1), layers_.out_shape(), options_.classes));
  if (options_.start_at_zero && options_.kind == ModelKind::kLogistic) {
    layers_.ForEachTensor([](LayerTensor& tensor) { tensor.bound = 0; });
  }
  return absl::OkStatus();
}

absl::Status Model::BuildTransformer() {
  const size_t width = options_.width;
  if (options_.heads == 0 || width == 0 || width % options_.heads != 0) {
    return absl::InvalidArgumentError(
        fmt::format("a width of {} features cannot be divided among {} heads", width, options_.heads));
  }
  layers_.Append(MakeEmbedding("embed", options_.input.size(), options_.classes, width));
  const ImageShape shape = layers_.out_shape();
  const float to_sum = 1 / std::sqrt(2.0f * static_cast<float>(options_.blocks));
  for (size_t i = 1; i <= options_.blocks; ++i) {
    const std::string name = fmt::format("block{}", i);
    auto attention = std::make_unique<Stack>(shape);
    attention->Append(MakeLayerNorm(name + ".norm1", shape));
    attention->Append(MakePositionDense(name + ".qkv", shape, 3 * width, UnitBound(width)));
    attention->Append(MakeCausalAttention(attention->out_shape(), options_.heads));
    attention->Append(MakePositionDense(name + ".proj", shape, width, UnitBound(width) * to_sum));
    layers_.Append(MakeResidual(shape, std::move(attention), options_.max_rows));

    auto dense = std::make_unique<Stack>(shape);
    dense->Append(MakeLayerNorm(name + ".norm2", shape));
    dense->Append(MakePositionDense(name + ".fc1", shape, 4 * width, UnitBound(width)));
    dense->Append(MakeRelu(dense->out_shape()));
    dense->Append(MakePositionDense(name + ".fc2", dense->out_shape(), width, UnitBound(4 * width) * to_sum));
    layers_.Append(MakeResidual(shape, std::move(dense), options_.max_rows));
  }
  layers_.Append(MakeLayerNorm("norm", shape));
  layers_.Append(MakePositionDense("head", shape, options_.classes, UnitBound(width)));
  return absl::OkStatus();
}

void Model::Bind() {
  layers_.Allocate(options_.max_rows);
  gradient_.resize(options_.max_rows * layers_.out_shape().size());
  size_t elements = 0;
  layers_.ForEachTensor([&](LayerTensor& tensor) { elements += tensor.parameter.shape.elements(); });
  weights_.resize(elements);
  gradients_.resize(elements);

  size_t offset = 0;
  layers_.ForEachTensor([&](LayerTensor& tensor) {
    const size_t count = tensor.parameter.shape.elements();
    tensor.id = static_cast<TensorId>(parameters_.size());
    tensor.parameter.weights = std::span(weights_).subspan(offset, count);
    tensor.parameter.gradient = std::span(gradients_).subspan(offset, count);
    offset += count;
    Initialize(tensor, options_.seed);
    parameters_.push_back(tensor.parameter);
  });
}

std::span<const float> Model::Logits(const Batch& batch) {
  const size_t rows = batch.inputs.size() / options_.input.size();
  assert(rows <= options_.max_rows && batch.inputs.size() == rows * options_.input.size());
  assert(batch.labels.size() * options_.classes + batch.targets.size() == rows * layers_.out_shape().size());
  batch_ = batch;
  return layers_.Forward(rows, batch.inputs);
}

// loss = (z - target)^2 / 2; its gradient by z is (z - target) / predictions.
float Model::SquaredLoss(const Batch& batch, std::span<const float> predicted) {
  double loss = 0;
  const float share = 1 / static_cast<float>(batch.targets.size());
  for (size_t i = 0; i < batch.targets.size(); ++i) {
    const float error = predicted[i] - batch.targets[i];
    loss += 0.5 * static_cast<double>(error) * static_cast<double>(error);
    gradient_[i] = error * share;
  }
  return static_cast<float>(loss / static_cast<double>(batch.targets.size()));
}

float Model::Forward(const Batch& batch) {
  const std::span<const float> logits = Logits(batch);
  if (!batch.targets.empty()) return SquaredLoss(batch, logits);
  const size_t classes = options_.classes, predictions = batch.labels.size();
  double loss = 0;
  for (size_t i = 0; i < predictions; ++i) {
    // p_j = exp(z_j - max z) / sum; loss = -log p_label; its gradient by z is (p - onehot(label)) / predictions.
    const float* z = logits.data() + i * classes;
    float* p = gradient_.data() + i * classes;
    const float largest = *std::max_element(z, z + classes);
    float sum = 0;
    for (size_t j = 0; j < classes; ++j) sum += p[j] = std::exp(z[j] - largest);
    const size_t label = batch.labels[i];
    loss += std::log(sum) - (z[label] - largest);
    const float share = 1 / (sum * static_cast<float>(predictions));
    for (size_t j = 0; j < classes; ++j) p[j] *= share;
    p[label] -= 1 / static_cast<float>(predictions);
  }
  return static_cast<float>(loss / static_cast<double>(predictions));
}

void Model::Backward(const BackwardOptions& options, ReadyFunction ready) {
  const size_t predictions = batch_.targets.empty() ? batch_.labels.size() : batch_.targets.size();
  const std::span<float> gradient = std::span(gradient_).first(predictions * options_.classes);
  if (options.scale != 1) {
    for (float& value : gradient) value *= options.scale;
  }
  layers_.Backward({.rows = batch_.inputs.size() / options_.input.size(), .out_gradient = gradient, .add = options.add},
                   ready);
}

Score Model::Evaluate(const Batch& batch) {
  const std::span<const float> logits = Logits(batch);
  if (!batch.targets.empty()) {
    Score score = {.predictions = batch.targets.size()};
    for (size_t i = 0; i < score.predictions; ++i) {
      const double error = static_cast<double>(logits[i]) - static_cast<double>(batch.targets[i]);
      score.loss += 0.5 * error * error;
    }
    return score;
  }
  Score score = {.predictions = batch.labels.size()};
  for (size_t i = 0; i < score.predictions; ++i) {
    const auto z = logits.subspan(i * options_.classes, options_.classes);
    const auto largest = std::max_element(z.begin(), z.end());
    double sum = 0;
    for (const float value : z) sum += std::exp(static_cast<double>(value - *largest));
    score.correct += static_cast<size_t>(largest - z.begin()) == batch.labels[i];
    score.loss += std::log(sum) - (z[batch.labels[i]] - *largest);
  }
  return score;
}

}  // namespace laconic::nn
