// The layers of the example models, on plain row-major float arrays over BLAS.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "laconic/optim/parameter.h"

namespace laconic::nn {

// One sample's feature map: channels x height x width floats. A text has height = its characters, one after the other,
// and width = the features of each.
struct ImageShape {
  size_t channels = 1;
  size_t height = 1;
  size_t width = 1;
  size_t size() const { return channels * height * width; }
  friend bool operator==(const ImageShape&, const ImageShape&) = default;
};

// A parameter of a layer, bound to the model's memory after construction.
struct LayerTensor {
  Parameter parameter;
  float bound = 0;  // starts uniformly at random in start +- bound
  float start = 0;
  TensorId id{};
};

// sqrt(6 / fan_in), which keeps the variance through ReLUs (He et al. 2015, uniform form).
float HeBound(size_t fan_in);

using ReadyFunction = absl::FunctionRef<void(TensorId)>;

// rows: samples in the batch. Every array holds rows x size() floats of the shape named. One thread at a time.
class Layer {
 public:
  explicit Layer(const ImageShape& in, const ImageShape& out) : in_(in), out_(out) {}
  virtual ~Layer() = default;

  const ImageShape& in_shape() const { return in_; }
  const ImageShape& out_shape() const { return out_; }
  // In the order of the forward pass.
  virtual void ForEachTensor(absl::FunctionRef<void(LayerTensor&)> visit) {
    for (LayerTensor& tensor : tensors_) visit(tensor);
  }

  virtual void Forward(size_t rows, std::span<const float> in, std::span<float> out) = 0;

  struct BackwardCall {
    size_t rows = 0;
    std::span<const float> in, out;       // as Forward saw and left them
    std::span<const float> out_gradient;  // of the loss by out
    std::span<float> in_gradient;         // of the loss by in; empty: not needed (the first layer)
    bool add = false;                     // parameter gradients are added to instead of replaced
  };
  // Calls `ready` for each tensor, last first, the moment its gradient is complete.
  virtual void Backward(const BackwardCall& call, ReadyFunction ready) = 0;

 protected:
  std::vector<LayerTensor> tensors_;

 private:
  ImageShape in_, out_;
};

// out = in W^T + b, with <name>.weight of [out, in] and <name>.bias of [out].
std::unique_ptr<Layer> MakeDense(const std::string& name, const ImageShape& in, size_t out);

// The same for each of the in.height positions, whose in.width features become `out`. Weights start in +-bound.
std::unique_ptr<Layer> MakePositionDense(const std::string& name, const ImageShape& in, size_t out, float bound);

// max(x, 0).
std::unique_ptr<Layer> MakeRelu(const ImageShape& shape);

// kernel x kernel, stride 1, no padding, by im2col: <name>.weight of [out_channels, in_channels, kernel, kernel],
// <name>.bias.
std::unique_ptr<Layer> MakeConvolution(const std::string& name, const ImageShape& in, size_t out_channels,
                                       size_t kernel);

// The largest of each 2 x 2 block; an odd last row or column is dropped. Ties: the first in row order takes the
// gradient.
std::unique_ptr<Layer> MakeMaxPool(const ImageShape& in);

}  // namespace laconic::nn
