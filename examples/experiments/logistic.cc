#include <algorithm>
#include <cmath>
#include <vector>

#include "examples/experiments/problem.h"
#include "examples/nn/dataset.h"
#include "examples/nn/matrix.h"
#include "laconic/base/status.h"

namespace laconic::experiments {
namespace {

constexpr size_t kClasses = 10;
constexpr size_t kImages = 200;  // of each class
constexpr float kRegularisation = 0.01f;

class LogisticRegression final : public Problem {
 public:
  // images: kClasses x kImages x features, the last feature being 1.
  LogisticRegression(std::vector<float> images, size_t features)
      : Problem({.ranks = kClasses, .elements = features * kClasses}),
        images_(std::move(images)),
        features_(features) {}

  // (1/200) X_i^T (softmax(X_i W) - Y_i) + 0.01 W
  void Gradient(const Place& place, std::span<const float> x, std::span<float> gradient) const override {
    const size_t rank = static_cast<size_t>(place.rank);
    const float* images = images_.data() + rank * kImages * features_;
    std::vector<float> scores(kImages * kClasses);
    nn::Multiply(kImages, kClasses, features_, {images, features_}, {x.data(), kClasses},
                 {.data = scores.data(), .stride = kClasses});
    for (size_t image = 0; image < kImages; ++image) {
      float* p = &scores[image * kClasses];
      const float largest = *std::max_element(p, p + kClasses);
      float sum = 0;
      for (size_t c = 0; c < kClasses; ++c) sum += p[c] = std::exp(p[c] - largest);
      for (size_t c = 0; c < kClasses; ++c) p[c] /= sum;
      p[rank] -= 1;
    }
    std::copy(x.begin(), x.end(), gradient.begin());
    nn::Multiply(features_, kClasses, kImages, {images, features_, true}, {scores.data(), kClasses},
                 {.data = gradient.data(), .stride = kClasses, .scale = 1.0f / kImages, .keep = kRegularisation});
  }

  double Measure(size_t, std::span<const float> x) const override {
    std::vector<double> sum(x.size());
    std::vector<float> gradient(x.size());
    for (int rank = 0; rank < size().ranks; ++rank) {
      Gradient({.rank = rank}, x, gradient);
      for (size_t j = 0; j < sum.size(); ++j) sum[j] += gradient[j];
    }
    double square = 0;
    for (const double value : sum) square += value * value / (kClasses * kClasses);
    return square;
  }

 private:
  const std::vector<float> images_;
  const size_t features_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Problem>> MakeLogisticRegression() {
  nn::UseOneBlasThread();
  LACONIC_ASSIGN_OR_RETURN(const nn::TrainTest data, nn::LoadData("fashion-mnist"));
  const nn::Dataset& train = data.train;
  const size_t pixels = train.shape.size(), features = pixels + 1;
  std::vector<float> images(kClasses * kImages * features, 1.0f);
  std::vector<size_t> taken(kClasses);
  std::vector<double> mean(pixels);
  for (size_t sample = 0; sample < train.size(); ++sample) {
    const size_t label = train.labels[sample];
    if (taken[label] == kImages) continue;
    float* image = &images[(label * kImages + taken[label]++) * features];
    for (size_t j = 0; j < pixels; ++j) {
      image[j] = static_cast<float>(train.pixels[sample * pixels + j]) / 255;
      mean[j] += image[j] / (kClasses * kImages);
    }
  }
  for (size_t i = 0; i < kClasses * kImages; ++i) {
    for (size_t j = 0; j < pixels; ++j) images[i * features + j] -= static_cast<float>(mean[j]);
  }
  return std::make_unique<LogisticRegression>(std::move(images), features);
}

}  // namespace laconic::experiments
