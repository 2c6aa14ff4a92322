// What takes part in a run of `laconic bench allreduce | allgather | ps`.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "laconic/comm/collectives/pipeline.h"
#include "tools/specs.h"

namespace laconic::tools {

enum class Pattern {
  kAllreduce,  // any strategy; the baseline is the dense allreduce
  kAllgather,  // strategy gather; the baseline gathers float32
  kPs,         // strategy scatter with few owners; the baseline is a server of float32
};

// A spec as it takes part in a run.
struct Contender {
  std::string spec;  // as asked
  Pipeline pipeline;
  bool baseline = false;
};

// A spec under `pattern`, with the strategy it takes there where it names none. InvalidArgument for a strategy that is
// not the pattern's.   owners: of kPs.
absl::StatusOr<Contender> MakeContender(Pattern pattern, const AskedPipeline& asked, int owners);
// The uncompressed one of the pattern.
absl::StatusOr<Contender> MakeBaseline(Pattern pattern, int owners);

}  // namespace laconic::tools
