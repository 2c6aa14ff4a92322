// What a parameter server has counted since its run began, across restarts as of the last closed round.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace laconic {

// Events, unless a name says bytes or microseconds. Only ever grow.
enum class Counter : uint8_t {
  kRegistrations,  // new incarnations, the first of each client included
  kPulls,
  kPulledBytes,
  kAccepted,  // updates that count, each (round, client) once
  kAcceptedBytes,
  kDuplicates,       // pushes and admissions of what was accepted already, answered without effect
  kLate,             // pushes and admissions for a round that was closed, answered without effect
  kBusy,             // admissions put off for want of room
  kRefusedStranger,  // another run, no such client, not registered
  kRefusedReplaced,  // an incarnation that a newer one has replaced: the zombie that returns
  kRefusedUnasked,   // a round that is not open yet, a client that is no participant of it, a round it is past
  kRefusedDigest,    // another update for a (round, client) that was accepted
  kRefusedSize,
  kRefusedContent,     // RoundWork::Check said no
  kBrokenUploads,      // other bytes than were admitted, or cancelled
  kExpiredUploads,     // took longer than the rules allow
  kRounds,             // closed
  kRoundMicroseconds,  // from opening to close, summed
  kExtensions,         // deadlines passed without a quorum
  kJournalErrors,      // writes that failed; nothing was acknowledged for them
  kCount,              // not one: how many there are
};

// "accepted_bytes": unique, lower case, the name of a metric and of a row of the journal.
std::string_view CounterName(Counter counter);
std::optional<Counter> CounterNamed(std::string_view name);

// A value type.
class Counters {
 public:
  uint64_t operator[](Counter counter) const { return values_[static_cast<size_t>(counter)]; }
  uint64_t& operator[](Counter counter) { return values_[static_cast<size_t>(counter)]; }
  bool operator==(const Counters&) const = default;

 private:
  std::array<uint64_t, static_cast<size_t>(Counter::kCount)> values_{};
};

// f(Counter) for each counter, in order.
template <typename F>
void ForEachCounter(F&& f) {
  for (size_t i = 0; i < static_cast<size_t>(Counter::kCount); ++i) f(static_cast<Counter>(i));
}

}  // namespace laconic
