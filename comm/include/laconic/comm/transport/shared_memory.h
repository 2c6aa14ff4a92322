// Work of all ranks on the memory of all ranks: the optional second interface of transports whose ranks share an
// address space.
#pragma once

#include <cstddef>
#include <span>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "laconic/comm/transport/transport.h"

namespace laconic {

class SharedMemory {
 public:
  virtual ~SharedMemory() = default;

  // Does piece `piece` of the work; spans[i] is what rank i has lent. Neither blocks nor fails.
  using Work = absl::FunctionRef<void(size_t piece, std::span<const std::span<std::byte>> spans)>;

  // Every rank lends `own`, equally long on all of them; once all have come, work(piece, spans) is called exactly once
  // for each piece in [0, pieces), by whichever rank has a core at that moment, several at a time; returns when the
  // last piece is done. So `work` must touch nothing outside its piece that another piece writes, and its result may
  // depend on nothing but `piece` and the spans. `pieces` and `work` are the same on all ranks, and all ranks call
  // Meet in the same order among their Exchanges.
  //
  // Errors are those of Transport::Exchange (DataLoss: a peer has lent another length), and come only before the first
  // piece: once all have come nothing is waited for but work, which ends by itself, so the deadline counts no more.
  // While this end is poisoned no peer touches `own`.
  virtual absl::Status Meet(std::span<std::byte> own, size_t pieces, Work work, const ExchangeOptions& options) = 0;
};

}  // namespace laconic
