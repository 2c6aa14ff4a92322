// A codec whose work takes modelled time: what a simulator needs, whose clock stands still while a program computes.
#pragma once

#include <functional>
#include <memory>

#include "laconic/compressors/compressor.h"

namespace laconic::tools {

// What a codec achieves on one core, float32 bytes of the tensor per second (`laconic bench codec` measures it).
struct CodecRates {
  double encode_bytes_per_second = 0;  // EncodeResidual, error feedback included
  double decode_bytes_per_second = 0;  // DecodeAdd
};

// `inner`, which calls spend(seconds) after each Encode, EncodeResidual and DecodeAdd, and after the matching calls of
// its linear sessions (a round's product counts as half of an encode, the reconstruction as a decode).
std::shared_ptr<const Compressor> MakeTimedCodec(std::shared_ptr<const Compressor> inner, const CodecRates& rates,
                                                 std::function<void(double seconds)> spend);

}  // namespace laconic::tools
