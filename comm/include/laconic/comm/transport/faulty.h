// Faults on a schedule, for tests.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "laconic/comm/transport/transport.h"

namespace laconic {

struct Fault {
  enum class Kind {
    kDrop,      // the message is never sent; the receiver sees silence
    kTruncate,  // `amount` bytes are cut off its end
    kFlip,      // bit `amount` (modulo the length) is inverted
    kDelay,     // it is sent `delay` late
    kAbort,     // this rank aborts instead of taking part
  };
  Kind kind = Kind::kDrop;
  uint64_t exchange = 0;  // the own Exchange call it strikes, counted from 0 over the transport and its subgroups
  int to = -1;            // only messages to this rank; -1: all of that call
  uint64_t amount = 1;
  absl::Duration delay = absl::ZeroDuration();
};

// `schedule` strikes what this rank sends, also through subgroups and duplicates of the transport. A delayed message
// holds up those behind it to the same rank; the others of its Exchange go out at once. Ranks of one group may have
// different schedules, or none.
std::unique_ptr<Transport> MakeFaultyTransport(std::unique_ptr<Transport> inner, std::vector<Fault> schedule);

}  // namespace laconic
