// What the rounds of a parameter server are for: the gradients of synchronous or asynchronous workers, the updates of
// federated clients. Bytes in and out; the round machine knows nothing else of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/base/state.h"

namespace laconic {

// One client's part of a closing round. `round` is the one it was made for: the closing one, or with staleness up to
// that many before it.
struct RoundUpdate {
  uint32_t client = 0;
  uint64_t round = 0;
  std::span<const std::byte> bytes;
};

// Implemented by who uses the server; called by the round machine, one call at a time.
//
// Deterministic: what it holds after Close follows from what it held before and from the updates, so that a server that
// was killed and makes its last closes again (Load, then Close with the same updates) holds the same bits. No draws but
// from seed and round, no clock, no arrival order.
class RoundWork {
 public:
  virtual ~RoundWork() = default;

  // Who is asked for an update in `round`: ascending. A pure function of the run and the round (earlier rounds are
  // asked for again). May be nobody: then Close follows at once, without updates.
  virtual std::vector<uint32_t> Participants(uint64_t round) const = 0;

  // What a participant of the open round `round` needs to make its update, when it last received the broadcast of round
  // known - 1 (0: none yet; known <= round). The same bytes whenever asked, also after a restart. Valid until the next
  // call of anything here.
  virtual absl::StatusOr<std::span<const std::byte>> Broadcast(uint64_t round, uint64_t known) = 0;

  // Whether `update` (untrusted bytes) may take part, entirely checked, without effect: an update that passes must not
  // make Close fail, one that was refused is refused again. The message of an error names what is wrong with it.
  virtual absl::Status Check(const RoundUpdate& update) const = 0;

  // Ends the open round `round` with `updates`, ascending by client, each client at most once; never empty where there
  // were participants. An error ends the run: nothing may have changed.
  virtual absl::Status Close(uint64_t round, std::span<const RoundUpdate> updates) = 0;

  // Everything that lasts from round to round. Load is called once, before anything else, if at all.
  virtual void Save(StateWriter& out) const = 0;
  virtual absl::Status Load(const StateReader& in) = 0;
};

}  // namespace laconic
