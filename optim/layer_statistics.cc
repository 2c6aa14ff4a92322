#include "optim/layer_statistics.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>

#include "laconic/base/status.h"
#include "laconic/compressors/payload.h"

namespace laconic {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kTimedCalls = 3;  // the fastest counts: whatever else runs only ever adds time
constexpr int kWarmSteps = 3;   // PowerSGD's error has settled after as many on one matrix (Vogels et al. 2019)

double SecondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

double SquaredNorm(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return sum;
}

}  // namespace

absl::StatusOr<LevelFigures> CodecProbe::Measure(const Compressor& codec, StrategyKind kind, const Shape& shape,
                                                 std::span<const float> x, const RngKey& key, bool timed) {
  residual_.resize(std::max(residual_.size(), x.size()));
  decoded_.resize(std::max(decoded_.size(), x.size()));
  if (kind != StrategyKind::kLinear) return MeasureBytes(codec, shape, x, key, timed);
  const std::unique_ptr<LinearSession> session = codec.NewLinearSession(shape, key.Shared());
  if (session == nullptr) return absl::InvalidArgumentError(codec.ToString() + " is not linear");
  return MeasureSession(*session, x, key, timed);
}

absl::StatusOr<LevelFigures> CodecProbe::MeasureBytes(const Compressor& codec, const Shape& shape,
                                                      std::span<const float> x, const RngKey& key, bool timed) {
  body_.resize(std::max(body_.size(), codec.MaxBodyBytes(shape)));
  const std::span<float> residual = std::span(residual_).first(x.size());
  LevelFigures figures;
  size_t body_bytes = 0;
  double encode = std::numeric_limits<double>::infinity(), decode = encode;
  for (int call = 0; call < (timed ? kTimedCalls : 1); ++call) {
    const Clock::time_point begin = Clock::now();
    LACONIC_ASSIGN_OR_RETURN(body_bytes, codec.EncodeResidual(x, shape, key, residual, body_));
    encode = std::min(encode, SecondsSince(begin));
  }
  figures.bytes = static_cast<double>(kPayloadHeaderBytes + body_bytes);
  figures.squared_error = SquaredNorm(residual);
  if (!timed) return figures;
  const std::span<float> decoded = std::span(decoded_).first(x.size());
  std::fill(decoded.begin(), decoded.end(), 0.0f);
  for (int call = 0; call < kTimedCalls; ++call) {
    const Clock::time_point begin = Clock::now();
    LACONIC_RETURN_IF_ERROR(codec.DecodeAdd(std::span(body_).first(body_bytes), shape, 1.0f, decoded));
    decode = std::min(decode, SecondsSince(begin));
  }
  figures.encode_seconds = encode;
  figures.decode_seconds = decode;
  return figures;
}

absl::StatusOr<LevelFigures> CodecProbe::MeasureSession(LinearSession& session, std::span<const float> x,
                                                        const RngKey& key, bool timed) {
  const std::span<float> residual = std::span(residual_).first(x.size());
  const std::span<float> mean = std::span(decoded_).first(x.size());
  LevelFigures figures;
  for (int round = 0; round < session.rounds(); ++round) {
    figures.bytes += 4.0 * static_cast<double>(session.RoundFloats(round));
    round_.resize(std::max(round_.size(), session.RoundFloats(round)));
  }
  double fastest = std::numeric_limits<double>::infinity();
  for (int step = 0; step < kWarmSteps; ++step) {
    const Clock::time_point begin = Clock::now();
    session.Begin(key.Shared(), residual);
    for (int round = 0; round < session.rounds(); ++round) {
      const std::span<float> floats = std::span(round_).first(session.RoundFloats(round));
      LACONIC_RETURN_IF_ERROR(session.Produce(round, x, floats));
      LACONIC_RETURN_IF_ERROR(session.Consume(round, floats));
    }
    session.Reconstruct(mean);
    session.Commit();
    fastest = std::min(fastest, SecondsSince(begin));
  }
  figures.squared_error = SquaredNorm(residual);
  if (timed) figures.encode_seconds = fastest;
  return figures;
}

}  // namespace laconic
