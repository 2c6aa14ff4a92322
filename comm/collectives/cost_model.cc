#include "laconic/comm/collectives/cost_model.h"

#include <bit>
#include <cmath>
#include <limits>

namespace laconic {

double EstimateSeconds(StrategyKind kind, const BucketFigures& bucket, int ranks, const LinkFigures& link) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const double n = ranks, d_bytes = 4.0 * static_cast<double>(bucket.elements);
  const double bytes_per_second = link.bits_per_second / 8;
  const double exchange = link.round_trip_seconds / 2;  // one message's way
  const double log2_n = std::bit_width(static_cast<unsigned>(ranks - 1));
  const double reduce_share = 2 * (n - 1) / n;
  const double encode = d_bytes / bucket.encode_bytes_per_second, decode = d_bytes / bucket.decode_bytes_per_second;
  switch (kind) {
    case StrategyKind::kDense:
      return reduce_share * d_bytes / bytes_per_second + (1 + 2 * log2_n) * exchange;
    case StrategyKind::kGather:
      if (!bucket.gather_bytes) return kInfinity;
      return (n - 1) * static_cast<double>(*bucket.gather_bytes) / bytes_per_second + 2 * exchange + encode +
             n * decode;
    case StrategyKind::kScatter:
      if (!bucket.scatter_bytes) return kInfinity;
      return reduce_share * static_cast<double>(*bucket.scatter_bytes) / bytes_per_second + 4 * exchange +
             encode * (1 + 1 / n) + 2 * decode;
    case StrategyKind::kLinear:
      if (!bucket.linear_floats) return kInfinity;
      return reduce_share * 4 * static_cast<double>(*bucket.linear_floats) / bytes_per_second +
             (1 + 2 * log2_n * bucket.linear_rounds) * exchange + encode + decode;
    case StrategyKind::kAuto:
    case StrategyKind::kHierarchical:
      break;
  }
  return kInfinity;
}

StrategyKind ChooseStrategy(const BucketFigures& bucket, int ranks, const LinkFigures& link, bool dense_allowed) {
  StrategyKind best = dense_allowed ? StrategyKind::kDense : StrategyKind::kGather;
  double best_seconds = EstimateSeconds(best, bucket, ranks, link);
  for (StrategyKind kind : {StrategyKind::kGather, StrategyKind::kScatter, StrategyKind::kLinear}) {
    const double penalty = kind == StrategyKind::kScatter ? kSecondCompressionPenalty : 1;
    const double seconds = penalty * EstimateSeconds(kind, bucket, ranks, link);
    if (seconds < best_seconds) {
      best = kind;
      best_seconds = seconds;
    }
  }
  return best;
}

}  // namespace laconic
