// How the tensors of one bucket become their mean over ranks: the common interface of dense, gather, scatter, linear, hierarchical.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/base/shape.h"
#include "laconic/base/state.h"
#include "laconic/comm/communicator.h"
#include "laconic/compressors/compressor.h"
#include "laconic/compressors/error_control.h"

namespace laconic {

// One optimizer step, as every rank sees it alike.
struct StepContext {
  uint64_t step = 0;
  double learning_rate = 1;
};

}  // namespace laconic
