#include "examples/nn/layers.h"

#include <algorithm>
#include <cmath>

#include "examples/nn/matrix.h"

namespace laconic::nn {
namespace {

class Dense final : public Layer {
 public:
  // positions: of a sample, each of which goes through the same weights.
  Dense(const std::string& name, const ImageShape& in, const ImageShape& out, size_t positions, float bound)
      : Layer(in, out), positions_(positions), in_width_(in.size() / positions), width_(out.size() / positions) {
    tensors_.push_back({{name + ".weight", Shape({width_, in_width_}), {}, {}}, bound});
    tensors_.push_back({{name + ".bias", Shape({width_}), {}, {}}});
  }

  void Forward(size_t rows, std::span<const float> in, std::span<float> out) override {
    const std::span<const float> bias = tensors_[1].parameter.weights;
    for (size_t i = 0; i < rows * positions_; ++i) std::copy(bias.begin(), bias.end(), out.begin() + i * width_);
    Multiply(rows * positions_, width_, in_width_, {in.data(), in_width_},
             {tensors_[0].parameter.weights.data(), in_width_, true},
             {.data = out.data(), .stride = width_, .keep = 1});
  }

  void Backward(const BackwardCall& call, ReadyFunction ready) override {
    const size_t points = call.rows * positions_;
    LayerTensor& weight = tensors_[0];
    LayerTensor& bias = tensors_[1];
    if (!call.add) std::fill(bias.parameter.gradient.begin(), bias.parameter.gradient.end(), 0.0f);
    for (size_t i = 0; i < points; ++i) {
      for (size_t j = 0; j < width_; ++j) bias.parameter.gradient[j] += call.out_gradient[i * width_ + j];
    }
    ready(bias.id);
    Multiply(width_, in_width_, points, {call.out_gradient.data(), width_, true}, {call.in.data(), in_width_},
             {.data = weight.parameter.gradient.data(), .stride = in_width_, .keep = call.add ? 1.0f : 0.0f});
    ready(weight.id);
    if (call.in_gradient.empty()) return;
    Multiply(points, in_width_, width_, {call.out_gradient.data(), width_},
             {weight.parameter.weights.data(), in_width_}, {.data = call.in_gradient.data(), .stride = in_width_});
  }

 private:
  const size_t positions_, in_width_, width_;
};

class Relu final : public Layer {
 public:
  explicit Relu(const ImageShape& shape) : Layer(shape, shape) {}

  void Forward(size_t rows, std::span<const float> in, std::span<float> out) override {
    for (size_t i = 0; i < rows * in_shape().size(); ++i) out[i] = in[i] < 0 ? 0 : in[i];  // a NaN stays one
  }

  void Backward(const BackwardCall& call, ReadyFunction) override {
    for (size_t i = 0; i < call.in_gradient.size(); ++i) {
      const float gradient = call.out_gradient[i];  // read in any case, so that the loop has no branch
      call.in_gradient[i] = call.in[i] > 0 ? gradient : 0;
    }
  }
};

class Convolution final : public Layer {
 public:
  Convolution(const std::string& name, const ImageShape& in, size_t out_channels, size_t kernel)
      : Layer(in, {out_channels, in.height - kernel + 1, in.width - kernel + 1}),
        kernel_(kernel),
        patch_(in.channels * kernel * kernel),
        pixels_(out_shape().height * out_shape().width),
        columns_(patch_ * pixels_),
        columns_gradient_(patch_ * pixels_) {
    tensors_.push_back(
        {{name + ".weight", Shape({out_channels, in.channels, kernel, kernel}), {}, {}}, HeBound(patch_)});
    tensors_.push_back({{name + ".bias", Shape({out_channels}), {}, {}}});
  }

  void Forward(size_t rows, std::span<const float> in, std::span<float> out) override {
    const std::span<const float> bias = tensors_[1].parameter.weights;
    for (size_t row = 0; row < rows; ++row) {
      float* image_out = out.data() + row * out_shape().size();
      for (size_t c = 0; c < bias.size(); ++c) std::fill_n(image_out + c * pixels_, pixels_, bias[c]);
      ImageToColumns(in.data() + row * in_shape().size());
      Multiply(bias.size(), pixels_, patch_, {tensors_[0].parameter.weights.data(), patch_}, {columns_.data(), pixels_},
               {.data = image_out, .stride = pixels_, .keep = 1});
    }
  }

  void Backward(const BackwardCall& call, ReadyFunction ready) override {
    LayerTensor& weight = tensors_[0];
    LayerTensor& bias = tensors_[1];
    const size_t channels = out_shape().channels;
    if (!call.add) std::fill(bias.parameter.gradient.begin(), bias.parameter.gradient.end(), 0.0f);
    for (size_t row = 0; row < call.rows; ++row) {
      for (size_t c = 0; c < channels; ++c) {
        const float* gradient = call.out_gradient.data() + row * out_shape().size() + c * pixels_;
        for (size_t i = 0; i < pixels_; ++i) bias.parameter.gradient[c] += gradient[i];
      }
    }
    ready(bias.id);

    for (size_t row = 0; row < call.rows; ++row) {
      ImageToColumns(call.in.data() + row * in_shape().size());
      Multiply(channels, patch_, pixels_, {call.out_gradient.data() + row * out_shape().size(), pixels_},
               {columns_.data(), pixels_, true},
               {.data = weight.parameter.gradient.data(), .stride = patch_, .keep = call.add || row > 0 ? 1.0f : 0.0f});
    }
    ready(weight.id);

    if (call.in_gradient.empty()) return;
    std::fill(call.in_gradient.begin(), call.in_gradient.end(), 0.0f);
    for (size_t row = 0; row < call.rows; ++row) {
      Multiply(patch_, pixels_, channels, {weight.parameter.weights.data(), patch_, true},
               {call.out_gradient.data() + row * out_shape().size(), pixels_},
               {.data = columns_gradient_.data(), .stride = pixels_});
      AddColumnsToImage(call.in_gradient.data() + row * in_shape().size());
    }
  }

 private:
  // columns_: patch_ x pixels_, row (c, dy, dx) holds the input pixel that this weight meets at every output pixel.
  void ImageToColumns(const float* image) {
    ForEachColumnRow([&](size_t column, size_t image_offset) {
      std::copy_n(image + image_offset, out_shape().width, columns_.data() + column);
    });
  }

  // The transpose: image += what columns_gradient_ says about each of its pixels.
  void AddColumnsToImage(float* image) {
    ForEachColumnRow([&](size_t column, size_t image_offset) {
      for (size_t x = 0; x < out_shape().width; ++x) image[image_offset + x] += columns_gradient_[column + x];
    });
  }

  // visit(where an output row starts in the columns, where the input row under it starts in the image).
  template <typename Visit>
  void ForEachColumnRow(Visit visit) const {
    const ImageShape& in = in_shape();
    const ImageShape& out = out_shape();
    size_t column = 0;
    for (size_t c = 0; c < in.channels; ++c) {
      for (size_t dy = 0; dy < kernel_; ++dy) {
        for (size_t dx = 0; dx < kernel_; ++dx) {
          for (size_t y = 0; y < out.height; ++y, column += out.width) {
            visit(column, (c * in.height + y + dy) * in.width + dx);
          }
        }
      }
    }
  }

  const size_t kernel_, patch_, pixels_;
  std::vector<float> columns_, columns_gradient_;
};

class MaxPool final : public Layer {
 public:
  explicit MaxPool(const ImageShape& in) : Layer(in, {in.channels, in.height / 2, in.width / 2}) {}

  void Forward(size_t rows, std::span<const float> in, std::span<float> out) override {
    ForEachBlock(rows, in, [&](size_t o, size_t largest) { out[o] = in[largest]; });
  }

  void Backward(const BackwardCall& call, ReadyFunction) override {
    std::fill(call.in_gradient.begin(), call.in_gradient.end(), 0.0f);
    ForEachBlock(call.rows, call.in,
                 [&](size_t o, size_t largest) { call.in_gradient[largest] = call.out_gradient[o]; });
  }

 private:
  // visit(index of the output, index of the largest of its 2 x 2 inputs).
  template <typename Visit>
  void ForEachBlock(size_t rows, std::span<const float> in, Visit visit) const {
    const size_t width = in_shape().width;
    size_t o = 0;
    for (size_t plane = 0; plane < rows * in_shape().channels; ++plane) {
      for (size_t y = 0; y < out_shape().height; ++y) {
        for (size_t x = 0; x < out_shape().width; ++x, ++o) {
          const size_t corner = (plane * in_shape().height + 2 * y) * width + 2 * x;
          size_t largest = corner;
          for (const size_t other : {corner + 1, corner + width, corner + width + 1}) {
            if (in[other] > in[largest]) largest = other;
          }
          visit(o, largest);
        }
      }
    }
  }
};

}  // namespace

float HeBound(size_t fan_in) { return std::sqrt(6.0f / static_cast<float>(fan_in)); }

std::unique_ptr<Layer> MakeDense(const std::string& name, const ImageShape& in, size_t out) {
  return std::make_unique<Dense>(name, in, ImageShape{out, 1, 1}, 1, HeBound(in.size()));
}
std::unique_ptr<Layer> MakePositionDense(const std::string& name, const ImageShape& in, size_t out, float bound) {
  return std::make_unique<Dense>(name, in, ImageShape{1, in.height, out}, in.height, bound);
}
std::unique_ptr<Layer> MakeRelu(const ImageShape& shape) { return std::make_unique<Relu>(shape); }
std::unique_ptr<Layer> MakeConvolution(const std::string& name, const ImageShape& in, size_t out_channels,
                                       size_t kernel) {
  return std::make_unique<Convolution>(name, in, out_channels, kernel);
}
std::unique_ptr<Layer> MakeMaxPool(const ImageShape& in) { return std::make_unique<MaxPool>(in); }

}  // namespace laconic::nn
