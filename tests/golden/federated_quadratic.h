// The problem of check 14: N = 20 clients whose losses f_i(x) = sum_j a_ij (x_j - b_ij)^2 / 2 over d = 30 elements have
// their minima in different places. Gradients are exact, so that what is left of an error is the method's.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace laconic {

constexpr uint32_t kQuadraticClients = 20;
constexpr size_t kQuadraticElements = 30;
constexpr double kQuadraticRate = 0.02;  // eta_l

inline double QuadraticCurvature(uint32_t client, size_t j) {
  return 1 + static_cast<double>((client + 1) * (j + 1) % 5) / 4;
}
inline double QuadraticMinimum(uint32_t client, size_t j) {
  return std::sin(1 + 3.0 * client + 7.0 * static_cast<double>(j));
}

// The minimum of the mean of all f_i.
inline double QuadraticOptimum(size_t j) {
  double weighted = 0, weights = 0;
  for (uint32_t i = 0; i < kQuadraticClients; ++i) {
    weighted += QuadraticCurvature(i, j) * QuadraticMinimum(i, j);
    weights += QuadraticCurvature(i, j);
  }
  return weighted / weights;
}

template <typename T>
double DistanceToOptimum(std::span<const T> x) {
  double squares = 0;
  for (size_t j = 0; j < x.size(); ++j) squares += std::pow(x[j] - QuadraticOptimum(j), 2);
  return std::sqrt(squares);
}

// The recursions as the paper has them, without codec, everybody in every round:
//   SCALLION   y = x, K times y <- y - eta (grad - c_i + c); G = (x - y) / (eta K); d_i = alpha (G - c); c_i <- c_i +
//   d_i SCAFCOM    the same with v_i <- (1 - beta) v_i + beta (G + c_i - c), d_i = v_i - c_i both       x <- x - eta K
//   (c + mean d_i); c <- c + mean d_i
inline std::vector<double> ControlledAveragingRecursion(double alpha, double beta, bool momentum, int rounds) {
  std::vector<double> x(kQuadraticElements), c(kQuadraticElements);
  std::vector<std::vector<double>> ci(kQuadraticClients, c), v(kQuadraticClients, c);
  for (int t = 0; t < rounds; ++t) {
    std::vector<double> mean(kQuadraticElements);
    for (uint32_t i = 0; i < kQuadraticClients; ++i) {
      for (size_t j = 0; j < kQuadraticElements; ++j) {
        double y = x[j];
        for (int k = 0; k < 5; ++k) {
          y -= kQuadraticRate * (QuadraticCurvature(i, j) * (y - QuadraticMinimum(i, j)) - ci[i][j] + c[j]);
        }
        const double g = (x[j] - y) / (kQuadraticRate * 5);
        v[i][j] = (1 - beta) * v[i][j] + beta * (g + ci[i][j] - c[j]);
        const double d = momentum ? v[i][j] - ci[i][j] : alpha * (g - c[j]);
        ci[i][j] += d;
        mean[j] += d / kQuadraticClients;
      }
    }
    for (size_t j = 0; j < kQuadraticElements; ++j) {
      x[j] -= kQuadraticRate * 5 * (c[j] + mean[j]);
      c[j] += mean[j];
    }
  }
  return x;
}

}  // namespace laconic
