// What must hold of every codec, and of every codec under every error control it goes with, on this CPU.
#pragma once

#include <string>
#include <vector>

#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/error_control.h"

namespace laconic::tools {

struct Finding {
  std::string check;  // "promise", "residual", "round trip", "targets", "feedback"
  bool passed = true;
  std::string detail;  // what was measured, or the first thing that is wrong
};

// On normal, heavy-tailed, sparse, one-hot and constant tensors:
//   promise     delta and omega hold as inequalities, for random codecs as far as 1000 draws can tell; max_norm_delta,
//               where a codec claims nothing else
//   residual    EncodeResidual of g + e gives the bytes of Encode, and exactly m - decode
//   round trip  through a payload frame; decoding twice gives the same bits; a frame cut short is refused
//   targets     every instruction set this CPU can run decodes a body to the same bits
std::vector<Finding> CheckCodec(const Compressor& codec);

// Four ranks minimise a quadratic whose optimum no rank shares, each sending C(its message), under every control that
// goes with the codec:
//   owed        what was applied plus what is still owed is what there was to apply (error feedback)
//   feedback    the codec alone stalls at some distance; under the control it ends at a tenth of that at most, or below
//   what
//               float32 resolves. Error feedback, which stalls in proportion to its step: at half, and with codecs that
//               are unbiased or scaled so, whose mean goes right by itself, no farther than without.
struct ControlFinding {
  std::string control;
  Finding finding;
};
std::vector<ControlFinding> CheckFeedback(const Compressor& codec);

}  // namespace laconic::tools
