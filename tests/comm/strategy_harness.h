// Runs one bucket through a strategy on in-process ranks, step after step.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "laconic/base/parallel.h"
#include "laconic/base/rng.h"
#include "laconic/comm/collectives/strategy.h"
#include "laconic/comm/transport/in_process.h"

namespace laconic::testing {

// One rank's bucket: tensors of the given shapes, all memory owned here.
struct RankBucket {
  RankBucket(const std::vector<Shape>& shapes, Communicator& comm) : rank(comm.rank()) {
    size_t elements = 0;
    for (const Shape& shape : shapes) elements += shape.elements();
    gradients.resize(elements);
    directions.resize(elements);
    size_t offset = 0;
    slots.resize(shapes.size());
    for (size_t i = 0; i < shapes.size(); ++i) {
      slots[i].id = TensorId{static_cast<uint32_t>(i)};
      slots[i].name = "tensor" + std::to_string(i);
      slots[i].shape = shapes[i];
      slots[i].gradient = std::span(gradients).subspan(offset, shapes[i].elements());
      slots[i].direction = std::span(directions).subspan(offset, shapes[i].elements());
      offset += shapes[i].elements();
    }
  }

  absl::Status Make(std::string_view spec, Communicator& comm, StrategyOptions options = {.seed = 7}) {
    absl::StatusOr<std::vector<SpecRule>> rules = ParseSpec(spec);
    if (!rules.ok()) return rules.status();
    absl::StatusOr<Pipeline> pipeline = MakePipeline(rules->front().pipeline, CodecRegistry::BuiltIn());
    if (!pipeline.ok()) return pipeline.status();
    for (GradientSlot& slot : slots) slot.codec = pipeline->codec;
    absl::StatusOr<std::unique_ptr<AllreduceStrategy>> made = MakeStrategy(*pipeline, comm, slots, options);
    if (!made.ok()) return made.status();
    strategy = *std::move(made);
    return absl::OkStatus();
  }

  // Uniform on [-1, 1), different on every rank and step, plus what all ranks share.
  void FillGradients(uint64_t step) {
    const CounterRng own(RngKey{.seed = 11, .step = step, .rank = static_cast<uint32_t>(rank)});
    const CounterRng shared(RngKey{.seed = 13, .step = step}.Shared());
    for (size_t i = 0; i < gradients.size(); ++i) {
      gradients[i] = (2 * own.Uniform(i) - 1) + (2 * shared.Uniform(i) - 1);
    }
  }

  int rank;
  std::vector<float> gradients, directions;
  std::vector<GradientSlot> slots;
  std::unique_ptr<AllreduceStrategy> strategy;
  BucketResult result;
};

// Runs `body` on every rank of an in-process group and expects OK from all.
inline void OnRanks(int ranks, const std::function<absl::Status(Communicator&)>& body) {
  const absl::Status status = RunInProcess(ranks, [&](std::unique_ptr<Transport> transport) {
    Communicator comm(std::move(transport), {.timeout = absl::Seconds(20)});
    return body(comm);
  });
  EXPECT_TRUE(status.ok()) << status;
}

}  // namespace laconic::testing
