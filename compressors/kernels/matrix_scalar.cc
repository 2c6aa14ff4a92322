// The kernels of matrix.h as they are defined there.
#include <algorithm>
#include <array>

#include "compressors/kernels/matrix.h"

namespace laconic::kernels::scalar {
namespace {

float ProductElement(const MatrixShape& shape, std::span<const float> p, std::span<const float> q, size_t i, size_t j) {
  float y = p[i] * q[j];
  for (size_t k = 1; k < shape.rank; ++k) y += p[k * shape.rows + i] * q[k * shape.cols + j];
  return y;
}

template <typename Term>
double SumInEight(size_t count, Term term) {
  std::array<double, 8> partial{};
  for (size_t i = 0; i < count; ++i) partial[i % 8] += term(i);
  return ((partial[0] + partial[4]) + (partial[1] + partial[5])) +
         ((partial[2] + partial[6]) + (partial[3] + partial[7]));
}

}  // namespace

void MultiplyByFactor(const MatrixShape& shape, const Message& m, std::span<const float> q, Range rows,
                      std::span<float> formed, std::span<float> p) {
  constexpr size_t kRun = 256;
  std::array<float, kRun> run;
  for (size_t i = rows.begin; i < rows.end; ++i) {
    for (size_t k = 0; k < shape.rank; ++k) {
      std::array<float, kDotLanes> partial{};
      for (size_t begin = 0; begin < shape.cols; begin += kRun) {
        const std::span<float> x = std::span(run).first(std::min(kRun, shape.cols - begin));
        m.Form(i * shape.cols + begin, x);
        if (!formed.empty()) std::copy(x.begin(), x.end(), formed.data() + i * shape.cols + begin);
        for (size_t j = 0; j < x.size(); ++j) partial[j % kDotLanes] += x[j] * q[k * shape.cols + begin + j];
      }
      for (size_t half = kDotLanes / 2; half > 0; half /= 2) {
        for (size_t lane = 0; lane < half; ++lane) partial[lane] += partial[lane + half];
      }
      p[k * shape.rows + i] = partial[0];
    }
  }
}

void MultiplyTransposeByFactor(const MatrixShape& shape, std::span<const float> m, std::span<const float> p, Range cols,
                               std::span<float> q) {
  for (size_t k = 0; k < shape.rank; ++k) {
    float* const sums = q.data() + k * shape.cols;
    std::fill(sums + cols.begin, sums + cols.end, 0.0f);
    for (size_t i = 0; i < shape.rows; ++i) {
      const float factor = p[k * shape.rows + i];
      for (size_t j = cols.begin; j < cols.end; ++j) sums[j] += m[i * shape.cols + j] * factor;
    }
  }
}

void Product(const MatrixShape& shape, std::span<const float> p, std::span<const float> q, Range rows,
             std::span<float> y) {
  for (size_t i = rows.begin; i < rows.end; ++i) {
    for (size_t j = 0; j < shape.cols; ++j) y[i * shape.cols + j] = ProductElement(shape, p, q, i, j);
  }
}

void AddProduct(const MatrixShape& shape, std::span<const float> p, std::span<const float> q, float scale, Range rows,
                std::span<float> acc) {
  for (size_t i = rows.begin; i < rows.end; ++i) {
    for (size_t j = 0; j < shape.cols; ++j) acc[i * shape.cols + j] += scale * ProductElement(shape, p, q, i, j);
  }
}

void AddProductAndProduct(const MatrixShape& shape, std::span<const float> p, std::span<const float> q_acc, float scale,
                          std::span<const float> q_y, Range rows, std::span<float> acc, std::span<float> y) {
  scalar::AddProduct(shape, p, q_acc, scale, rows, acc);
  scalar::Product(shape, p, q_y, rows, y);
}

double SquaredLength(std::span<const double> x) {
  return SumInEight(x.size(), [&](size_t i) { return x[i] * x[i]; });
}

double Dot(std::span<const double> x, std::span<const float> y) {
  return SumInEight(x.size(), [&](size_t i) { return x[i] * static_cast<double>(y[i]); });
}

void SubtractScaled(double factor, std::span<const float> y, std::span<double> x) {
  for (size_t i = 0; i < x.size(); ++i) x[i] -= factor * static_cast<double>(y[i]);
}

}  // namespace laconic::kernels::scalar
