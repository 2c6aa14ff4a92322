#include "compressors/codebooks/lloyd_max.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numbers>

namespace laconic::codebooks {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double Density(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi); }
double UpperTail(double x) { return std::erfc(x / std::numbers::sqrt2) / 2; }  // P(g > x)

// The x with UpperTail(x) = p, 0 < p <= 1/2.
double InverseUpperTail(double p) {
  double x = 0;  // the tail is convex from here on, so that Newton's steps never overshoot
  for (int i = 0; i < 200; ++i) x += (UpperTail(x) - p) / Density(x);
  return x;
}

// What Newton's method has to know of one cell [low, high].
struct Cell {
  double mean;        // E[g | low < g <= high]
  double by_low = 0;  // its derivatives by the ends; by one at 0 or infinity, which does not move: 0
  double by_high = 0;
};

Cell CellOf(double low, double high) {
  const double high_density = std::isinf(high) ? 0 : Density(high);
  const double mass = UpperTail(low) - (std::isinf(high) ? 0 : UpperTail(high));
  Cell cell{.mean = (Density(low) - high_density) / mass};
  if (low > 0) cell.by_low = Density(low) * (cell.mean - low) / mass;
  if (!std::isinf(high)) cell.by_high = high_density * (high - cell.mean) / mass;
  return cell;
}

std::vector<double> Midpoints(const std::vector<double>& codewords) {
  std::vector<double> midpoints;
  for (size_t j = 0; j + 1 < codewords.size(); ++j) midpoints.push_back((codewords[j] + codewords[j + 1]) / 2);
  return midpoints;
}

// One Newton step on F_j = c_j - mean of cell j = 0; the largest change.
double Improve(std::vector<double>& codewords) {
  const size_t count = codewords.size();
  const std::vector<double> boundaries = Midpoints(codewords);
  // The tridiagonal system J step = F, solved by elimination from below.
  std::vector<double> above(count), value(count);  // row j, eliminated: step_j + above_j step_{j+1} = value_j
  for (size_t j = 0; j < count; ++j) {
    const Cell cell = CellOf(j == 0 ? 0 : boundaries[j - 1], j + 1 == count ? kInfinity : boundaries[j]);
    const double below = -cell.by_low / 2;  // boundaries are midpoints: they move by half of what a codeword does
    double diagonal = 1 - cell.by_low / 2 - cell.by_high / 2;
    value[j] = codewords[j] - cell.mean;
    if (j > 0) {
      diagonal -= below * above[j - 1];
      value[j] -= below * value[j - 1];
    }
    above[j] = -cell.by_high / 2 / diagonal;
    value[j] /= diagonal;
  }
  double largest = 0;
  for (size_t j = count; j-- > 0;) {
    if (j + 1 < count) value[j] -= above[j] * value[j + 1];
    codewords[j] -= value[j];
    largest = std::max(largest, std::fabs(value[j]));
  }
  return largest;
}

// The z among which max_z f(z) - m z^2 - gamma cosh(lambda z) is sought: ends of cells, where f peaks, and points
// between them, which lie close beyond the last end.
struct Points {
  std::vector<double> z, error;
};

Points PointsOf(const Codebook& codebook) {
  Points points;
  double low = 0;
  for (size_t j = 0; j < codebook.codewords.size(); ++j) {
    const bool is_last = j == codebook.boundaries.size();
    const double high = is_last ? low + 8 : codebook.boundaries[j];
    const int steps = is_last ? 1024 : 4;
    for (int i = 0; i <= steps; ++i) {
      const double z = low + (high - low) * i / steps;
      points.z.push_back(z);
      points.error.push_back(std::pow(z - codebook.codewords[j], 2));
    }
    low = high;
  }
  return points;
}

// The least value of a convex function on [low, high].
template <typename Function>
double Least(double low, double high, Function function) {
  for (int i = 0; i < 32; ++i) {
    const double third = (high - low) / 3;
    if (function(low + third) < function(high - third)) {
      high -= third;
    } else {
      low += third;
    }
  }
  return function((low + high) / 2);
}

}  // namespace

Codebook LloydMax(int bits) {
  const size_t count = size_t{1} << (bits - 1);
  std::vector<double> codewords(count);
  for (size_t j = 0; j < count; ++j) {
    // Quantiles of the density^(1/3), which is that of N(0, 3).
    const double rank = (static_cast<double>(j) + 0.5) / static_cast<double>(2 * count);
    codewords[j] = std::sqrt(3.0) * InverseUpperTail(0.5 - rank);
  }
  for (int i = 0; i < 100 && Improve(codewords) > 1e-14; ++i) {
  }
  Codebook codebook{.bits = bits, .codewords = codewords, .boundaries = Midpoints(codewords)};
  // Codewords are the means of their cells, so E (g - c)^2 = 1 - E c^2.
  codebook.distortion = 1;
  for (size_t j = 0; j < count; ++j) {
    const double below = j == 0 ? 0.5 : UpperTail(codebook.boundaries[j - 1]);
    const double beyond = j + 1 == count ? 0 : UpperTail(codebook.boundaries[j]);
    codebook.distortion -= 2 * (below - beyond) * codewords[j] * codewords[j];
  }
  return codebook;
}

double ErrorBound(const Codebook& codebook) {
  const Points points = PointsOf(codebook);
  std::vector<double> cosh(points.z.size());
  double bound = kInfinity;
  for (double lambda = 0.75; lambda < 8; lambda *= 1.15) {
    for (size_t i = 0; i < cosh.size(); ++i) cosh[i] = std::cosh(lambda * points.z[i]);
    const double expected = std::exp(lambda * lambda / 2);
    bound = std::min(bound, Least(0, 1 / expected, [&](double gamma) {
                       return gamma * expected + Least(0, 1, [&](double m) {
                                double top = 0;
                                for (size_t i = 0; i < cosh.size(); ++i)
                                  top =
                                      std::max(top, points.error[i] - m * points.z[i] * points.z[i] - gamma * cosh[i]);
                                return top + m;
                              });
                     }));
  }
  constexpr double kBetweenPoints = 1.01;  // by how much f may rise between two points, with room to spare
  bound *= kBetweenPoints;
  if (codebook.bits == 1) {
    const double c = codebook.codewords[0];
    bound = std::min(bound, 1 + c * c - std::numbers::sqrt2 * c);
  }
  return bound;
}

}  // namespace laconic::codebooks
