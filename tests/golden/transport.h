// The golden problems on the library's own collectives: ranks that are threads, a strategy, payloads as bytes, float.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "laconic/base/status.h"
#include "tests/comm/strategy_harness.h"
#include "tests/golden/reference.h"

namespace laconic::golden {

struct TransportRun {
  Trace trace;                 // of the weights w that all ranks hold
  Trace owner;                 // of x = w - gamma E, where rank 0 owns everything
  double mismatch = 0;         // the largest |H + E - mean_i h_i|, H as ranks, or else the owner, keep it
  std::vector<float> weights;  // of all ranks, one after another
};

struct TransportOptions {
  double gamma = 0.1;
  int steps = 1000;
  uint64_t seed = 7;
  bool full_start = true;  // h = v = g and H = mean(g) before the first step
};

// Gradient descent from 0 on `problem` by one rank for each of its functions. One tensor of fewer than 64 elements, so
// that rank 0 owns all of it in a scatter.
inline TransportRun DescendOnRanks(const std::string& spec, const TransportOptions& options,
                                   const Quadratic& problem = Quadratic()) {
  const size_t d = problem.elements;
  TransportRun run;
  run.weights.resize(problem.ranks * d);
  std::vector<std::vector<float>> shifts(problem.ranks);  // [rank], of all steps
  std::vector<float> balance;                             // H + E of all steps
  testing::OnRanks(static_cast<int>(problem.ranks), [&](Communicator& comm) -> absl::Status {
    const auto rank = static_cast<size_t>(comm.rank());
    testing::RankBucket bucket({Shape::Flat(d)}, comm);
    LACONIC_RETURN_IF_ERROR(bucket.Make(spec, comm, {.seed = options.seed}));
    GradientSlot& slot = bucket.slots[0];
    std::vector<float> w(d), gradients;
    const auto backward = [&] {
      problem.Gradients(w, gradients);
      std::copy_n(gradients.begin() + static_cast<ptrdiff_t>(rank * d), d, bucket.gradients.begin());
    };
    backward();
    if (options.full_start) {
      std::vector<float> mean(d);
      for (size_t i = 0; i < gradients.size(); ++i) mean[i % d] += gradients[i] / static_cast<float>(problem.ranks);
      if (slot.control.options().keeps_shift()) slot.control.SetShift(bucket.gradients, mean);
      if (slot.control.options().keeps_momentum()) slot.control.SetMomentum(bucket.gradients);
      if (rank == 0 && slot.owner.options().keeps_momentum()) slot.owner.SetMomentum(mean);
    }
    for (int t = 0; t < options.steps; ++t) {
      backward();
      BucketResult result;
      LACONIC_RETURN_IF_ERROR(
          bucket.strategy->Run(comm, bucket.slots, {.step = static_cast<uint64_t>(t)}, 1.0f, result));
      bucket.strategy->Commit(bucket.slots);
      for (size_t j = 0; j < d; ++j) w[j] -= static_cast<float>(options.gamma) * bucket.directions[j];
      const ErrorControl& control = slot.control;
      shifts[rank].insert(shifts[rank].end(), control.shift().begin(), control.shift().end());
      if (rank != 0) continue;
      run.trace.distance.push_back(problem.Distance(w));
      const std::span<const float> owed = slot.owner.error();
      std::vector<double> x(w.begin(), w.end());
      for (size_t j = 0; j < owed.size(); ++j) x[j] -= options.gamma * owed[j];
      run.owner.distance.push_back(problem.Distance(x));
      const bool replicated = control.options().keeps_shift_average();
      for (size_t j = 0; j < control.shift().size(); ++j) {
        balance.push_back(replicated ? control.shift_average()[j] + (owed.empty() ? 0 : owed[j])
                                     : slot.owner.momentum()[j]);
      }
    }
    std::copy(w.begin(), w.end(), run.weights.begin() + static_cast<ptrdiff_t>(rank * d));
    return absl::OkStatus();
  });
  for (size_t i = 0; i < balance.size(); ++i) {
    double mean = 0;
    for (const std::vector<float>& rank : shifts) mean += rank[i] / static_cast<double>(problem.ranks);
    run.mismatch = std::max(run.mismatch, std::abs(balance[i] - mean));
  }
  return run;
}

}  // namespace laconic::golden
