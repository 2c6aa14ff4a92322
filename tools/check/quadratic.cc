#include "tools/check/quadratic.h"

#include <algorithm>
#include <cmath>

#include "laconic/base/status.h"
#include "tools/sample_data.h"

namespace laconic::tools {

Quadratic::Quadratic(const Shape& shape) : shape(shape), a(kRanks), b(kRanks), optimum(shape.elements()) {
  const size_t count = shape.elements();
  std::vector<double> weights(count);
  for (int rank = 0; rank < kRanks; ++rank) {
    b[rank] = Gaussian(count, 11, rank);
    a[rank] = SmallIntegers(count, 12, rank);  // -8 to 8
    for (float& curvature : a[rank]) curvature = 1.5f + curvature / 16;
    for (size_t j = 0; j < count; ++j) {
      optimum[j] += static_cast<double>(a[rank][j]) * b[rank][j];
      weights[j] += a[rank][j];
    }
  }
  for (size_t j = 0; j < count; ++j) optimum[j] /= weights[j];
}

void Quadratic::Gradient(int rank, std::span<const float> x, std::span<float> gradient) const {
  for (size_t j = 0; j < x.size(); ++j) gradient[j] = a[rank][j] * (x[j] - b[rank][j]);
}

double Quadratic::Distance(std::span<const float> x) const {
  double distance = 0, norm = 0;
  for (size_t j = 0; j < x.size(); ++j) {
    distance += (x[j] - optimum[j]) * (x[j] - optimum[j]);
    norm += optimum[j] * optimum[j];
  }
  return std::sqrt(distance / norm);
}

namespace {

// One rank's side of gather, without a wire.
class Worker {
 public:
  Worker(const Compressor& codec, const Shape& shape, const ControlOptions& control, uint32_t rank)
      : codec_(codec),
        shape_(shape),
        rank_(rank),
        control_(control, shape.elements()),
        body_(codec.MaxBodyBytes(shape)),
        sent_(shape.elements()) {}

  absl::Status Send(std::span<const float> gradient, uint64_t step) {
    const RngKey key{.seed = 5, .step = step, .rank = rank_};
    const Message message = control_.Prepare(gradient);
    LACONIC_ASSIGN_OR_RETURN(const size_t bytes,
                             codec_.EncodeResidual(message, shape_, key, control_.residual(), body_));
    std::fill(sent_.begin(), sent_.end(), 0.0f);
    LACONIC_RETURN_IF_ERROR(codec_.DecodeAdd(std::span(body_).first(bytes), shape_, 1.0f, sent_));
    control_.Commit(gradient, sent_);
    return absl::OkStatus();
  }
  std::span<const float> sent() const { return sent_; }
  ErrorControl& control() { return control_; }

 private:
  const Compressor& codec_;
  const Shape shape_;
  uint32_t rank_;
  ErrorControl control_;
  std::vector<std::byte> body_;
  std::vector<float> sent_;
};

}  // namespace

Descent Descend(const Quadratic& problem, const Compressor& codec, const ControlOptions& control) {
  const size_t count = problem.shape.elements();
  constexpr int kRanks = Quadratic::kRanks;
  constexpr double kRate = 0.01;
  // Momentum that adds up takes every gradient 1/(1 - m) times, unless all of it is sent, and so cleared, at once.
  const bool adds_up = control.momentum.masked && codec.traits(problem.shape).delta != 1.0;
  const double rate = adds_up ? kRate * (1 - control.momentum.keep) : kRate;
  constexpr int kSteps = 3000;
  std::vector<Worker> workers;
  for (int rank = 0; rank < kRanks; ++rank) workers.emplace_back(codec, problem.shape, control, rank);
  std::vector<float> x(count), gradient(count), direction(count), scratch(count);
  std::vector<double> balance(count);  // sum over steps of d - mean g
  Descent descent;
  double largest = 0;
  for (int step = 0; step < kSteps; ++step) {
    std::fill(direction.begin(), direction.end(), 0.0f);
    for (int rank = 0; rank < kRanks; ++rank) {
      problem.Gradient(rank, x, gradient);
      descent.status = workers[rank].Send(gradient, step);
      if (!descent.status.ok()) return descent;
      for (size_t j = 0; j < count; ++j) {
        direction[j] += workers[rank].sent()[j] / kRanks;
        balance[j] -= static_cast<double>(gradient[j]) / kRanks;
      }
    }
    for (Worker& worker : workers) {  // every rank moves its H; the direction is the same on all
      scratch = direction;
      worker.control().Direction(scratch);
    }
    for (size_t j = 0; j < count; ++j) {
      balance[j] += scratch[j];
      x[j] -= static_cast<float>(rate) * scratch[j];
      largest =
          std::max({largest, std::abs(static_cast<double>(scratch[j])), std::abs(static_cast<double>(gradient[j]))});
    }
    for (Worker& worker : workers) {
      for (float e : worker.control().error()) largest = std::max(largest, std::abs(static_cast<double>(e)));
    }
    if (step >= kSteps - kSteps / 10) descent.distance += problem.Distance(x) / (kSteps / 10);
  }
  for (size_t j = 0; j < count; ++j) {
    double owed = balance[j];
    for (Worker& worker : workers) {
      if (!worker.control().error().empty()) owed += static_cast<double>(worker.control().error()[j]) / kRanks;
    }
    descent.unaccounted = std::max(descent.unaccounted, std::abs(owed));
  }
  // A step rounds the message, the residual and the direction's four additions, each to 2^-24 of a value of at most
  // twice the largest: six roundings.
  descent.tolerance = kSteps * 6 * 2 * largest * 0x1p-24;
  return descent;
}

}  // namespace laconic::tools
