#include "examples/nn/transformer_layers.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "examples/nn/matrix.h"

namespace laconic::nn {
namespace {

constexpr float kEmbeddingBound = 0.5f;
constexpr float kNormEpsilon = 1e-5f;

// The sum of term(0) .. term(n - 1) in eight partial sums, which a compiler can keep in one vector.
template <typename Term>
float Sum(size_t n, Term term) {
  std::array<float, 8> partial{};
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (size_t lane = 0; lane < 8; ++lane) partial[lane] += term(i + lane);
  }
  for (; i < n; ++i) partial[i % 8] += term(i);
  for (size_t lane = 1; lane < 8; ++lane) partial[0] += partial[lane];
  return partial[0];
}

class Embedding final : public Layer {
 public:
  Embedding(const std::string& name, size_t context, size_t vocabulary, size_t width)
      : Layer({1, 1, context}, {1, context, width}) {
    tensors_.push_back({{name + ".token", Shape({vocabulary, width}), {}, {}}, kEmbeddingBound});
    tensors_.push_back({{name + ".position", Shape({context, width}), {}, {}}, kEmbeddingBound});
  }

  void Forward(size_t rows, std::span<const float> in, std::span<float> out) override {
    ForEachPosition(rows, in, [&](size_t i, size_t token, size_t position) {
      const float* a = tensors_[0].parameter.weights.data() + token;
      const float* b = tensors_[1].parameter.weights.data() + position;
      for (size_t j = 0; j < width(); ++j) out[i + j] = a[j] + b[j];
    });
  }

  // The input is no number that could have a gradient, so in_gradient stays as it is.
  void Backward(const BackwardCall& call, ReadyFunction ready) override {
    for (LayerTensor& tensor : tensors_) {
      if (!call.add) std::fill(tensor.parameter.gradient.begin(), tensor.parameter.gradient.end(), 0.0f);
    }
    ForEachPosition(call.rows, call.in, [&](size_t i, size_t token, size_t position) {
      float* a = tensors_[0].parameter.gradient.data() + token;
      float* b = tensors_[1].parameter.gradient.data() + position;
      for (size_t j = 0; j < width(); ++j) a[j] += call.out_gradient[i + j];
      for (size_t j = 0; j < width(); ++j) b[j] += call.out_gradient[i + j];
    });
    ready(tensors_[1].id);
    ready(tensors_[0].id);
  }

 private:
  size_t width() const { return out_shape().width; }

  // visit(where the position's features start in the output, in the token table, in the position table).
  template <typename Visit>
  void ForEachPosition(size_t rows, std::span<const float> in, Visit visit) const {
    const size_t context = out_shape().height;
    for (size_t i = 0; i < rows * context; ++i) {
      visit(i * width(), static_cast<size_t>(in[i]) * width(), i % context * width());
    }
  }
};

class LayerNorm final : public Layer {
 public:
  LayerNorm(const std::string& name, const ImageShape& shape) : Layer(shape, shape) {
    tensors_.push_back({{name + ".gain", Shape({shape.width}), {}, {}}, 0, 1});
    tensors_.push_back({{name + ".bias", Shape({shape.width}), {}, {}}});
  }

  void Forward(size_t rows, std::span<const float> in, std::span<float> out) override {
    const size_t width = in_shape().width;
    const float* gain = tensors_[0].parameter.weights.data();
    const float* bias = tensors_[1].parameter.weights.data();
    for (size_t i = 0; i < rows * in_shape().size(); i += width) {
      const Moments moments = MomentsOf(&in[i]);
      for (size_t j = 0; j < width; ++j) {
        out[i + j] = (in[i + j] - moments.mean) * moments.inverse_deviation * gain[j] + bias[j];
      }
    }
  }

  // With y = (x - mean) r and q = out_gradient * gain:  by gain: sum of out_gradient * y;  by bias: sum of
  // out_gradient; by x: r (q - mean(q) - y mean(q y)).
  void Backward(const BackwardCall& call, ReadyFunction ready) override {
    const size_t width = in_shape().width;
    const float* gain = tensors_[0].parameter.weights.data();
    float* by_gain = tensors_[0].parameter.gradient.data();
    float* by_bias = tensors_[1].parameter.gradient.data();
    if (!call.add) std::fill_n(by_gain, width, 0.0f), std::fill_n(by_bias, width, 0.0f);
    for (size_t i = 0; i < call.rows * in_shape().size(); i += width) {
      const float* x = &call.in[i];
      const float* g = &call.out_gradient[i];
      const Moments moments = MomentsOf(x);
      const auto y = [&](size_t j) { return (x[j] - moments.mean) * moments.inverse_deviation; };
      for (size_t j = 0; j < width; ++j) by_gain[j] += g[j] * y(j);
      for (size_t j = 0; j < width; ++j) by_bias[j] += g[j];
      const float share = 1 / static_cast<float>(width);
      const float mean_q = share * Sum(width, [&](size_t j) { return g[j] * gain[j]; });
      const float mean_qy = share * Sum(width, [&](size_t j) { return g[j] * gain[j] * y(j); });
      for (size_t j = 0; j < width; ++j) {
        call.in_gradient[i + j] = moments.inverse_deviation * (g[j] * gain[j] - mean_q - y(j) * mean_qy);
      }
    }
    ready(tensors_[1].id);
    ready(tensors_[0].id);
  }

 private:
  struct Moments {
    float mean, inverse_deviation;
  };
  Moments MomentsOf(const float* x) const {
    const size_t width = in_shape().width;
    const float share = 1 / static_cast<float>(width);
    const float mean = share * Sum(width, [&](size_t j) { return x[j]; });
    const float variance = share * Sum(width, [&](size_t j) { return (x[j] - mean) * (x[j] - mean); });
    return {mean, 1 / std::sqrt(variance + kNormEpsilon)};
  }
};

class CausalAttention final : public Layer {
 public:
  CausalAttention(const ImageShape& in, size_t heads)
      : Layer(in, {1, in.height, in.width / 3}),
        heads_(heads),
        part_(out_shape().width / heads),
        scale_(1 / std::sqrt(static_cast<float>(part_))),
        weights_(in.height * in.height),
        gradient_(in.height * in.height) {}

  void Forward(size_t rows, std::span<const float> in, std::span<float> out) override {
    ForEachHead(rows, [&](size_t from, size_t to) {
      ComputeWeights(&in[from]);
      Multiply(context(), part_, context(), {weights_.data(), context()}, {&in[from + 2 * width()], in_stride()},
               {.data = &out[to], .stride = width()});
    });
  }

  // With P the weights and G the gradient by them, G = out_gradient V^T:  by V: P^T out_gradient;  by the scores before
  // the softmax: S = P * (G - sum over j of P G);  by Q: S K / sqrt(part);  by K: S^T Q / sqrt(part).
  void Backward(const BackwardCall& call, ReadyFunction) override {
    const size_t n = context();
    ForEachHead(call.rows, [&](size_t from, size_t to) {
      const float* query = &call.in[from];
      const Factor out_gradient = {&call.out_gradient[to], width()};
      float* by_query = &call.in_gradient[from];
      ComputeWeights(query);
      Multiply(n, part_, n, {weights_.data(), n, true}, out_gradient,
               {.data = by_query + 2 * width(), .stride = in_stride()});
      Multiply(n, n, part_, out_gradient, {query + 2 * width(), in_stride(), true},
               {.data = gradient_.data(), .stride = n});
      for (size_t i = 0; i < n; ++i) {
        const float* p = &weights_[i * n];
        float* g = &gradient_[i * n];
        const float mean = Sum(i + 1, [&](size_t j) { return p[j] * g[j]; });
        for (size_t j = 0; j < n; ++j) g[j] = p[j] * (g[j] - mean);  // p is 0 at j > i
      }
      Multiply(n, part_, n, {gradient_.data(), n}, {query + width(), in_stride()},
               {.data = by_query, .stride = in_stride(), .scale = scale_});
      Multiply(n, part_, n, {gradient_.data(), n, true}, {query, in_stride()},
               {.data = by_query + width(), .stride = in_stride(), .scale = scale_});
    });
  }

 private:
  size_t context() const { return out_shape().height; }
  size_t width() const { return out_shape().width; }
  size_t in_stride() const { return in_shape().width; }

  // visit(where the head's queries start in the input, where its features start in the output).
  template <typename Visit>
  void ForEachHead(size_t rows, Visit visit) const {
    for (size_t row = 0; row < rows; ++row) {
      for (size_t head = 0; head < heads_; ++head) {
        visit(row * in_shape().size() + head * part_, row * out_shape().size() + head * part_);
      }
    }
  }

  // weights_: context x context, the softmax of each row's scores over j <= i and 0 after that.
  void ComputeWeights(const float* query) {
    const size_t n = context();
    Multiply(n, n, part_, {query, in_stride()}, {query + width(), in_stride(), true},
             {.data = weights_.data(), .stride = n, .scale = scale_});
    for (size_t i = 0; i < n; ++i) {
      float* row = &weights_[i * n];
      const float largest = *std::max_element(row, row + i + 1);
      for (size_t j = 0; j <= i; ++j) row[j] = std::exp(row[j] - largest);
      const float share = 1 / Sum(i + 1, [&](size_t j) { return row[j]; });
      for (size_t j = 0; j <= i; ++j) row[j] *= share;
      std::fill(row + i + 1, row + n, 0.0f);
    }
  }

  const size_t heads_, part_;
  const float scale_;
  std::vector<float> weights_, gradient_;  // of one head of one sample
};

class Residual final : public Layer {
 public:
  Residual(const ImageShape& shape, std::unique_ptr<Stack> branch, size_t max_rows)
      : Layer(shape, shape), branch_(std::move(branch)) {
    branch_->Allocate(max_rows);
  }

  void ForEachTensor(absl::FunctionRef<void(LayerTensor&)> visit) override { branch_->ForEachTensor(visit); }

  void Forward(size_t rows, std::span<const float> in, std::span<float> out) override {
    const std::span<const float> added = branch_->Forward(rows, in);
    for (size_t i = 0; i < added.size(); ++i) out[i] = in[i] + added[i];
  }

  void Backward(const BackwardCall& call, ReadyFunction ready) override {
    branch_->Backward(call, ready);
    for (size_t i = 0; i < call.in_gradient.size(); ++i) call.in_gradient[i] += call.out_gradient[i];
  }

 private:
  const std::unique_ptr<Stack> branch_;
};

}  // namespace

std::unique_ptr<Layer> MakeEmbedding(const std::string& name, size_t context, size_t vocabulary, size_t width) {
  return std::make_unique<Embedding>(name, context, vocabulary, width);
}
std::unique_ptr<Layer> MakeLayerNorm(const std::string& name, const ImageShape& shape) {
  return std::make_unique<LayerNorm>(name, shape);
}
std::unique_ptr<Layer> MakeCausalAttention(const ImageShape& in, size_t heads) {
  return std::make_unique<CausalAttention>(in, heads);
}
std::unique_ptr<Layer> MakeResidual(const ImageShape& shape, std::unique_ptr<Stack> branch, size_t max_rows) {
  return std::make_unique<Residual>(shape, std::move(branch), max_rows);
}

}  // namespace laconic::nn
