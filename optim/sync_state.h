// What of one tensor lasts from step to step, on disk; and how it is taken over by another number of ranks.
#pragma once

#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "laconic/base/state.h"
#include "laconic/comm/collectives/strategy.h"

namespace laconic {

// Entries: strategy, control/{error,shift,shift_average,momentum}, owner/{error,momentum} (scatter), session/... (linear), follows
// (hierarchical).
void SaveSlot(const GradientSlot& slot, std::string_view strategy, StateWriter& out);

// Bit for bit. FailedPrecondition when the state was saved under another strategy (both are named).
absl::Status LoadSlot(const StateReader& in, std::string_view strategy, GradientSlot& slot);

// As LoadSlot, in one process and whatever the strategy: another setting of the slot's codec goes on where the old one
// was. Error control does not depend on the codec; a linear session takes over what fits.
absl::Status TakeOverSlot(const StateReader& in, GradientSlot& slot);

// ReshardRule::kMean: this rank (`rank` of `ranks`) starts from the mean over the old ranks of error, shift and
// momentum; the shift average and the warm start, equal on all ranks, are taken as they are. So (1/n) sum of errors,
// the correction still owed to the weights, is kept to one rounding per element. What owners of a scatter keep is laid
// together and cut anew; errors, where there are no owners any more they are added to the ranks' errors, which keeps the same
// sum.
//   by_rank: the state GradientSync saved, one reader per old rank.
absl::Status ReshardSlot(std::span<const StateReader> by_rank, int rank, int ranks, GradientSlot& slot);

}  // namespace laconic
