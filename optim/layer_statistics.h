// What a tensor would lose and cost under a codec, measured on one rank with the codec itself.
#pragma once

#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "laconic/base/rng.h"
#include "laconic/comm/collectives/pipeline.h"
#include "laconic/compressors/compressor.h"

namespace laconic {

struct LevelFigures {
  double squared_error = 0;  // |x - C(x)|^2
  double bytes = 0;          // a payload with its frame; of a linear session: the floats of all rounds
  // Of one call on this rank; 0 unless timed. A session's rounds are all encoding.
  double encode_seconds = 0;
  double decode_seconds = 0;
};

// Memory for measuring, grown to the largest tensor. One thread at a time.
class CodecProbe {
 public:
  // Measures `codec` on x (shape.elements() floats, finite) as strategy `kind` would use it: through a linear session,
  // warmed up on x, or as bytes.  timed: calls are repeated and the fastest counts.
  // Errors: what the codec says.
  absl::StatusOr<LevelFigures> Measure(const Compressor& codec, StrategyKind kind, const Shape& shape,
                                       std::span<const float> x, const RngKey& key, bool timed);

 private:
  absl::StatusOr<LevelFigures> MeasureBytes(const Compressor& codec, const Shape& shape, std::span<const float> x,
                                            const RngKey& key, bool timed);
  absl::StatusOr<LevelFigures> MeasureSession(LinearSession& session, std::span<const float> x, const RngKey& key,
                                              bool timed);

  std::vector<std::byte> body_;
  std::vector<float> residual_, decoded_, round_;
};

}  // namespace laconic
