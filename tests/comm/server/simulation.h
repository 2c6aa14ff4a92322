// Server, clients and network in virtual time: the real round machine behind a network that loses, repeats, delays and
// reorders messages and is cut in two, with crashes of both sides at any point and a disk that fails. Everything
// follows from a seed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "laconic/comm/server/counters.h"

namespace laconic {

// Faults of the code under test itself, which the checks must find: the simulation is worth what it catches.
enum class Mutation {
  kNone,
  kCommitBeforeAnswer,    // a client moves its state when it has sent the update
  kCommitWhenLate,        // or when it hears that it was too late
  kForgetAtRestart,       // a client that starts again drops what it was sending without asking
  kOtherUpdateOnRetry,    // a client makes its update anew for each attempt
  kAcknowledgeUnwritten,  // the journal says a write is done that is not
  kForgetIncarnations,    // the journal does not keep who replaced whom
  kStateWithoutModel,     // saved state is not all of it
};

struct SimulationResult {
  std::string violation;  // of what must hold; empty: none
  bool finished = false;  // all rounds are closed; else the run failed, `failure` says why
  std::string failure;
  // What the schedule had in it.
  Counters counters;  // of the server at the end
  uint64_t closed_rounds = 0, events = 0, server_crashes = 0, client_crashes = 0, zombies = 0, torn_writes = 0;
  uint64_t messages_lost = 0, messages_repeated = 0;
};

// trace: told what happens, line by line; may be empty.
SimulationResult Simulate(uint64_t seed, Mutation mutation = Mutation::kNone,
                          const std::function<void(std::string_view)>& trace = {});

}  // namespace laconic
