// Strategy linear: the codec's message is rounds of floats that may be summed before decoding, so the wire carries
// plain allreduces.
//
//   wire: one Exchange of headers, then per round an allreduce of f floats: 2 (n-1)/n 4f bytes sent per rank, whatever
//   n is. The mean is exact in what was sent, and error control subtracts this rank's own reconstruction.
#include <algorithm>

#include "comm/collectives/strategies.h"
#include "compressors/kernels/kernels.h"
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/dense.h"

namespace laconic {
namespace {

class LinearStrategy final : public AllreduceStrategy {
 public:
  LinearStrategy(Communicator& comm, std::span<GradientSlot> bucket, const StrategyOptions& options)
      : options_(options),
        fingerprint_(BucketFingerprint(bucket, "linear", options.bucket)),
        no_bodies_(comm.size(), 0),
        headers_(comm.size()),
        statuses_(bucket.size()),
        offsets_(bucket.size() + 1),
        sources_(bucket.size()) {
    size_t sent_elements = 0;
    for (const GradientSlot& slot : bucket) {
      rounds_ = std::max(rounds_, slot.session->rounds());
      if (slot.control.options().needs_sent()) sent_elements = std::max(sent_elements, slot.gradient.size());
    }
    size_t round_floats = 0;
    for (int round = 0; round < rounds_; ++round) {
      size_t floats = 0;
      for (const GradientSlot& slot : bucket) floats += slot.session->RoundFloats(round);
      round_floats = std::max(round_floats, floats);
    }
    round_.resize(round_floats);
    sent_.resize(sent_elements);
  }

  std::string ToString() const override { return "linear"; }

  absl::Status Run(Communicator& comm, std::span<GradientSlot> bucket, const StepContext& step, float error_scale,
                   BucketResult& result) override {
    BucketHeader header{.fingerprint = fingerprint_, .step = step.step, .bucket = options_.bucket};
    {
      Stopwatch encode(result.encode_seconds);
      InspectGradients(bucket, options_.non_finite, header, result);
      if (header.bad_tensor == BucketHeader::kNoTensor) Prepare(bucket, step, error_scale);
    }
    comm.SetPhase({.name = "linear header", .step = step.step, .tensor = bucket.front().name});
    LACONIC_RETURN_IF_ERROR(headers_.Run(comm, header, no_bodies_, absl::OkStatus(), bucket));
    result.non_finite = headers_.non_finite();
    if (result.non_finite) return absl::OkStatus();

    for (int round = 0; round < rounds_; ++round) {
      for (size_t slot = 0; slot < bucket.size(); ++slot) {
        offsets_[slot + 1] = offsets_[slot] + bucket[slot].session->RoundFloats(round);
      }
      {
        Stopwatch encode(result.encode_seconds);
        LACONIC_RETURN_IF_ERROR(ForEachSlot(bucket, [&](size_t slot) {
          return bucket[slot].session->Produce(round, sources_[slot].message, RoundOf(slot));
        }));
      }
      comm.SetPhase({.name = "linear round", .step = step.step, .tensor = bucket.front().name});
      LACONIC_RETURN_IF_ERROR(AllreduceMean(comm, std::span(round_).first(offsets_.back())));
      Stopwatch decode(result.decode_seconds);
      LACONIC_RETURN_IF_ERROR(
          ForEachSlot(bucket, [&](size_t slot) { return bucket[slot].session->Consume(round, RoundOf(slot)); }));
    }
    Stopwatch decode(result.decode_seconds);
    const ParallelScope scope(options_.pool);
    for (size_t slot = 0; slot < bucket.size(); ++slot) {
      const std::span<const float> residual = sources_[slot].residual;
      if (options_.measure_error) result.message_norm2 += kernels::SumSquares(residual);  // the message as yet
      bucket[slot].session->Reconstruct(bucket[slot].direction);
      if (options_.measure_error) result.residual_norm2 += kernels::SumSquares(residual);
    }
    return absl::OkStatus();
  }

  void Commit(std::span<GradientSlot> bucket) override {
    for (GradientSlot& slot : bucket) {
      std::span<float> sent;
      if (slot.control.options().needs_sent()) {
        sent = std::span(sent_).first(slot.gradient.size());
        slot.session->LocalReconstruction(sent);
      }
      slot.session->Commit();
      slot.control.Commit(slot.gradient, sent);
      slot.control.Direction(slot.direction);
    }
  }

 private:
  std::span<float> RoundOf(size_t slot) {
    return std::span(round_).subspan(offsets_[slot], offsets_[slot + 1] - offsets_[slot]);
  }

  absl::Status ForEachSlot(std::span<GradientSlot> bucket, absl::FunctionRef<absl::Status(size_t)> body) {
    ForEachTensor(
        options_.pool, bucket.size(), [&](size_t slot) { return bucket[slot].gradient.size(); },
        [&](size_t slot) { statuses_[slot] = body(slot); });
    for (size_t slot = 0; slot < bucket.size(); ++slot) {
      if (!statuses_[slot].ok()) return Annotate(statuses_[slot], "tensor " + bucket[slot].name);
    }
    return absl::OkStatus();
  }

  void Prepare(std::span<GradientSlot> bucket, const StepContext& step, float error_scale) {
    ForEach(options_.pool, bucket.size(), [&](size_t slot) {
      sources_[slot] = SourceOf(bucket[slot].control, bucket[slot].gradient, error_scale, options_.measure_error);
      const RngKey key{.seed = options_.seed, .step = step.step, .tensor = Index(bucket[slot].id)};
      bucket[slot].session->Begin(key.Shared(), sources_[slot].residual);
    });
  }

  const StrategyOptions options_;
  const uint64_t fingerprint_;
  const std::vector<uint64_t> no_bodies_;
  HeaderExchange headers_;
  std::vector<absl::Status> statuses_;
  std::vector<size_t> offsets_;               // of each slot in round_
  std::vector<FrameOutbox::Source> sources_;  // [slot], of the step
  int rounds_ = 0;
  std::vector<float> round_, sent_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AllreduceStrategy>> MakeLinearStrategy(const Pipeline& pipeline, Communicator& comm,
                                                                      std::span<GradientSlot> bucket,
                                                                      const StrategyOptions& options) {
  LACONIC_RETURN_IF_ERROR(SizeControls(pipeline, bucket, [](const GradientSlot& slot) { return slot.shape; }));
  LACONIC_RETURN_IF_ERROR(CheckAllTakePart("linear", bucket));
  for (GradientSlot& slot : bucket) {
    const RngKey key{.seed = options.seed, .tensor = Index(slot.id)};
    slot.session = slot.codec->NewLinearSession(slot.shape, key.Shared());
    if (slot.session == nullptr) {
      return absl::InvalidArgumentError(
          fmt::format("{} is not linear: its payloads cannot be summed before decoding; use gather or scatter",
                      slot.codec->ToString()));
    }
  }
  return std::make_unique<LinearStrategy>(comm, bucket, options);
}

}  // namespace laconic
