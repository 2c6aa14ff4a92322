#include "tools/codec/evaluate.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "laconic/base/status.h"
#include "laconic/compressors/payload.h"

namespace laconic::tools {
namespace {

// With which a broken promise is told from bad luck (Maurer and Pontil 2009, Theorem 4: the empirical Bernstein bound).
constexpr double kConfidence = 0.999;

double SquaredNorm(std::span<const float> x) {
  double sum = 0;
  for (float value : x) sum += static_cast<double>(value) * value;
  return sum;
}

// error_after_rounds and owed of `result`.
absl::Status RunRounds(const Pipeline& pipeline, const Shape& shape, std::span<const float> x,
                       const EvaluateOptions& options, double norm2, Evaluation& result) {
  const Compressor& codec = *pipeline.codec;
  LACONIC_ASSIGN_OR_RETURN(const ControlOptions control_options,
                           ResolveControl(pipeline.control, codec.traits(shape), codec.ToString()));
  ErrorControl control(control_options, x.size());
  std::vector<std::byte> body(codec.MaxBodyBytes(shape));
  std::vector<float> sent(x.size()), direction(x.size());
  std::vector<double> sum(x.size());
  for (int round = 0; round < options.rounds; ++round) {
    const RngKey key{.seed = options.seed, .step = static_cast<uint64_t>(round)};
    const Message message = control.Prepare(x);
    LACONIC_ASSIGN_OR_RETURN(const size_t bytes, codec.EncodeResidual(message, shape, key, control.residual(), body));
    std::fill(sent.begin(), sent.end(), 0.0f);
    LACONIC_RETURN_IF_ERROR(codec.DecodeAdd(std::span(body).first(bytes), shape, 1.0f, sent));
    control.Commit(x, sent);
    direction = sent;  // one rank: the mean is what it sent
    control.Direction(direction);
    for (size_t i = 0; i < x.size(); ++i) sum[i] += direction[i];
  }
  double distance2 = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double difference = sum[i] / options.rounds - x[i];
    distance2 += difference * difference;
  }
  if (norm2 == 0) return absl::OkStatus();
  result.error_after_rounds = std::sqrt(distance2 / norm2);
  result.owed = std::sqrt(SquaredNorm(control.error()) / norm2);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Evaluation> Evaluate(const Pipeline& pipeline, const Shape& shape, std::span<const float> x,
                                    const EvaluateOptions& options) {
  const Compressor& codec = *pipeline.codec;
  LACONIC_RETURN_IF_ERROR(codec.Supports(shape));
  Evaluation result{.promised = codec.traits(shape)};
  const int draws = result.promised.deterministic ? 1 : options.draws;
  const double norm2 = SquaredNorm(x);
  std::vector<std::byte> body(codec.MaxBodyBytes(shape));
  std::vector<float> residual(x.size());
  double sum = 0, squares = 0, largest = 0, bytes = 0;  // of |x - C(x)|^2 / |x|^2
  for (int draw = 0; draw < draws; ++draw) {
    const RngKey key{.seed = options.seed, .step = static_cast<uint64_t>(draw)};
    LACONIC_ASSIGN_OR_RETURN(const size_t body_bytes, codec.EncodeResidual(x, shape, key, residual, body));
    const double error2 = norm2 > 0 ? SquaredNorm(residual) / norm2 : 0;
    sum += error2, squares += error2 * error2;
    largest = std::max(largest, error2);
    bytes += static_cast<double>(kPayloadHeaderBytes + body_bytes);
  }
  const double mean = sum / draws;
  // Rounding: every element of x - C(x) is rounded once, to 2^-24 of itself or of x; squared and summed, 2^-22 of the
  // whole.
  double slack = 0x1p-22;
  if (draws > 1) {
    const double variance = std::max(0.0, (squares - sum * mean) / (draws - 1));
    // Of one draw, whatever the codec: what was seen, |x|^2 for contractive ones, and omega^2 where one entry in 1 +
    // omega is kept, scaled up, and x has no other.
    const double range = std::max({largest, 1.0, std::pow(result.promised.omega.value_or(0), 2)});
    const double log_term = std::log(2 / (1 - kConfidence));
    slack += std::sqrt(2 * variance * log_term / draws) + 7 * range * log_term / (3 * (draws - 1));
  }
  result.wire_bytes = bytes / draws;
  result.bits_per_element = 8 * (result.wire_bytes - kPayloadHeaderBytes) / static_cast<double>(x.size());
  result.error = std::sqrt(mean);
  if (result.promised.delta) {
    result.measured_delta = 1 - mean;
    result.kept = result.kept && mean <= 1 - *result.promised.delta + slack;
  }
  if (result.promised.omega) {
    result.measured_omega = mean;
    result.kept = result.kept && mean <= *result.promised.omega + slack;
  }
  LACONIC_RETURN_IF_ERROR(RunRounds(pipeline, shape, x, options, norm2, result));
  return result;
}

}  // namespace laconic::tools
