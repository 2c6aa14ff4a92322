// The equations of docs/plan.md. In the comments: n ranks, D = 4d bytes of gradient, b bytes of payload, one stream:
// D bytes read or written.
#include "laconic/comm/collectives/cost_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>

#include "comm/collectives/bucket_header.h"
#include "comm/collectives/strategies.h"
#include "laconic/comm/collectives/dense.h"
#include "laconic/compressors/payload.h"

namespace laconic {
namespace {

// May this pipeline's codec and control be scattered, as far as one tensor is concerned?
bool CanScatter(const Pipeline& pipeline, const Shape& shard) {
  if (!pipeline.codec->Supports(shard).ok()) return false;
  const absl::StatusOr<ControlOptions> control =
      ResolveControl(pipeline.control, pipeline.codec->traits(shard), pipeline.codec->ToString());
  const Compressor& down = pipeline.strategy.down != nullptr ? *pipeline.strategy.down : *pipeline.codec;
  return control.ok() && down.Supports(shard).ok() && CheckOwner(*control, down.traits(shard), down.ToString()).ok();
}

// Arrays that ErrorControl::Commit and Direction read or write (compressors/error_control.cc).
double ControlStreams(const ControlOptions& control) {
  double streams = 0;
  if (control.keeps_error() && control.eta != 1) streams += 3;  // e <- r + (1 - eta) e
  if (control.needs_sent()) streams += 1;                       // s cleared
  if (control.keeps_shift()) streams += 3 + 4;                  // h <- h + alpha s; d and H
  if (control.keeps_momentum()) streams += 3;                   // v <- a v + b g
  return streams;
}

// What a lossless stage leaves of a codec's body: on gradients bfloat16s take about 11.2 bits, halves 13.8, floats 27
// (docs/experiments.md); codes of quantisers four fifths, more or less.
double ShareLeft(const Compressor& codec, const Shape& shape) {
  const size_t body_bytes = codec.MaxBodyBytes(shape);
  const NumberSection numbers = codec.Numbers(body_bytes, shape);
  if (body_bytes == 0 || numbers.count == body_bytes) return 1;  // bytes of no particular meaning
  double saved = 0.2;                                            // a number, in bytes
  if (numbers.format == NumberFormat::kBf16) saved = (16 - 11.2) / 8;
  if (numbers.format == NumberFormat::kFp16) saved = (16 - 13.8) / 8;
  if (numbers.format == NumberFormat::kFp32) saved = (32 - 27.0) / 8;
  return 1 - saved * static_cast<double>(numbers.count) / static_cast<double>(body_bytes);
}

// Exchanges of a dense allreduce of that many bytes (dense.h, DenseAlgorithm).
double DenseExchanges(double bytes, int ranks) {
  constexpr double kMebibyte = 1 << 20;
  const bool folded = !std::has_single_bit(static_cast<unsigned>(ranks));
  if (bytes <= (folded ? kMebibyte / 64 : kMebibyte)) {
    return 2 * (std::bit_width(static_cast<unsigned>(ranks)) - 1) + (folded ? 2 : 0);
  }
  const double segments = bytes <= 16 * kMebibyte ? 1 : std::ceil(bytes / (kMebibyte * ranks));
  return 2 * (ranks - 1) * segments;
}

// One bucket's step as it goes along: the CPU works, or bytes are waited for.
class Timeline {
 public:
  Timeline(const BucketFigures& bucket, int ranks, const LinkFigures& link, const HostFigures& host)
      : bytes_(4.0 * static_cast<double>(bucket.elements)),
        ranks_(ranks),
        slowdown_(std::max(1.0, host.ranks_per_core)),
        stream_bytes_per_second_(2 * host.copy_bytes_per_second),
        latency_(link.round_trip_seconds / 2 + host.exchange_seconds),
        link_bytes_per_second_(link.efficiency * link.bits_per_second / 8),
        host_bytes_per_second_(host.transport_bytes_per_second),
        burst_seconds_(link.burst_bytes / link_bytes_per_second_),
        credit_seconds_(burst_seconds_) {}

  void Work(double seconds) {
    cost_.compute_seconds += slowdown_ * seconds;
    credit_seconds_ = std::min(burst_seconds_, credit_seconds_ + slowdown_ * seconds);
  }
  void Memory(double bytes) { Work(bytes / stream_bytes_per_second_); }
  void Streams(double count) { Memory(count * bytes_); }
  // `share` of the gradient at a codec's speed.
  void Codec(double share, double bytes_per_second) { Work(share * bytes_ / bytes_per_second); }
  // XXH3 over a payload reads it once.
  void Hash(double payload_bytes) { Memory(payload_bytes); }

  // Bytes that the busiest rank sends and gets at the same time.
  void Transfer(double sent, double received, double exchanges) {
    Transfer(sent, received, exchanges, host_bytes_per_second_);
  }
  void Transfer(double sent, double received, double exchanges, double host_bytes_per_second) {
    if (ranks_ == 1) return;
    const double bytes = std::max(sent, received);
    const double on_link = bytes / link_bytes_per_second_;
    const double at_once = std::min(credit_seconds_, on_link);
    credit_seconds_ -= at_once;
    cost_.exchange_seconds += std::max(on_link - at_once, bytes / host_bytes_per_second) + exchanges * latency_;
    cost_.wire_bytes += static_cast<uint64_t>(std::llround(sent));
  }
  void Headers() {
    const double bytes = (ranks_ - 1.0) * sizeof(BucketHeader);
    Transfer(bytes, bytes, 1);
  }

  // The mean of `bytes` over ranks, uncompressed.
  void Allreduce(double bytes, const std::optional<double>& unlimited_bytes_per_second) {
    const double n = ranks_;
    const double sent = 2 * (n - 1) / n * bytes;
    if (unlimited_bytes_per_second) {
      Transfer(sent, sent, DenseExchanges(bytes, ranks_), *unlimited_bytes_per_second * 2 * (n - 1) / n);
      return;
    }
    Transfer(sent / 2, sent / 2, DenseExchanges(bytes, ranks_) / 2);
    Memory(((n - 1) / n * 3 + 1 / n * 2) * bytes);  // chunks added, the own one divided by n
    Transfer(sent / 2, sent / 2, DenseExchanges(bytes, ranks_) / 2);
  }

  const CostEstimate& cost() const { return cost_; }

 private:
  const double bytes_;  // D
  const int ranks_;
  const double slowdown_, stream_bytes_per_second_, latency_;
  const double link_bytes_per_second_, host_bytes_per_second_, burst_seconds_;
  double credit_seconds_;  // of the token bucket, full when the step begins
  CostEstimate cost_;
};

}  // namespace

BucketFigures FiguresOf(const Pipeline& pipeline, std::span<const Shape> tensors, int ranks,
                        std::optional<double> body_share) {
  const Compressor& codec = *pipeline.codec;
  BucketFigures figures{.gather_bytes = 0, .scatter_bytes = 0, .linear_floats = 0};
  const auto frame_bytes = [&](const Shape& shape) {
    const double share = body_share.value_or(pipeline.has_entropy() ? ShareLeft(*pipeline.plain_codec, shape) : 1);
    return kPayloadHeaderBytes +
           static_cast<uint64_t>(std::llround(share * static_cast<double>(codec.MaxBodyBytes(shape))));
  };
  double plain_bytes = 0;  // what a lossless stage works on
  const int owners = pipeline.strategy.owners > 0 ? std::min(pipeline.strategy.owners, ranks) : ranks;
  figures.scatter_owners = owners < ranks ? owners : 0;
  for (const Shape& shape : tensors) {
    figures.elements += shape.elements();
    if (pipeline.has_entropy()) plain_bytes += static_cast<double>(pipeline.plain_codec->MaxBodyBytes(shape));
    if (!codec.Supports(shape).ok()) figures.gather_bytes.reset();
    if (figures.gather_bytes) *figures.gather_bytes += frame_bytes(shape);
    std::optional<uint64_t> shard_elements, shard_bytes;  // of the last owner looked at: most shards are alike
    for (int owner = 0; owner < owners && figures.scatter_bytes; ++owner) {
      const Shape shard = Shape::Flat(ShardOf(shape.elements(), owners, owner, kShardAlignment).size());
      if (shard_elements != shard.elements()) {
        shard_elements = shard.elements();
        shard_bytes = CanScatter(pipeline, shard) ? std::optional(frame_bytes(shard)) : std::nullopt;
      }
      figures.scatter_bytes = shard_bytes ? std::optional(*figures.scatter_bytes + *shard_bytes) : std::nullopt;
    }
    const std::unique_ptr<LinearSession> session = codec.NewLinearSession(shape, RngKey{}.Shared());
    if (session == nullptr) figures.linear_floats.reset();
    if (figures.linear_floats) {
      figures.linear_rounds = std::max(figures.linear_rounds, session->rounds());
      for (int round = 0; round < session->rounds(); ++round) *figures.linear_floats += session->RoundFloats(round);
    }
    const absl::StatusOr<ControlOptions> control =
        ResolveControl(pipeline.control, codec.traits(shape), codec.ToString());
    if (control.ok()) {
      figures.control_streams = ControlStreams(*control);
      figures.decodes_own = control->needs_sent();
      if (control->participation < 1) figures.linear_floats.reset();
    }
  }
  if (plain_bytes > 0) {
    const double bytes = 4.0 * static_cast<double>(figures.elements);
    const auto with_stage = [&](double& rate, double stage_rate) {
      rate = bytes / (bytes / rate + plain_bytes / stage_rate);
    };
    with_stage(figures.encode_bytes_per_second, kEntropyEncodeBytesPerSecond);
    with_stage(figures.decode_bytes_per_second, kEntropyDecodeBytesPerSecond);
  }
  return figures;
}

std::optional<CostEstimate> EstimateCost(StrategyKind kind, const BucketFigures& bucket, int ranks,
                                         const LinkFigures& link, const HostFigures& host) {
  Timeline step(bucket, ranks, link, host);
  const double n = ranks;
  const double encode = bucket.encode_bytes_per_second, decode = bucket.decode_bytes_per_second;
  step.Streams(1);  // is every gradient finite?
  switch (kind) {
    case StrategyKind::kDense:
      step.Streams(2);  // the gradient becomes the direction's first value
      step.Headers();
      step.Allreduce(4.0 * static_cast<double>(bucket.elements), host.dense_bytes_per_second);
      return step.cost();
    case StrategyKind::kGather: {
      if (!bucket.gather_bytes) return std::nullopt;
      const double b = static_cast<double>(*bucket.gather_bytes);
      step.Codec(1, encode);
      step.Hash(b);
      step.Headers();
      step.Transfer((n - 1) * b, (n - 1) * b, 1);
      step.Hash(n * b);
      step.Streams(1);  // directions cleared
      step.Codec(n, decode);
      break;
    }
    case StrategyKind::kScatter: {
      if (!bucket.scatter_bytes) return std::nullopt;
      const double b = static_cast<double>(*bucket.scatter_bytes);
      const double m = bucket.scatter_owners > 0 ? bucket.scatter_owners : n;
      // An owner's part: its shard to or from every other rank, and the other owners' shards the other way.
      const double own = (n - 1) / m * b, others = (m - 1) / m * b;
      step.Codec(1, encode);
      step.Hash(2 * b);  // sealed, and opened again for error control
      step.Headers();
      step.Transfer(others, own, 1);
      step.Hash(n / m * b);
      step.Streams(1 / m);
      step.Codec(n / m, decode);  // n shards of d/m
      step.Codec(1 / m, encode);  // their mean
      step.Hash(b / m);
      step.Headers();
      step.Transfer(own, others, 1);
      step.Hash(b);
      step.Streams(1);
      step.Codec(1, decode);
      break;
    }
    case StrategyKind::kLinear: {
      if (!bucket.linear_floats) return std::nullopt;
      step.Codec(0.5, bucket.session_bytes_per_second);
      step.Headers();
      const double rounds = std::max(1, bucket.linear_rounds);
      for (int round = 0; round < bucket.linear_rounds; ++round) {
        step.Allreduce(4.0 * static_cast<double>(*bucket.linear_floats) / rounds, std::nullopt);
      }
      step.Codec(0.5, bucket.session_bytes_per_second);
      break;
    }
    case StrategyKind::kAuto:
    case StrategyKind::kHierarchical:
      return std::nullopt;
  }
  if (bucket.decodes_own) step.Codec(1, decode);
  step.Streams(bucket.control_streams);
  return step.cost();
}

double EstimateSeconds(StrategyKind kind, const BucketFigures& bucket, int ranks, const LinkFigures& link,
                       const HostFigures& host) {
  const std::optional<CostEstimate> cost = EstimateCost(kind, bucket, ranks, link, host);
  return cost ? cost->seconds() : std::numeric_limits<double>::infinity();
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

bool EntropyPays(const Pipeline& pipeline, std::span<const Shape> tensors, int ranks, const LinkFigures& link) {
  if (!pipeline.has_entropy()) return false;
  const StrategySpec& strategy = pipeline.strategy;
  if (strategy.kind == StrategyKind::kHierarchical) return true;
  const auto kind_for = [&](const BucketFigures& figures) {
    return strategy.kind == StrategyKind::kAuto ? ChooseStrategy(figures, ranks, link, strategy.dense_allowed)
                                                : strategy.kind;
  };
  const BucketFigures coded = FiguresOf(pipeline, tensors, ranks);
  const BucketFigures plain = FiguresOf(pipeline.WithoutEntropy(), tensors, ranks);
  const StrategyKind kind = kind_for(coded);
  if (kind == StrategyKind::kDense || kind == StrategyKind::kLinear) return false;
  return EstimateSeconds(kind, coded, ranks, link) < EstimateSeconds(kind_for(plain), plain, ranks, link);
}

}  // namespace laconic
