// Strategy gather: every rank's payload goes to every rank, and each decodes all of them in rank order, its own
// included.
//
//   wire: one Exchange of headers, one of bodies; (n-1) b bytes sent per rank.   memory: n payloads.
//   One compression per rank and step; the mean is exact in what was sent. Cost grows with n: a top-k of ratio r meets
//   the dense ring at about n = 1/r ranks. Ranks that do not take part in a step send a header only.
#include <algorithm>

#include "comm/collectives/participation.h"
#include "comm/collectives/strategies.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

class GatherStrategy final : public AllreduceStrategy {
 public:
  GatherStrategy(Communicator& comm, std::span<GradientSlot> bucket, const StrategyOptions& options)
      : options_(options),
        fingerprint_(BucketFingerprint(bucket, "gather", options.bucket)),
        parts_(WholeTensors(bucket)),
        outbox_(bucket, parts_),
        inbox_(comm.size()),
        participation_(comm.size(), options.seed, bucket.front().control.options().participation),
        own_(comm.rank()),
        headers_(comm.size()),
        body_bytes_(comm.size()),
        bodies_(comm.size() * bucket.size()),
        statuses_(bucket.size()) {
    size_t sent_elements = 0;
    for (const GradientSlot& slot : bucket) {
      if (slot.control.options().needs_sent()) sent_elements = std::max(sent_elements, slot.gradient.size());
    }
    sent_.resize(sent_elements);
    for (int rank = 0; rank < comm.size(); ++rank) {
      if (rank != comm.rank()) inbox_[rank].resize(outbox_.max_message_bytes());
    }
  }

  std::string ToString() const override { return "gather"; }

  absl::Status Run(Communicator& comm, std::span<GradientSlot> bucket, const StepContext& step, float error_scale,
                   BucketResult& result) override {
    BucketHeader header{.fingerprint = fingerprint_, .step = step.step, .bucket = options_.bucket};
    absl::Status encoded;
    participation_.Draw(step.step);
    const bool takes_part = participation_.present(own_);
    if (takes_part) {
      Stopwatch encode(result.encode_seconds);
      encoded = EncodeFinite(bucket, options_.non_finite, header, result,
                             [&] { return Encode(comm, bucket, step, error_scale, result); });
    }
    std::fill(body_bytes_.begin(), body_bytes_.end(), encoded.ok() && takes_part ? outbox_.message(0).size() : 0);
    comm.SetPhase({.name = "gather header", .step = step.step, .tensor = bucket.front().name});
    LACONIC_RETURN_IF_ERROR(headers_.Run(comm, header, body_bytes_, encoded, bucket));
    result.non_finite = headers_.non_finite();
    if (result.non_finite) return absl::OkStatus();
    LACONIC_RETURN_IF_ERROR(participation_.CheckAbsent(headers_));

    comm.SetPhase({.name = "gather bodies", .step = step.step, .tensor = bucket.front().name});
    LACONIC_RETURN_IF_ERROR(headers_.ExchangeBodies(
        comm, inbox_, [&](int) { return takes_part ? outbox_.message(0) : std::span<const std::byte>(); }));
    Stopwatch decode(result.decode_seconds);
    return Decode(comm, bucket, step);
  }

  void Commit(std::span<GradientSlot> bucket) override {
    for (size_t slot = 0; slot < bucket.size(); ++slot) {
      GradientSlot& tensor = bucket[slot];
      const auto share = static_cast<float>(participation_.share());
      if (!participation_.present(own_)) {
        tensor.control.Direction(tensor.direction, share);
        continue;
      }
      std::span<float> sent;
      if (tensor.control.options().needs_sent()) {  // what this rank's own bytes decode to
        sent = std::span(sent_).first(tensor.gradient.size());
        std::fill(sent.begin(), sent.end(), 0.0f);
        // Decoded once already, in Decode, so it cannot fail now.
        tensor.codec->DecodeAdd(own_bodies_[slot], tensor.shape, 1.0f, sent).IgnoreError();
      }
      tensor.control.Commit(tensor.gradient, sent);
      tensor.control.Direction(tensor.direction, share);
    }
  }

 private:
  static std::vector<FramePart> WholeTensors(std::span<const GradientSlot> bucket) {
    std::vector<FramePart> parts;
    for (const GradientSlot& slot : bucket) parts.push_back({.part = 0, .shape = slot.shape});
    return parts;
  }

  absl::Status Encode(Communicator& comm, std::span<GradientSlot> bucket, const StepContext& step, float error_scale,
                      BucketResult& result) {
    const FrameOutbox::EncodeJob job{
        .step = step.step,
        .key = {.seed = options_.seed, .step = step.step, .rank = static_cast<uint32_t>(comm.rank())},
        .measure = options_.measure_error};
    return outbox_.Encode(
        bucket, job,
        [&](size_t, size_t slot) {
          return SourceOf(bucket[slot].control, bucket[slot].gradient, error_scale, options_.measure_error);
        },
        options_.pool, result);
  }

  // direction <- mean over the ranks that take part of what they sent, tensor by tensor, ranks in order; 0 if none
  // does.
  absl::Status Decode(Communicator& comm, std::span<GradientSlot> bucket, const StepContext& step) {
    for (int rank = 0; rank < comm.size(); ++rank) {
      if (!participation_.present(rank)) continue;
      const std::span<const std::byte> message =
          rank == comm.rank() ? outbox_.message(0)
                              : std::span<const std::byte>(inbox_[rank]).first(headers_.body_bytes(rank));
      LACONIC_RETURN_IF_ERROR(OpenFrames(message, bucket, parts_, step.step, rank,
                                         std::span(bodies_).subspan(rank * bucket.size(), bucket.size())));
    }
    own_bodies_ = std::span(bodies_).subspan(comm.rank() * bucket.size(), bucket.size());
    const float share = 1.0f / static_cast<float>(std::max(1, participation_.count()));
    const auto elements = [&](size_t slot) { return bucket[slot].gradient.size(); };
    ForEachTensor(options_.pool, bucket.size(), elements, [&](size_t slot) {
      GradientSlot& tensor = bucket[slot];
      std::fill(tensor.direction.begin(), tensor.direction.end(), 0.0f);
      statuses_[slot] = absl::OkStatus();
      for (int rank = 0; rank < comm.size() && statuses_[slot].ok(); ++rank) {
        if (!participation_.present(rank)) continue;
        statuses_[slot] = NamePeer(
            tensor.codec->DecodeAdd(bodies_[rank * bucket.size() + slot], tensor.shape, share, tensor.direction),
            tensor.name, rank);
      }
    });
    for (const absl::Status& status : statuses_) LACONIC_RETURN_IF_ERROR(status);
    return absl::OkStatus();
  }

  const StrategyOptions options_;
  const uint64_t fingerprint_;
  const std::vector<FramePart> parts_;
  FrameOutbox outbox_;
  std::vector<std::vector<std::byte>> inbox_;
  Participation participation_;
  const int own_;  // this rank
  HeaderExchange headers_;
  std::vector<uint64_t> body_bytes_;
  std::vector<std::span<const std::byte>> bodies_;  // [rank][slot], into inbox_ and outbox_
  std::span<const std::span<const std::byte>> own_bodies_;
  std::vector<absl::Status> statuses_;
  std::vector<float> sent_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AllreduceStrategy>> MakeGatherStrategy(const Pipeline& pipeline, Communicator& comm,
                                                                      std::span<GradientSlot> bucket,
                                                                      const StrategyOptions& options) {
  LACONIC_RETURN_IF_ERROR(SizeControls(pipeline, bucket, [](const GradientSlot& slot) { return slot.shape; }));
  return std::make_unique<GatherStrategy>(comm, bucket, options);
}

}  // namespace laconic
