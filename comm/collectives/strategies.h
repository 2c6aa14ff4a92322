// The strategies' constructors, one file each, and what they share. Private: users say a spec (pipeline.h).
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <vector>

#include "comm/collectives/bucket_header.h"
#include "comm/collectives/frames.h"
#include "laconic/comm/collectives/strategy.h"

namespace laconic {

absl::StatusOr<std::unique_ptr<AllreduceStrategy>> MakeDenseStrategy(Communicator& comm, std::span<GradientSlot> bucket,
                                                                     const StrategyOptions& options);
absl::StatusOr<std::unique_ptr<AllreduceStrategy>> MakeGatherStrategy(const Pipeline& pipeline, Communicator& comm,
                                                                      std::span<GradientSlot> bucket,
                                                                      const StrategyOptions& options);
absl::StatusOr<std::unique_ptr<AllreduceStrategy>> MakeScatterStrategy(const Pipeline& pipeline, Communicator& comm,
                                                                       std::span<GradientSlot> bucket,
                                                                       const StrategyOptions& options);
absl::StatusOr<std::unique_ptr<AllreduceStrategy>> MakeLinearStrategy(const Pipeline& pipeline, Communicator& comm,
                                                                      std::span<GradientSlot> bucket,
                                                                      const StrategyOptions& options);
absl::StatusOr<std::unique_ptr<AllreduceStrategy>> MakeHierarchicalStrategy(const Pipeline& pipeline,
                                                                            Communicator& comm,
                                                                            std::span<GradientSlot> bucket,
                                                                            const StrategyOptions& options);

// Shards of a tensor start at multiples of this many elements, so that packed bits and small blocks stay whole.
inline constexpr size_t kShardAlignment = 64;

// Streams of random numbers within one (step, tensor, rank): parts of the message count up from 0, what an owner
// re-encodes from here.
inline constexpr uint32_t kOwnerStream = 1u << 16;
// Of no tensor: the coins of partial participation (participation.h).
inline constexpr uint32_t kParticipationStream = 1u << 31;

// InvalidArgument if the bucket's control lets ranks stay away, which `strategy` cannot.
absl::Status CheckAllTakePart(std::string_view strategy, std::span<const GradientSlot> bucket);

// Resolves `pipeline.control` for every slot on the shape the codec will see, and sizes slot.control.
absl::Status SizeControls(const Pipeline& pipeline, std::span<GradientSlot> bucket,
                          absl::FunctionRef<Shape(const GradientSlot&)> encoded_shape);

// The pipeline, without its lossless stage where that does not pay on a known link between so many ranks; slots that had
// the pipeline's codec then have the one without, too.
Pipeline WithEntropyIfItPays(const Pipeline& pipeline, int ranks, std::span<GradientSlot> bucket,
                             const StrategyOptions& options);

// The slots' directions as one array: GradientSlot says that they lie next to each other.
std::span<float> BucketDirections(std::span<GradientSlot> bucket);

// Runs a piece of code and adds the seconds it took.
class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds), begin_(std::chrono::steady_clock::now()) {}
  ~Stopwatch() { seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point begin_;
};

}  // namespace laconic
