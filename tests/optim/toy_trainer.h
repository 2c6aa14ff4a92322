// A model of a few tensors with a gradient that each rank can compute at once: least squares towards a target of the
// rank's own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "laconic/base/rng.h"
#include "laconic/base/status.h"
#include "laconic/comm/transport/in_process.h"
#include "laconic/optim/distributed_optimizer.h"

namespace laconic::testing {

// f_rank(w) = |w - target_rank|^2 / 2, so that the mean over ranks is least at the mean target. Gradients carry noise
// of their own.
class ToyTrainer {
 public:
  explicit ToyTrainer(int rank, float noise = 0.1f) : rank_(rank), noise_(noise) {
    for (const auto& [name, shape] : std::vector<std::pair<std::string, Shape>>{{"conv.weight", Shape({8, 4, 3, 3})},
                                                                                {"fc1.weight", Shape({48, 32})},
                                                                                {"fc1.bias", Shape({48})},
                                                                                {"fc2.weight", Shape({10, 48})}}) {
      names_.push_back(name);
      weights_.emplace_back(shape.elements());
      gradients_.emplace_back(shape.elements());
      parameters.push_back({.name = name, .shape = shape, .weights = weights_.back(), .gradient = gradients_.back()});
    }
    for (Parameter& parameter : parameters) {  // the vectors above have moved while growing
      const size_t index = static_cast<size_t>(&parameter - parameters.data());
      parameter.weights = weights_[index];
      parameter.gradient = gradients_[index];
    }
  }

  void Backward(uint64_t step) {
    const CounterRng noise(RngKey{.seed = 3, .step = step, .rank = static_cast<uint32_t>(rank_)});
    size_t draw = 0;
    for (size_t t = 0; t < parameters.size(); ++t) {
      for (size_t i = 0; i < weights_[t].size(); ++i) {
        const float target = static_cast<float>((7 * i + 3 * t) % 11) / 11 + 0.5f * static_cast<float>(rank_);
        gradients_[t][i] = weights_[t][i] - target + noise_ * (2 * noise.Uniform(draw++) - 1);
      }
    }
  }

  // One step of plain SGD along the directions.
  absl::Status Step(GradientSync& sync, uint64_t step, float learning_rate) {
    sync.Begin({.step = step, .learning_rate = learning_rate});
    Backward(step);
    for (size_t t = parameters.size(); t-- > 0;) sync.MarkReady(TensorId{static_cast<uint32_t>(t)});
    if (absl::Status status = sync.Finish(); !status.ok()) return status;
    if (sync.report().skipped) return absl::OkStatus();
    for (size_t t = 0; t < parameters.size(); ++t) {
      const std::span<const float> direction = sync.direction(TensorId{static_cast<uint32_t>(t)});
      for (size_t i = 0; i < direction.size(); ++i) weights_[t][i] -= learning_rate * direction[i];
    }
    return absl::OkStatus();
  }

  absl::Status Step(DistributedOptimizer& optimizer, uint64_t step, double learning_rate) {
    optimizer.Begin({.step = step, .learning_rate = learning_rate});
    Backward(step);
    for (size_t t = parameters.size(); t-- > 0;) optimizer.MarkReady(TensorId{static_cast<uint32_t>(t)});
    return optimizer.Finish();
  }

  std::vector<float> AllWeights() const {
    std::vector<float> all;
    for (const std::vector<float>& weights : weights_) all.insert(all.end(), weights.begin(), weights.end());
    return all;
  }
  void SetWeights(const std::vector<float>& all) {
    const float* from = all.data();
    for (std::vector<float>& weights : weights_) {
      std::copy(from, from + weights.size(), weights.begin());
      from += weights.size();
    }
  }
  std::vector<float>& gradient(size_t tensor) { return gradients_[tensor]; }

  std::vector<Parameter> parameters;

 private:
  int rank_;
  float noise_;
  std::vector<std::string> names_;
  std::vector<std::vector<float>> weights_, gradients_;
};

// Runs `body` on every rank and expects OK from all.
inline void OnRanks(int ranks, const std::function<absl::Status(Communicator&)>& body) {
  const absl::Status status = RunInProcess(ranks, [&](std::unique_ptr<Transport> transport) {
    Communicator comm(std::move(transport), {.timeout = absl::Seconds(20)});
    return body(comm);
  });
  EXPECT_TRUE(status.ok()) << status;
}

// The specs of the README's main job, and one of each other control.
inline const std::vector<std::string>& Specs() {
  static const auto* const specs =
      new std::vector<std::string>{"dense",
                                   "topk(ratio=0.05)+econtrol",
                                   "sign+ef+scatter",
                                   "lowrank(rank=2)+ef",
                                   "quantize(bits=4)+ef+scatter",
                                   "topk(ratio=0.05)+ef21-sgdm+gather",
                                   "quantize(bits=8, rounding=stochastic)+diana+gather",
                                   "cast(to=bf16)+entropy+ef+scatter",
                                   "composite(topk(ratio=0.02), entropy(quantize(bits=2)))+econtrol+gather",
                                   "topk(ratio=0.05)+ef+hierarchical(local=2, across=gather)",
                                   "topk(k=8, chunk=128, values=q2)+ef(decay=0.95)+gather",
                                   "topk(ratio=0.2, warmup=8)+dgc(momentum=0.5)+gather",
                                   "topk(ratio=0.05)+ef21-sgdm(init=dense)+gather",
                                   "topk(ratio=0.05)+econtrol(participation=0.75)+scatter(owners=2, "
                                   "down=topk(ratio=0.2), reply=direction)",
                                   "fc*.weight: topk(ratio=0.05)+econtrol+scatter; conv*: sign+ef+gather; *: dense"};
  return *specs;
}

// Each layer its own setting, over every family, control and strategy. Plans are made at the ends of steps 1, 6, 11 ...
// from the messages of up to three steps, so that a run broken off after ten steps is amid a window.
inline const std::vector<std::string>& AdaptiveSpecs() {
  static const std::string schedule = "every=5, warmup=2, window=3";
  static const auto* const specs = new std::vector<std::string>{
      "adaptive(family=topk, budget=uniform:0.1, " + schedule + ")+ef+gather",
      "adaptive(family=topk, budget=uniform:0.05, " + schedule + ")+econtrol+scatter",
      "adaptive(family=quantize(block=64), budget=uniform:4, " + schedule + ")+ef+scatter",
      "adaptive(family=quantize(rounding=stochastic), budget=uniform:6, " + schedule + ")+diana+gather",
      "adaptive(family=lowrank, budget=uniform:2, " + schedule + ")+ef+linear",
      "adaptive(family=lowrank, budget=uniform:2, objective=evolution, " + schedule + ")+econtrol",
      "adaptive(family=topk(values=bf16), budget=uniform:0.05, objective=time, speed=model, " + schedule +
          ")+ef21+auto",
      "adaptive(family=topk, budget=uniform:0.05, error=squared, " + schedule +
          ")+ef+hierarchical(local=2, across=gather)",
      "fc*.weight: adaptive(family=topk, budget=uniform:0.05, " + schedule +
          ")+econtrol; conv*: adaptive(family=quantize, "
          "budget=uniform:4, " +
          schedule + ")+ef+gather; *: dense"};
  return *specs;
}

}  // namespace laconic::testing
