#include "examples/nn/stack.h"

#include <algorithm>

namespace laconic::nn {

void Stack::Allocate(size_t max_rows) {
  size_t widest = 0;
  for (const auto& layer : layers_) {
    outputs_.emplace_back(max_rows * layer->out_shape().size());
    widest = std::max(widest, layer->out_shape().size());
  }
  for (std::vector<float>& gradient : gradients_) gradient.resize(max_rows * widest);
}

void Stack::ForEachTensor(absl::FunctionRef<void(LayerTensor&)> visit) {
  for (const auto& layer : layers_) layer->ForEachTensor(visit);
}

std::span<const float> Stack::LayerInput(size_t layer) const {
  return layer == 0 ? input_ : std::span<const float>(outputs_[layer - 1]);
}

std::span<const float> Stack::Forward(size_t rows, std::span<const float> in) {
  input_ = in;
  for (size_t i = 0; i < layers_.size(); ++i) layers_[i]->Forward(rows, LayerInput(i), outputs_[i]);
  return std::span<const float>(outputs_.back()).first(rows * out_shape().size());
}

void Stack::Backward(const Layer::BackwardCall& call, ReadyFunction ready) {
  std::span<const float> out_gradient = call.out_gradient;
  for (size_t i = layers_.size(); i-- > 0;) {
    Layer& layer = *layers_[i];
    const std::span<float> in_gradient =
        i == 0 ? call.in_gradient : std::span(gradients_[i % 2]).first(call.rows * layer.in_shape().size());
    layer.Backward({.rows = call.rows,
                    .in = LayerInput(i),
                    .out = outputs_[i],
                    .out_gradient = out_gradient,
                    .in_gradient = in_gradient,
                    .add = call.add},
                   ready);
    out_gradient = in_gradient;
  }
}

}  // namespace laconic::nn
