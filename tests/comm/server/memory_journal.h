// A journal in memory, for tests: what is written lies in a MemoryDisk, which outlives the server that wrote it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "laconic/comm/server/journal.h"

namespace laconic {

struct MemoryDisk {
  std::optional<RunInfo> run;
  std::map<uint32_t, uint64_t> incarnations;
  std::map<std::pair<uint64_t, uint32_t>, AcceptedUpdate> inbox;  // by (round, client)
  std::vector<ClosedRound> rounds;
  std::map<uint64_t, StateArchive> states;  // by how many rounds were closed
  Counters counters;

  // A write that failed though it may have arrived: found done by the next server, unless another write came after it.
  std::function<void(MemoryDisk&)> torn;
};

// Asked before each write what becomes of it.
enum class WriteFault { kNone, kFails, kFailsButMayHaveArrived };
using WriteFaults = std::function<WriteFault()>;

// disk: must outlive it. Opening it again is what happens after a crash.
std::unique_ptr<RoundJournal> MakeMemoryJournal(MemoryDisk* disk, WriteFaults faults = {});

}  // namespace laconic
