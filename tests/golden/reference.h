// What the golden tests share: small problems whose answers are known, slow and obvious codecs, and a cluster of ranks
// in one loop, without threads or bytes, that runs BasicErrorControl exactly as a collective would.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "laconic/base/rng.h"
#include "laconic/compressors/error_control.h"

namespace laconic::golden {

// What one rank's bytes do: sent = C(m), and m - sent is left in m. Both have d elements.
template <typename T>
using Codec = std::function<void(size_t rank, uint64_t step, std::span<T> message_to_residual, std::span<T> sent)>;

// The k entries largest in magnitude, ties to the lower index. delta = k/d.
template <typename T>
Codec<T> TopK(size_t k) {
  return [k](size_t, uint64_t, std::span<T> m, std::span<T> sent) {
    std::fill(sent.begin(), sent.end(), T(0));
    for (size_t picked = 0; picked < k; ++picked) {  // a picked entry becomes 0, so that the next largest is found
      size_t largest = 0;
      for (size_t i = 1; i < m.size(); ++i) {
        if (std::abs(m[i]) > std::abs(m[largest])) largest = i;
      }
      if (m[largest] == 0) return;
      sent[largest] = std::exchange(m[largest], T(0));
    }
  };
}

// k entries drawn without replacement, independently by each rank, times `scale`: d/k makes it unbiased (omega = d/k -
// 1).
template <typename T>
Codec<T> RandK(size_t k, T scale, uint64_t seed) {
  return [=](size_t rank, uint64_t step, std::span<T> m, std::span<T> sent) {
    std::fill(sent.begin(), sent.end(), T(0));
    const CounterRng rng({.seed = seed, .step = step, .rank = static_cast<uint32_t>(rank)});
    std::vector<uint32_t> order(m.size());
    for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
    for (uint32_t i = 0; i < k; ++i) {  // the front of a Fisher-Yates shuffle
      std::swap(order[i], order[i + rng.Below(i, static_cast<uint32_t>(order.size()) - i)]);
      const uint32_t chosen = order[i];
      sent[chosen] = scale * m[chosen];
      m[chosen] -= sent[chosen];
    }
  };
}

template <typename T>
Codec<T> Identity() {
  return [](size_t, uint64_t, std::span<T> m, std::span<T> sent) {
    std::copy(m.begin(), m.end(), sent.begin());
    std::fill(m.begin(), m.end(), T(0));
  };
}

template <typename T>
double Norm(std::span<const T> x) {
  double sum = 0;
  for (const T value : x) sum += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(sum);
}
template <typename T>
double Norm(const std::vector<T>& x) {
  return Norm(std::span<const T>(x));
}

// Writes the step's message where the codec will turn it into the residual.
template <typename T>
void FormMessage(BasicErrorControl<T>& control, std::span<const T> gradient, T error_scale = 1) {
  control.Prepare(gradient, error_scale).Form(0, control.residual());
}

// `ranks` error controls on one tensor, and the exchange between them.
template <typename T>
class Cluster {
 public:
  Cluster(size_t ranks, size_t elements, const ControlOptions& options, Codec<T> codec)
      : elements_(elements),
        codec_(std::move(codec)),
        controls_(ranks, BasicErrorControl<T>(options, elements)),
        sent_(elements),
        direction_(elements),
        mean_(elements) {}

  // EControl's and EF21's full initialisation: h_i = v_i = g_i, H = mean g_i.   gradients: ranks x elements.
  void StartFrom(std::span<const T> gradients) {
    const std::vector<T> average = Mean(gradients);
    for (size_t rank = 0; rank < controls_.size(); ++rank) {
      if (controls_[rank].options().keeps_shift()) controls_[rank].SetShift(Row(gradients, rank), average);
      if (controls_[rank].options().keeps_momentum()) controls_[rank].SetMomentum(Row(gradients, rank));
    }
  }

  // One step of all ranks, or of those for which present(rank); the direction all of them step along.
  std::span<const T> Step(std::span<const T> gradients, T error_scale = 1,
                          const std::function<bool(size_t)>& present = nullptr) {
    std::fill(mean_.begin(), mean_.end(), T(0));
    size_t participants = 0;
    for (size_t rank = 0; rank < controls_.size(); ++rank) {
      if (present != nullptr && !present(rank)) continue;
      FormMessage(controls_[rank], Row(gradients, rank), error_scale);
      codec_(rank, step_, controls_[rank].residual(), sent_);
      controls_[rank].Commit(Row(gradients, rank), sent_);
      for (size_t i = 0; i < elements_; ++i) mean_[i] += sent_[i];
      ++participants;
    }
    for (T& value : mean_) value /= static_cast<T>(std::max<size_t>(participants, 1));
    const T participation = static_cast<T>(participants) / static_cast<T>(controls_.size());
    for (BasicErrorControl<T>& control : controls_) {
      std::copy(mean_.begin(), mean_.end(), direction_.begin());
      control.Direction(direction_, participation);
    }
    ++step_;
    return direction_;
  }

  const BasicErrorControl<T>& control(size_t rank) const { return controls_[rank]; }

  std::vector<T> MeanError() const {
    return MeanOf([](const BasicErrorControl<T>& control) { return control.error(); });
  }
  std::vector<T> MeanShift() const {
    return MeanOf([](const BasicErrorControl<T>& control) { return control.shift(); });
  }
  // The largest |H - mean_i h_i| over elements: 0 but for rounding.
  double ShiftMismatch() const {
    const std::vector<T> mean = MeanShift();
    double largest = 0;
    for (size_t i = 0; i < elements_; ++i) {
      largest = std::max(largest, std::abs(static_cast<double>(controls_[0].shift_average()[i] - mean[i])));
    }
    return largest;
  }

 private:
  std::span<const T> Row(std::span<const T> gradients, size_t rank) const {
    return gradients.subspan(rank * elements_, elements_);
  }
  std::vector<T> Mean(std::span<const T> rows) const {
    std::vector<T> mean(elements_, T(0));
    for (size_t i = 0; i < rows.size(); ++i) mean[i % elements_] += rows[i];
    for (T& value : mean) value /= static_cast<T>(controls_.size());
    return mean;
  }
  template <typename Get>
  std::vector<T> MeanOf(Get get) const {
    std::vector<T> rows;
    for (const BasicErrorControl<T>& control : controls_)
      rows.insert(rows.end(), get(control).begin(), get(control).end());
    return Mean(rows);
  }

  size_t elements_;
  Codec<T> codec_;
  std::vector<BasicErrorControl<T>> controls_;
  std::vector<T> sent_, direction_, mean_;
  uint64_t step_ = 0;
};

// f_i(x) = 0.5 sum_j a_i[j] (x_j - b_i[j])^2 on rank i; every rank pulls to its own b_i, so gradients at the optimum
// are far from zero. The instance "Q4" of docs/algorithms.md: a_i[j] = 1 + (((i+1)(j+1)) mod 5)/4, b_i[j] = s sin(1 +
// 3i + 7j).
struct Quadratic {
  size_t ranks = 4;
  size_t elements = 20;
  std::vector<double> a, b, optimum;

  explicit Quadratic(size_t rank_count = 4, double heterogeneity = 1) : ranks(rank_count) {
    optimum.resize(elements);
    for (size_t i = 0; i < ranks; ++i) {
      for (size_t j = 0; j < elements; ++j) {
        a.push_back(1 + static_cast<double>((i + 1) * (j + 1) % 5) / 4);
        b.push_back(heterogeneity * std::sin(1.0 + 3.0 * static_cast<double>(i) + 7.0 * static_cast<double>(j)));
      }
    }
    for (size_t j = 0; j < elements; ++j) {
      double weighted = 0, weight = 0;
      for (size_t i = 0; i < ranks; ++i) {
        weighted += a[i * elements + j] * b[i * elements + j];
        weight += a[i * elements + j];
      }
      optimum[j] = weighted / weight;
    }
  }

  // All ranks' gradients at x, ranks x elements.
  template <typename T>
  void Gradients(const std::vector<T>& x, std::vector<T>& out) const {
    out.resize(ranks * elements);
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<T>(a[i]) * (x[i % elements] - static_cast<T>(b[i]));
  }
  template <typename T>
  double Distance(const std::vector<T>& x) const {
    double sum = 0;
    for (size_t j = 0; j < elements; ++j) sum += (x[j] - optimum[j]) * (x[j] - optimum[j]);
    return std::sqrt(sum);
  }
};

// |x_t - x*| after update t = 0, 1, ...; cut short when it passes 1e8.
struct Trace {
  std::vector<double> distance;

  bool diverged() const { return !(distance.back() < 1e8); }
  double last() const { return distance.back(); }
  // The first t with |x_t - x*| < bound, or -1.
  int FirstBelow(double bound) const {
    const auto found = std::find_if(distance.begin(), distance.end(), [=](double value) { return value < bound; });
    return found == distance.end() ? -1 : static_cast<int>(found - distance.begin());
  }
  // Root mean square over the last half: the level of a stall.
  double Level() const {
    double sum = 0;
    for (size_t t = distance.size() / 2; t < distance.size(); ++t) sum += distance[t] * distance[t];
    return std::sqrt(sum / static_cast<double>(distance.size() - distance.size() / 2));
  }
};

// Gradient descent with step size gamma from x = 0 along the cluster's directions. `each`, if given, sees (t, x) after
// update t.
template <typename T>
Trace Descend(const Quadratic& problem, Cluster<T>& cluster, double gamma, int steps, bool full_start = true,
              const std::function<void(int, const std::vector<T>&)>& each = nullptr) {
  std::vector<T> x(problem.elements, T(0)), gradients;
  problem.Gradients(x, gradients);
  if (full_start) cluster.StartFrom(gradients);
  Trace trace;
  for (int t = 0; t < steps; ++t) {
    problem.Gradients(x, gradients);
    const std::span<const T> direction = cluster.Step(gradients);
    for (size_t j = 0; j < x.size(); ++j) x[j] -= static_cast<T>(gamma) * direction[j];
    if (each != nullptr) each(t, x);
    trace.distance.push_back(problem.Distance(x));
    if (trace.diverged()) break;
  }
  return trace;
}

inline constexpr ControlOptions kNone{};
inline constexpr ControlOptions kEf{.eta = 1};
inline constexpr ControlOptions kEf21{.alpha = 1};
inline constexpr ControlOptions EControl(double eta, double beta = 1) {
  return {.eta = eta, .alpha = 1, .momentum = Momentum::Average(beta)};
}

// Descend on Q4 with the same codec on every rank.
template <typename T = double>
Trace DescendQ4(const ControlOptions& options, const Codec<T>& codec, double gamma, int steps, bool full_start = true) {
  const Quadratic problem;
  Cluster<T> cluster(problem.ranks, problem.elements, options, codec);
  return Descend(problem, cluster, gamma, steps, full_start);
}

}  // namespace laconic::golden
