#include "examples/experiments/descend.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/comm/communicator.h"
#include "laconic/comm/transport/in_process.h"
#include "laconic/optim/gradient_sync.h"

namespace laconic::experiments {
namespace {

constexpr float kDiverged = 1e6f;

// One rank. traces: written by rank 0, one for each replica.
absl::Status DescendOnRank(const Problem& problem, const Descent& descent, Communicator& comm,
                           std::vector<Trace>& traces) {
  const auto [ranks, elements, replicas] = problem.size();
  std::vector<float> x(replicas * elements, problem.Start()), gradients(replicas * elements);
  std::vector<Parameter> parameters;
  for (size_t replica = 0; replica < replicas; ++replica) {
    parameters.push_back({fmt::format("x{}", replica), Shape::Flat(elements),
                          std::span(x).subspan(replica * elements, elements),
                          std::span(gradients).subspan(replica * elements, elements)});
  }
  // Nothing goes dense for being small, and nothing is gained by a thread for these sizes.
  const GradientSyncOptions options = {.min_bytes = 0, .overlap = false};
  LACONIC_ASSIGN_OR_RETURN(const auto sync, GradientSync::Create(&comm, parameters, descent.spec, options));

  double wire_bytes = 0;
  for (uint64_t t = 0; t < descent.steps; ++t) {
    // x is the same on all ranks, so all stop at the same step.
    const bool diverged = std::any_of(x.begin(), x.end(), [](float value) { return !(std::abs(value) < kDiverged); });
    if (comm.rank() == 0) {
      for (size_t replica = 0; replica < replicas; ++replica) {
        Trace& trace = traces[replica];
        trace.diverged = diverged;
        if (diverged || (t + 1) % descent.measure_every != 0) continue;
        trace.step.push_back(static_cast<double>(t + 1));
        trace.measure.push_back(problem.Measure(replica, parameters[replica].weights));
        trace.wire_bytes.push_back(wire_bytes / static_cast<double>(replicas));
      }
    }
    if (diverged) break;

    sync->Begin({.step = t, .learning_rate = descent.learning_rate});
    for (size_t replica = 0; replica < replicas; ++replica) {
      problem.Gradient({.rank = comm.rank(), .replica = replica, .step = t}, parameters[replica].weights,
                       parameters[replica].gradient);
      sync->MarkReady(TensorId{static_cast<uint32_t>(replica)});
    }
    LACONIC_RETURN_IF_ERROR(sync->Finish());
    for (size_t replica = 0; replica < replicas; ++replica) {
      const std::span<const float> direction = sync->direction(TensorId{static_cast<uint32_t>(replica)});
      for (size_t j = 0; j < elements; ++j) {
        parameters[replica].weights[j] -= static_cast<float>(descent.learning_rate) * direction[j];
      }
    }
    wire_bytes += static_cast<double>(sync->report().wire_bytes_sent);
  }
  return absl::OkStatus();
}

}  // namespace

double Trace::Floor() const {
  if (diverged || measure.empty()) return std::numeric_limits<double>::infinity();
  double sum = 0;
  for (size_t i = measure.size() / 2; i < measure.size(); ++i) sum += measure[i];
  return sum / static_cast<double>(measure.size() - measure.size() / 2);
}

absl::StatusOr<std::vector<Trace>> Descend(const Problem& problem, const Descent& descent) {
  std::vector<Trace> traces(problem.size().replicas);
  LACONIC_RETURN_IF_ERROR(RunInProcess(problem.size().ranks, [&](std::unique_ptr<Transport> transport) {
    Communicator comm(std::move(transport));
    return DescendOnRank(problem, descent, comm, traces);
  }));
  return traces;
}

}  // namespace laconic::experiments
