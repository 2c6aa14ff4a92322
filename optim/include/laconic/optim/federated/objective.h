// What local steps need of a client's data and model: gradients of minibatches.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "laconic/optim/parameter.h"

namespace laconic {

// One minibatch. Which samples it has follows from this and the run's seed alone, whoever computes it.
struct MinibatchKey {
  uint32_t client = 0;
  uint64_t round = 0;
  uint32_t step = 0;  // of the round's local steps
};

// A model and the losses f_i of the clients whose data lies here. A worker holds one and serves any of these clients.
// One thread at a time; all memory is sized at construction.
class LocalObjective {
 public:
  virtual ~LocalObjective() = default;

  // The model's tensors, in order; their weights lie one after the other in weights(), their gradients in gradient().
  virtual std::span<const Parameter> parameters() const = 0;
  // The point at which gradients are taken, d floats: whoever takes local steps writes it.
  virtual std::span<float> weights() = 0;
  virtual std::span<const float> gradient() const = 0;  // d floats, of the last Evaluate

  // The mean gradient over the minibatch at weights(), left in gradient(); gives the mean loss. Errors: OutOfRange for
  // a client whose data is not here.
  virtual absl::StatusOr<double> Evaluate(const MinibatchKey& key) = 0;
};

}  // namespace laconic
