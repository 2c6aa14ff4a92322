// Layers one after the other, with the memory between them.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "examples/nn/layers.h"

namespace laconic::nn {

// All memory is sized by Allocate. One thread at a time.
class Stack {
 public:
  explicit Stack(const ImageShape& in) : in_(in) {}

  void Append(std::unique_ptr<Layer> layer) { layers_.push_back(std::move(layer)); }
  void Allocate(size_t max_rows);

  const ImageShape& out_shape() const { return layers_.empty() ? in_ : layers_.back()->out_shape(); }
  void ForEachTensor(absl::FunctionRef<void(LayerTensor&)> visit);

  // What the last layer gives, rows x out_shape().size(); valid until the next call. `in` must stay as it is until
  // Backward.
  std::span<const float> Forward(size_t rows, std::span<const float> in);

  // The call's `in` and `out` are those of the last Forward and not looked at.
  void Backward(const Layer::BackwardCall& call, ReadyFunction ready);

 private:
  std::span<const float> LayerInput(size_t layer) const;

  const ImageShape in_;
  std::vector<std::unique_ptr<Layer>> layers_;
  std::span<const float> input_;
  std::vector<std::vector<float>> outputs_;  // of each layer, max_rows x its size
  std::vector<float> gradients_[2];          // of the loss by the output of one layer and of the one before it
};

}  // namespace laconic::nn
