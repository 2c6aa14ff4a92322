// Allreduce on ranks of one address space: no message, the same bits.
#pragma once

#include <span>

#include "absl/status/status.h"
#include "laconic/comm/communicator.h"

namespace laconic {

// values <- factor * (sum over ranks), where comm.shares_memory(): each element is read once and written once at each
// rank, B = 4 values.size() bytes each. Additions in the order of the ring's and of halving-doubling's messages
// (dense.cc).
absl::Status SharedRingSum(Communicator& comm, std::span<float> values, float factor);
absl::Status SharedHalvingDoublingSum(Communicator& comm, std::span<float> values, float factor);

}  // namespace laconic
