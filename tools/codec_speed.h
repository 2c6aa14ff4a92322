// How fast a codec is here, against what memory can do in the same seconds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "laconic/base/shape.h"
#include "laconic/compressors/compressor.h"
#include "tools/statistics.h"

namespace laconic::tools {

struct MeasureOptions {
  int repetitions = 7;  // of every operation, interleaved; medians count
  int warmup = 1;       // rotations before those
  int threads = 1;      // that work on the one tensor, memcpy's and read's too
  uint64_t seed = 1;
};

// Seconds of each repetition. One rotation runs every operation once, in this order, on buffers of the same kind, so
// that a slow moment of the machine strikes all of them.
struct CodecSpeed {
  std::vector<double> memcpy;           // of x into another array
  std::vector<double> read;             // sum over x
  std::vector<double> encode;           // Encode
  std::vector<double> decode_add;       // DecodeAdd onto an array of x's length
  std::vector<double> encode_residual;  // the sending side of a step with error feedback: error added, message formed,
                                        // encoded, residual left
  std::vector<double> session;  // linear codecs, else empty: the whole step of a LinearSession on one rank, both
                                // rounds, mean reconstructed, residual left
  uint64_t elements = 0;
  size_t body_bytes = 0;      // of x
  size_t session_bytes = 0;   // of a session's rounds of floats together; 0 where there is none
  double relative_error = 0;  // |x - C(x)| / |x|
  float sum = 0;              // what `read` computes

  // float32 bytes of x by the median of `seconds`; 0 where it is empty.
  double BytesPerSecond(std::span<const double> seconds) const;
};

// Measures `codec` on x as one tensor, on the calling thread and options.threads - 1 helpers.
//   x: shape.elements() floats, finite.   Takes four more arrays of that size and one of the largest body's.
// Errors: what the codec says of the shape or of x (InvalidArgument).
absl::StatusOr<CodecSpeed> MeasureCodec(const Compressor& codec, const Shape& shape, std::span<const float> x,
                                        const MeasureOptions& options);

}  // namespace laconic::tools
