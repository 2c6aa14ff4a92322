// Small problems whose answers are known, to be solved by ranks that hold different parts of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"

namespace laconic::experiments {

// minimise f(x) = (1/n) sum over ranks i of f_i(x) from one start. Several replicas, which differ in their random
// draws, are solved side by side as tensors of one GradientSync: a spread for the price of one run.
class Problem {
 public:
  struct Size {
    int ranks = 1;
    size_t elements = 1;  // of x
    size_t replicas = 1;
  };
  explicit Problem(const Size& size) : size_(size) {}
  virtual ~Problem() = default;
  const Size& size() const { return size_; }

  virtual float Start() const { return 0; }  // every element of x at step 0
  // What rank `rank` sees of the gradient of its f_i at x. Thread-safe.
  //   x, gradient: size().elements floats.
  struct Place {
    int rank = 0;
    size_t replica = 0;
    uint64_t step = 0;
  };
  virtual void Gradient(const Place& place, std::span<const float> x, std::span<float> gradient) const = 0;
  // How far x is from the answer: |grad f(x)|^2 or |x - x*|^2, as the maker says. Thread-safe.
  virtual double Measure(size_t replica, std::span<const float> x) const = 0;

 private:
  const Size size_;
};

// The synthetic least squares of Koloskova, Loizou, Boreiri, Jaggi and Stich (2020), as EControl's authors use it:
// f_i(x) = |A_i x - b_i|^2 / 2 with A_i^2 = (i^2/n) I, i = 1 .. n, and b_i from N(0, (zeta^2/i^2) I), so that zeta says
// how much ranks differ; gradients have noise of variance sigma^2 / elements per element. f is (n+1)(2n+1)/(6n)-smooth.
// Measures |grad f(x)|^2.
struct LeastSquaresOptions {
  int ranks = 10;
  size_t elements = 200;
  size_t replicas = 3;
  double zeta = 1;
  double sigma = 1;
};
std::unique_ptr<Problem> MakeLeastSquares(const LeastSquaresOptions& options);
// Of the smoothness above.
double LeastSquaresSmoothness(int ranks);

// f_i(x) = f(x) = |x|^2 / 2 on R^2 from (1, 1), with gradient noise sqrt(0.3) {(2,0), (0,1), (-2,-1)}, each with
// probability 1/3: mean 0, variance 1. On it top-1 leaves EF21 a noise floor of its own (Fatkhullin, Tyurin and
// Richtarik 2023, Theorem 1). Measures |x|^2, which is |grad f(x)|^2.
std::unique_ptr<Problem> MakeNoisyPoint(int ranks, size_t replicas);

// f_i(x) = sum_j a_ij (x_j - b_ij)^2 / 2 on R^20 with a_ij = 1 + ((i+1)(j+1) mod 5)/4, b_ij = sin(1 + 3i + 7j), from 0,
// gradients with Gaussian noise of variance 1. Measures |x - x*|^2.
std::unique_ptr<Problem> MakeNoisyQuadratic(int ranks, size_t replicas);

// Multinomial logistic regression on the first 200 images of each class of Fashion-MNIST, 10 ranks with one class each:
// as different as data can be. Pixels / 255 less their mean over all images, and a constant 1; x: 785 x 10 weights, to
// which 0.01 |x|^2 / 2 holds. Full gradients, 10.2-smooth. Measures |grad f(x)|^2. Errors: those of nn::LoadData.
absl::StatusOr<std::unique_ptr<Problem>> MakeLogisticRegression();

}  // namespace laconic::experiments
