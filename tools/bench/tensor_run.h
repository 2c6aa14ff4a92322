// One tensor on one rank, step after step through a strategy.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "laconic/comm/collectives/strategy.h"
#include "laconic/comm/transport/paced.h"

namespace laconic::tools {

// What one rank spent on one repetition, in seconds.
struct Spent {
  double seconds = 0, encode = 0, exchange = 0, decode = 0;
};

// From zero state. Allocates nothing from the second step on. One thread at a time.
class TensorRun {
 public:
  // comm: must outlive this.   count: elements, at least 1; the tensor is NearSquare(count).
  TensorRun(Communicator& comm, uint64_t count);
  TensorRun(const TensorRun&) = delete;
  TensorRun& operator=(const TensorRun&) = delete;

  // Collective.   link: what strategy `auto` decides by; nullopt: its default.   Errors: as MakeStrategy.
  absl::Status Make(const Pipeline& pipeline, uint64_t seed, const std::optional<LinkModel>& link);

  std::span<float> gradient() { return gradient_; }
  std::span<const float> direction() const { return direction_; }
  const GradientSlot& slot() const { return slots_.front(); }
  std::string runs_as() const { return strategy_->ToString(); }
  uint64_t bytes_sent() const;  // by this rank, since its communicator was made

  // Run, then Commit. Collective.
  //   between: may look at what Run left.   spent: receives what it cost here, `between` included.
  absl::Status Step(const std::function<absl::Status()>& between = nullptr, Spent* spent = nullptr);

 private:
  Communicator& comm_;
  std::vector<float> gradient_, direction_;
  std::vector<GradientSlot> slots_;  // one
  std::unique_ptr<AllreduceStrategy> strategy_;
  uint64_t step_ = 0;
};

double SecondsSince(std::chrono::steady_clock::time_point begin);

}  // namespace laconic::tools
