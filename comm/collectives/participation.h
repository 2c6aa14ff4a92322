// Which ranks take part in a step: a coin for each, which all ranks can throw.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "comm/collectives/bucket_header.h"

namespace laconic {

// One per strategy. One thread at a time.
class Participation {
 public:
  // probability: in (0, 1], of each rank in each step, independently; 1: all always.
  Participation(int ranks, uint64_t seed, double probability)
      : seed_(seed), probability_(probability), present_(ranks, true), count_(ranks) {}

  // The ranks of `step`. A pure function of seed and step, the same for all buckets: who is away is away for all
  // tensors.
  void Draw(uint64_t step);

  bool present(int rank) const { return present_[rank]; }
  int count() const { return count_; }  // may be 0
  double share() const { return static_cast<double>(count_) / static_cast<double>(present_.size()); }

  // DataLoss if a rank announced a body in a step that it has no part in.
  absl::Status CheckAbsent(const HeaderExchange& headers) const;

 private:
  uint64_t seed_;
  double probability_;
  std::vector<bool> present_;
  int count_;
};

}  // namespace laconic
