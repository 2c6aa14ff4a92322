// Strategy scatter: two-phase compressed allreduce. Every tensor is cut into one shard per owner; all ranks are owners,
// or the first `owners` of them, the parameter-server pattern: with one owner, rank 0 is the central server.
//
//   phase 1  rank i encodes each shard of its message and sends shard j to its owner, rank j; the owner decodes and
//            averages, in rank order
//   phase 2  the owner re-encodes the average under an error control of its own and sends it to all; every rank decodes
//            every shard, the owner its own re-encoding too, so that all hold the same bits
//
//   wire: four Exchanges, two of headers; with all ranks as owners 2 (n-1)/n b bytes sent per rank, whatever n is. With
//   m owners each of them sends (n-1)/m b more than a rank that owns nothing, which sends b. Two compressions. Without
//   the owner's own error the second would be a bias that nothing corrects, and EControl stalls (docs/algorithms.md);
//   with it the invariant of shift methods is H + owner error = mean h. Owners may encode with a codec of their own,
//   and the direction in place of the mean (OwnerSends): then they alone keep H, each of its shard.
//
//   Ranks that do not take part in a step send no shards; owners always do their part. Where alpha = 1 what they encode
//   is the sum over those present, divided by all: the change of H itself, so that what an owner owes has one unit.
#include <algorithm>

#include "comm/collectives/participation.h"
#include "comm/collectives/strategies.h"
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/dense.h"

namespace laconic {
namespace {

// What `rank` owns of a tensor: nothing beyond the owners.
ShardRange OwnedBy(int rank, uint64_t elements, int owners) {
  return rank < owners ? ShardOf(elements, owners, rank, kShardAlignment) : ShardRange{elements, elements};
}

// parts[owner][slot], for the owners in [first, last).
//   codec: null for the slots' own.
std::vector<FramePart> Shards(std::span<const GradientSlot> bucket, int owners, int first, int last,
                              const Compressor* codec = nullptr) {
  std::vector<FramePart> parts;
  for (int owner = first; owner < last; ++owner) {
    for (const GradientSlot& slot : bucket) {
      parts.push_back({.part = static_cast<uint32_t>(owner),
                       .shape = Shape::Flat(OwnedBy(owner, slot.shape.elements(), owners).size()),
                       .codec = codec});
    }
  }
  return parts;
}

class ScatterStrategy final : public AllreduceStrategy {
 public:
  // owners: 1 to comm.size().
  ScatterStrategy(Communicator& comm, std::span<GradientSlot> bucket, int owners, const StrategySpec& spec,
                  const StrategyOptions& options)
      : options_(options),
        spec_(spec),
        ranks_(comm.size()),
        owners_(owners),
        own_(comm.rank()),
        slots_(bucket.size()),
        fingerprint_(BucketFingerprint(bucket, ToString(), options.bucket)),
        all_parts_(Shards(bucket, owners_, 0, owners_)),
        mean_parts_(Shards(bucket, owners_, 0, owners_, spec_.down.get())),
        outbox_(bucket, all_parts_),
        participation_(comm.size(), options.seed, bucket.front().control.options().participation),
        owner_outbox_(bucket,
                      Shards(bucket, owners_, std::min(own_, owners_), std::min(own_ + 1, owners_), spec_.down.get())),
        shard_inbox_(ranks_),
        mean_inbox_(ranks_),
        headers_(ranks_),
        body_bytes_(ranks_),
        sources_(slots_),
        bodies_(ranks_ * slots_),
        own_bodies_(owners_ * slots_),
        statuses_(ranks_ * slots_) {
    size_t sent_elements = 0;
    for (const GradientSlot& slot : bucket) {
      shard_means_.emplace_back(slot.owner.elements());
      if (slot.control.options().needs_sent()) sent_elements = std::max(sent_elements, slot.gradient.size());
    }
    sent_.resize(sent_elements);
    for (int rank = 0; rank < ranks_; ++rank) {
      if (rank == own_) continue;
      if (owns()) shard_inbox_[rank].resize(MaxFramesBytes(bucket, PartsOf(all_parts_, own_)));
      if (rank < owners_) mean_inbox_[rank].resize(MaxFramesBytes(bucket, PartsOf(mean_parts_, rank)));
    }
  }

  std::string ToString() const override {
    StrategySpec spec = spec_;
    spec.owners = owners_ < ranks_ ? owners_ : 0;
    return spec.ToString();
  }

  absl::Status Run(Communicator& comm, std::span<GradientSlot> bucket, const StepContext& step, float error_scale,
                   BucketResult& result) override {
    BucketHeader header{.fingerprint = fingerprint_, .step = step.step, .bucket = options_.bucket};
    absl::Status encoded;
    participation_.Draw(step.step);
    if (participation_.present(own_)) {
      Stopwatch encode(result.encode_seconds);
      encoded = EncodeFinite(bucket, options_.non_finite, header, result,
                             [&] { return EncodeShards(bucket, step, error_scale, result); });
    }
    for (int rank = 0; rank < ranks_; ++rank) body_bytes_[rank] = encoded.ok() ? ShardsFor(rank).size() : 0;
    comm.SetPhase({.name = "scatter header", .step = step.step, .tensor = bucket.front().name});
    LACONIC_RETURN_IF_ERROR(headers_.Run(comm, header, body_bytes_, encoded, bucket));
    result.non_finite = headers_.non_finite();
    if (result.non_finite) return absl::OkStatus();
    LACONIC_RETURN_IF_ERROR(participation_.CheckAbsent(headers_));
    comm.SetPhase({.name = "scatter shards", .step = step.step, .tensor = bucket.front().name});
    LACONIC_RETURN_IF_ERROR(headers_.ExchangeBodies(comm, shard_inbox_, [this](int to) { return ShardsFor(to); }));

    // The owner's part can fail on one rank alone (a bad payload, an overflow), so the second header says so to all.
    absl::Status averaged;
    {
      Stopwatch decode(result.decode_seconds);
      averaged = AverageOwnShards(bucket, step);
    }
    if (averaged.ok()) {
      Stopwatch encode(result.encode_seconds);
      averaged = EncodeOwnShards(bucket, step, error_scale, result);
    }
    header.fingerprint = ~fingerprint_;
    std::fill(body_bytes_.begin(), body_bytes_.end(), averaged.ok() ? OwnMeans().size() : 0);
    comm.SetPhase({.name = "scatter mean header", .step = step.step, .tensor = bucket.front().name});
    LACONIC_RETURN_IF_ERROR(headers_.Run(comm, header, body_bytes_, averaged, bucket));
    comm.SetPhase({.name = "scatter means", .step = step.step, .tensor = bucket.front().name});
    LACONIC_RETURN_IF_ERROR(headers_.ExchangeBodies(comm, mean_inbox_, [this](int) { return OwnMeans(); }));
    Stopwatch decode(result.decode_seconds);
    return DecodeMeans(bucket, step);
  }

  void Commit(std::span<GradientSlot> bucket) override {
    for (size_t slot = 0; slot < slots_; ++slot) {
      GradientSlot& tensor = bucket[slot];
      if (participation_.present(own_)) CommitControl(tensor, slot);
      tensor.owner.Commit(shard_means_[slot], {});
      tensor.control.Direction(tensor.direction);
    }
  }

 private:
  void CommitControl(GradientSlot& tensor, size_t slot) {
    std::span<float> sent;
    if (tensor.control.options().needs_sent()) {  // what this rank's own bytes, of all shards, decode to
      sent = std::span(sent_).first(tensor.gradient.size());
      std::fill(sent.begin(), sent.end(), 0.0f);
      for (int owner = 0; owner < owners_; ++owner) {
        // Sealed here in this step, from a tensor of this shape: it cannot fail.
        tensor.codec->DecodeAdd(own_bodies_[owner * slots_ + slot], PartShape(owner, slot), 1.0f, Shard(sent, owner))
            .IgnoreError();
      }
    }
    tensor.control.Commit(tensor.gradient, sent);
  }

  bool owns() const { return own_ < owners_; }
  const Shape& PartShape(int owner, size_t slot) const { return all_parts_[owner * slots_ + slot].shape; }
  std::span<float> Shard(std::span<float> tensor, int owner) const {
    const ShardRange range = OwnedBy(owner, tensor.size(), owners_);
    return tensor.subspan(range.begin, range.size());
  }
  // Phase 1's message to `rank`, phase 2's to everybody: empty where the receiver, or this rank, owns nothing.
  std::span<const std::byte> ShardsFor(int rank) const {
    return rank < owners_ && participation_.present(own_) ? outbox_.message(rank) : std::span<const std::byte>();
  }
  std::span<const std::byte> OwnMeans() const {
    return owns() ? owner_outbox_.message(0) : std::span<const std::byte>();
  }
  RngKey Key(const StepContext& step) const {
    return {.seed = options_.seed, .step = step.step, .rank = static_cast<uint32_t>(own_)};
  }

  absl::Status EncodeShards(std::span<GradientSlot> bucket, const StepContext& step, float error_scale,
                            BucketResult& result) {
    for (size_t slot = 0; slot < slots_; ++slot) {
      sources_[slot] = SourceOf(bucket[slot].control, bucket[slot].gradient, error_scale, options_.measure_error);
    }
    const FrameOutbox::EncodeJob job{.step = step.step, .key = Key(step), .measure = options_.measure_error};
    LACONIC_RETURN_IF_ERROR(outbox_.Encode(
        bucket, job,
        [&](size_t destination, size_t slot) {
          const FrameOutbox::Source& whole = sources_[slot];
          const ShardRange range = OwnedBy(static_cast<int>(destination), whole.message.size(), owners_);
          return FrameOutbox::Source{
              .message = whole.message.Slice(range.begin, range.size()),
              .residual = whole.residual.empty() ? whole.residual : whole.residual.subspan(range.begin, range.size())};
        },
        options_.pool, result));
    for (int owner = 0; owner < owners_; ++owner) {
      LACONIC_RETURN_IF_ERROR(OpenFrames(outbox_.message(owner), bucket, PartsOf(all_parts_, owner), step.step, own_,
                                         std::span(own_bodies_).subspan(owner * slots_, slots_)));
    }
    return absl::OkStatus();
  }

  std::span<const FramePart> PartsOf(std::span<const FramePart> parts, int owner) const {
    return parts.subspan(owner * slots_, slots_);
  }

  // shard_means_ <- mean over the ranks that take part of the own shard, ranks in order.
  absl::Status AverageOwnShards(std::span<GradientSlot> bucket, const StepContext& step) {
    if (!owns()) return absl::OkStatus();
    for (int rank = 0; rank < ranks_; ++rank) {
      if (!participation_.present(rank)) continue;
      const std::span<const std::byte> message =
          rank == own_ ? outbox_.message(own_)
                       : std::span<const std::byte>(shard_inbox_[rank]).first(headers_.body_bytes(rank));
      LACONIC_RETURN_IF_ERROR(OpenFrames(message, bucket, PartsOf(all_parts_, own_), step.step, rank,
                                         std::span(bodies_).subspan(rank * slots_, slots_)));
    }
    ForEach(options_.pool, slots_, [&](size_t slot) {
      const bool of_all = bucket[slot].control.options().alpha == 1;
      const float share = 1.0f / static_cast<float>(of_all ? ranks_ : std::max(1, participation_.count()));
      std::vector<float>& mean = shard_means_[slot];
      std::fill(mean.begin(), mean.end(), 0.0f);
      statuses_[slot] = absl::OkStatus();
      for (int rank = 0; rank < ranks_ && statuses_[slot].ok(); ++rank) {
        if (!participation_.present(rank)) continue;
        statuses_[slot] =
            NamePeer(bucket[slot].codec->DecodeAdd(bodies_[rank * slots_ + slot], PartShape(own_, slot), share, mean),
                     bucket[slot].name, rank);
      }
    });
    return FirstError(slots_);
  }

  absl::Status EncodeOwnShards(std::span<GradientSlot> bucket, const StepContext& step, float error_scale,
                               BucketResult& result) {
    const FrameOutbox::EncodeJob job{.step = step.step, .key = Key(step), .stream_base = kOwnerStream};
    return owner_outbox_.Encode(
        bucket, job,
        [&](size_t, size_t slot) {
          return SourceOf(bucket[slot].owner, shard_means_[slot], error_scale, /*wants_residual=*/false);
        },
        options_.pool, result);
  }

  // direction <- what all owners sent.
  absl::Status DecodeMeans(std::span<GradientSlot> bucket, const StepContext& step) {
    for (int owner = 0; owner < owners_; ++owner) {
      const std::span<const std::byte> message =
          owner == own_ ? OwnMeans() : std::span<const std::byte>(mean_inbox_[owner]).first(headers_.body_bytes(owner));
      LACONIC_RETURN_IF_ERROR(OpenFrames(message, bucket, PartsOf(mean_parts_, owner), step.step, owner,
                                         std::span(bodies_).subspan(owner * slots_, slots_)));
    }
    ForEach(options_.pool, owners_ * slots_, [&](size_t item) {
      const int owner = static_cast<int>(item / slots_);
      const size_t slot = item % slots_;
      const std::span<float> shard = Shard(bucket[slot].direction, owner);
      std::fill(shard.begin(), shard.end(), 0.0f);
      const FramePart& part = mean_parts_[item];
      statuses_[item] = NamePeer(part.CodecOf(bucket[slot]).DecodeAdd(bodies_[item], part.shape, 1.0f, shard),
                                 bucket[slot].name, owner);
    });
    return FirstError(owners_ * slots_);
  }

  absl::Status FirstError(size_t count) const {
    for (size_t i = 0; i < count; ++i) LACONIC_RETURN_IF_ERROR(statuses_[i]);
    return absl::OkStatus();
  }

  const StrategyOptions options_;
  const StrategySpec spec_;
  const int ranks_, owners_, own_;
  const size_t slots_;
  const uint64_t fingerprint_;
  const std::vector<FramePart> all_parts_;   // [owner][slot], of phase 1
  const std::vector<FramePart> mean_parts_;  // the same of phase 2
  FrameOutbox outbox_;                       // phase 1: one message per owner
  Participation participation_;
  FrameOutbox owner_outbox_;  // phase 2: what goes out of the own shards; nothing where none are owned
  std::vector<std::vector<std::byte>> shard_inbox_, mean_inbox_;
  HeaderExchange headers_;
  std::vector<uint64_t> body_bytes_;
  std::vector<FrameOutbox::Source> sources_;            // [slot], of the step
  std::vector<std::span<const std::byte>> bodies_;      // [rank][slot]
  std::vector<std::span<const std::byte>> own_bodies_;  // [owner][slot], of phase 1
  std::vector<absl::Status> statuses_;
  std::vector<std::vector<float>> shard_means_;  // [slot]
  std::vector<float> sent_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AllreduceStrategy>> MakeScatterStrategy(const Pipeline& pipeline, Communicator& comm,
                                                                       std::span<GradientSlot> bucket,
                                                                       const StrategyOptions& options) {
  if (comm.size() >= static_cast<int>(kOwnerStream)) {
    return absl::InvalidArgumentError(
        fmt::format("scatter takes up to {} ranks, not {}", kOwnerStream - 1, comm.size()));
  }
  if (pipeline.strategy.owners < 0 || pipeline.strategy.owners > comm.size()) {
    return absl::InvalidArgumentError(
        fmt::format("scatter(owners={}) on {} ranks: owners are ranks", pipeline.strategy.owners, comm.size()));
  }
  const int owners = pipeline.strategy.owners == 0 ? comm.size() : pipeline.strategy.owners;
  auto largest_shard = [&](const GradientSlot& slot) {
    return Shape::Flat(OwnedBy(0, slot.shape.elements(), owners).size());
  };
  LACONIC_RETURN_IF_ERROR(
      Annotate(SizeControls(pipeline, bucket, largest_shard), "scatter cuts tensors into flat shards"));
  for (GradientSlot& slot : bucket) {
    const ShardRange own = OwnedBy(comm.rank(), slot.shape.elements(), owners);
    const Compressor& down = pipeline.strategy.down != nullptr ? *pipeline.strategy.down : *slot.codec;
    LACONIC_RETURN_IF_ERROR(Annotate(down.Supports(largest_shard(slot)), "tensor " + slot.name));
    const Traits traits = down.traits(largest_shard(slot));
    ControlOptions control = slot.control.options();
    LACONIC_RETURN_IF_ERROR(CheckOwner(control, traits, down.ToString()));
    slot.owner = ErrorControl(OwnerControl(control, traits, pipeline.strategy.reply), own.size());
    if (pipeline.strategy.reply == OwnerSends::kDirection && control.keeps_shift()) {
      control.averages_shifts = false;
      slot.control = ErrorControl(control, slot.shape.elements());
    }
    slot.owner_begin = own.begin;
  }
  return std::make_unique<ScatterStrategy>(comm, bucket, owners, pipeline.strategy, options);
}

}  // namespace laconic
