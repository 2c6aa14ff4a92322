// Strategy dense: the float32 mean, uncompressed. The baseline, and what small tensors and warm-up steps use.
#include <algorithm>

#include "comm/collectives/strategies.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/dense.h"

namespace laconic {
namespace {

class DenseStrategy final : public AllreduceStrategy {
 public:
  DenseStrategy(Communicator& comm, std::span<const GradientSlot> bucket, const StrategyOptions& options)
      : options_(options),
        fingerprint_(BucketFingerprint(bucket, "dense", options.bucket)),
        no_bodies_(comm.size(), 0),
        headers_(comm.size()) {}

  std::string ToString() const override { return "dense"; }

  absl::Status Run(Communicator& comm, std::span<GradientSlot> bucket, const StepContext& step, float error_scale,
                   BucketResult& result) override {
    BucketHeader header{.fingerprint = fingerprint_, .step = step.step, .bucket = options_.bucket};
    {
      Stopwatch encode(result.encode_seconds);
      InspectGradients(bucket, options_.non_finite, header, result);
      for (GradientSlot& slot : bucket) std::copy(slot.gradient.begin(), slot.gradient.end(), slot.direction.begin());
    }
    comm.SetPhase({.name = "dense header", .step = step.step, .tensor = bucket.front().name});
    LACONIC_RETURN_IF_ERROR(headers_.Run(comm, header, no_bodies_, absl::OkStatus(), bucket));
    result.non_finite = headers_.non_finite();
    if (result.non_finite) return absl::OkStatus();

    comm.SetPhase({.name = "dense allreduce", .step = step.step, .tensor = bucket.front().name});
    return AllreduceMean(comm, BucketDirections(bucket));
  }

  void Commit(std::span<GradientSlot> bucket) override {}  // the mean is the direction and nothing lasts

 private:
  const StrategyOptions options_;
  const uint64_t fingerprint_;
  const std::vector<uint64_t> no_bodies_;
  HeaderExchange headers_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AllreduceStrategy>> MakeDenseStrategy(Communicator& comm, std::span<GradientSlot> bucket,
                                                                     const StrategyOptions& options) {
  return std::make_unique<DenseStrategy>(comm, bucket, options);
}

}  // namespace laconic
