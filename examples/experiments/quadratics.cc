#include <cmath>
#include <numbers>
#include <vector>

#include "examples/experiments/problem.h"
#include "laconic/base/rng.h"

namespace laconic::experiments {
namespace {

constexpr uint32_t kTargetStream = 0x4c51;
constexpr uint32_t kNoiseStream = 0x4c52;

// Two standard normal numbers from draws 2i and 2i + 1 (Box and Muller 1958).
struct NormalPair {
  double first, second;
};
NormalPair Normals(const CounterRng& rng, uint64_t i) {
  const double u = (static_cast<double>(rng.Word(2 * i)) + 0.5) * 0x1p-32;  // never 0, for the logarithm
  const double v = static_cast<double>(rng.Word(2 * i + 1)) * 0x1p-32;
  const double radius = std::sqrt(-2 * std::log(u)), angle = 2 * std::numbers::pi * v;
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

CounterRng NoiseOf(const Problem::Place& place) {
  return CounterRng({.step = place.step,
                     .tensor = static_cast<uint32_t>(place.replica),
                     .rank = static_cast<uint32_t>(place.rank),
                     .stream = kNoiseStream});
}

// f_i(x) = sum_j a_ij (x_j - b_ij)^2 / 2, and Gaussian noise of one deviation in every element of the gradients.
class Quadratic final : public Problem {
 public:
  enum class Distance { kGradient, kSolution };
  // curvatures, centres: replicas x ranks x elements.
  Quadratic(const Size& size, std::vector<float> curvatures, std::vector<float> centres, double deviation,
            Distance distance)
      : Problem(size),
        curvatures_(std::move(curvatures)),
        centres_(std::move(centres)),
        deviation_(deviation),
        distance_(distance) {}

  void Gradient(const Place& place, std::span<const float> x, std::span<float> gradient) const override {
    const size_t first = First(place.replica, place.rank);
    for (size_t j = 0; j < x.size(); ++j) gradient[j] = curvatures_[first + j] * (x[j] - centres_[first + j]);
    const CounterRng rng = NoiseOf(place);
    for (size_t j = 0; j < x.size() && deviation_ > 0; j += 2) {
      const NormalPair noise = Normals(rng, j / 2);
      gradient[j] += static_cast<float>(deviation_ * noise.first);
      if (j + 1 < x.size()) gradient[j + 1] += static_cast<float>(deviation_ * noise.second);
    }
  }

  double Measure(size_t replica, std::span<const float> x) const override {
    double sum = 0;
    for (size_t j = 0; j < x.size(); ++j) {
      double curvature = 0, slope = 0;  // of f at 0 in this element, negated: x* = slope / curvature
      for (int rank = 0; rank < size().ranks; ++rank) {
        const size_t at = First(replica, rank) + j;
        curvature += static_cast<double>(curvatures_[at]) / size().ranks;
        slope += static_cast<double>(curvatures_[at]) * centres_[at] / size().ranks;
      }
      const double difference = distance_ == Distance::kGradient ? curvature * x[j] - slope : x[j] - slope / curvature;
      sum += difference * difference;
    }
    return sum;
  }

 private:
  size_t First(size_t replica, int rank) const {
    return (replica * static_cast<size_t>(size().ranks) + static_cast<size_t>(rank)) * size().elements;
  }

  const std::vector<float> curvatures_, centres_;
  const double deviation_;
  const Distance distance_;
};

class NoisyPoint final : public Problem {
 public:
  using Problem::Problem;
  float Start() const override { return 1; }
  void Gradient(const Place& place, std::span<const float> x, std::span<float> gradient) const override {
    static constexpr int kNoise[3][2] = {{2, 0}, {0, 1}, {-2, -1}};
    const int* noise = kNoise[NoiseOf(place).Below(0, 3)];
    const float scale = std::sqrt(0.3f);
    for (size_t j = 0; j < 2; ++j) gradient[j] = x[j] + scale * static_cast<float>(noise[j]);
  }
  double Measure(size_t, std::span<const float> x) const override {
    return static_cast<double>(x[0]) * x[0] + static_cast<double>(x[1]) * x[1];
  }
};

}  // namespace

double LeastSquaresSmoothness(int ranks) { return (ranks + 1.0) * (2.0 * ranks + 1) / (6.0 * ranks); }

std::unique_ptr<Problem> MakeLeastSquares(const LeastSquaresOptions& options) {
  std::vector<float> curvatures, centres;
  for (size_t replica = 0; replica < options.replicas; ++replica) {
    for (int rank = 0; rank < options.ranks; ++rank) {
      const double i = rank + 1, root = i / std::sqrt(options.ranks);  // A_i = root I
      const CounterRng rng(
          {.tensor = static_cast<uint32_t>(replica), .rank = static_cast<uint32_t>(rank), .stream = kTargetStream});
      for (size_t j = 0; j < options.elements; ++j) {
        const NormalPair pair = Normals(rng, j / 2);
        const double b = options.zeta / i * (j % 2 == 0 ? pair.first : pair.second);
        curvatures.push_back(static_cast<float>(root * root));
        centres.push_back(static_cast<float>(b / root));
      }
    }
  }
  return std::make_unique<Quadratic>(
      Problem::Size{options.ranks, options.elements, options.replicas}, std::move(curvatures), std::move(centres),
      options.sigma / std::sqrt(static_cast<double>(options.elements)), Quadratic::Distance::kGradient);
}

std::unique_ptr<Problem> MakeNoisyPoint(int ranks, size_t replicas) {
  return std::make_unique<NoisyPoint>(Problem::Size{ranks, 2, replicas});
}

std::unique_ptr<Problem> MakeNoisyQuadratic(int ranks, size_t replicas) {
  constexpr size_t kElements = 20;
  std::vector<float> curvatures, centres;
  for (size_t replica = 0; replica < replicas; ++replica) {
    for (int i = 0; i < ranks; ++i) {
      for (int j = 0; j < static_cast<int>(kElements); ++j) {
        curvatures.push_back(1 + static_cast<float>((i + 1) * (j + 1) % 5) / 4);
        centres.push_back(static_cast<float>(std::sin(1 + 3 * i + 7 * j)));
      }
    }
  }
  return std::make_unique<Quadratic>(Problem::Size{ranks, kElements, replicas}, std::move(curvatures),
                                     std::move(centres), 1 / std::sqrt(static_cast<double>(kElements)),
                                     Quadratic::Distance::kSolution);
}

}  // namespace laconic::experiments
