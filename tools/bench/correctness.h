// What #wrong counts: elements of a collective's result that are not what its inputs say, on any rank.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "laconic/comm/collectives/strategy.h"
#include "laconic/comm/communicator.h"

namespace laconic::tools {

// Every rank's gradient, drawn from (seed, rank) alone, so that any rank can have all of them without a transport. One
// thread at a time.
class Gradients {
 public:
  Gradients(uint64_t seed, int ranks, size_t count) : seed_(seed), count_(count), kept_(ranks) {}

  // count() floats; valid until the next call.
  std::span<const float> Of(int rank);
  size_t count() const { return count_; }

 private:
  uint64_t seed_;
  size_t count_;
  std::vector<std::vector<float>> kept_;  // as many as fit the budget
  size_t kept_bytes_ = 0;
  std::vector<float> last_;
};

// The direction of the first step, from zero state, of strategy gather or scatter: every rank's message encoded and
// decoded here, in rank order, with the keys the library promises (comm/collectives/). nullopt for other strategies.
//   slot: as MakeStrategy left it, for codec, control and shape.   strategy: its ToString().
absl::StatusOr<std::optional<std::vector<float>>> FirstDirection(const GradientSlot& slot, std::string_view strategy,
                                                                 int ranks, uint64_t seed, Gradients& gradients);

// How far the mean of the ranks' own reconstructions may lie from the reconstruction of the mean, in any element, by
// rounding alone: both are sums of r products P_ik Q_jk with |P_i| <= 1 and |Q_j| at most the norm of the message's
// column j, rounded at most r + 1 times, over n ranks summed with n roundings, so 2 (r + n + 2) 2^-24 sqrt(rows) max|m|
// together.
//   largest: max |m| over ranks.
double LinearTolerance(const GradientSlot& slot, int ranks, float largest);

// Elements in which rank 0's `result` is off `expected` by more than `tolerance`, plus those in which another rank's
// result has other bits than rank 0's. The same count on all ranks. Collective.
//   expected: read on rank 0 only; empty: only compares ranks.
absl::StatusOr<uint64_t> CountWrong(Communicator& comm, std::span<const float> result, std::span<const float> expected,
                                    double tolerance);

}  // namespace laconic::tools
