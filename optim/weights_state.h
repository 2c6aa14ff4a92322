// Private: the entries that every DistributedOptimizer's state has.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "laconic/base/aligned.h"
#include "laconic/base/state.h"
#include "laconic/base/status.h"
#include "laconic/optim/parameter.h"

namespace laconic {

// "weights/<tensor>".
inline void SaveWeights(std::span<const Parameter> parameters, StateWriter& out) {
  StateWriter weights = out.Scope("weights");
  for (const Parameter& parameter : parameters) weights.Floats(parameter.name, parameter.weights, parameter.shape);
}
inline absl::Status LoadWeights(const StateReader& in, std::span<const Parameter> parameters) {
  const StateReader weights = in.Scope("weights");
  for (const Parameter& parameter : parameters) {
    LACONIC_RETURN_IF_ERROR(weights.Floats(parameter.name, parameter.weights));
  }
  return absl::OkStatus();
}

// "<tensor>/<name>", for state of one float an element.   values: by TensorId.
inline void SaveFloats(std::span<const Parameter> parameters, std::string_view name,
                       std::span<const AlignedVector<float>> values, StateWriter& out) {
  for (size_t i = 0; i < parameters.size(); ++i) {
    out.Scope(parameters[i].name).Floats(name, values[i], parameters[i].shape);
  }
}
inline absl::Status LoadFloats(const StateReader& in, std::string_view name, std::span<const Parameter> parameters,
                               std::span<AlignedVector<float>> values) {
  for (size_t i = 0; i < parameters.size(); ++i) {
    LACONIC_RETURN_IF_ERROR(in.Scope(parameters[i].name).Floats(name, values[i]));
  }
  return absl::OkStatus();
}

// One reader per rank, each below `name`.
inline std::vector<StateReader> Scopes(std::span<const StateReader> by_rank, std::string_view name) {
  std::vector<StateReader> scopes;
  for (const StateReader& in : by_rank) scopes.push_back(in.Scope(name));
  return scopes;
}

// The mean over the readers of entry `name`, each element summed in double and rounded once.
inline absl::Status LoadMean(std::span<const StateReader> by_rank, std::string_view name, std::span<float> mean) {
  std::vector<double> sum(mean.size());
  for (const StateReader& in : by_rank) {
    LACONIC_RETURN_IF_ERROR(in.Floats(name, mean));
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += mean[i];
  }
  for (size_t i = 0; i < sum.size(); ++i) {
    mean[i] = static_cast<float>(sum[i] / static_cast<double>(by_rank.size()));
  }
  return absl::OkStatus();
}
inline absl::Status LoadMean(std::span<const StateReader> by_rank, std::string_view name,
                             std::span<const Parameter> parameters, std::span<AlignedVector<float>> values) {
  for (size_t t = 0; t < parameters.size(); ++t) {
    LACONIC_RETURN_IF_ERROR(LoadMean(Scopes(by_rank, parameters[t].name), name, std::span<float>(values[t])));
  }
  return absl::OkStatus();
}
inline absl::Status LoadMeanWeights(std::span<const StateReader> by_rank, std::span<const Parameter> parameters) {
  const std::vector<StateReader> weights = Scopes(by_rank, "weights");
  for (const Parameter& parameter : parameters) {
    LACONIC_RETURN_IF_ERROR(LoadMean(weights, parameter.name, parameter.weights));
  }
  return absl::OkStatus();
}

}  // namespace laconic
