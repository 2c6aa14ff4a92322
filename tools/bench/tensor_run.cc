#include "tools/bench/tensor_run.h"

#include "laconic/base/status.h"
#include "tools/sample_data.h"

namespace laconic::tools {

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

TensorRun::TensorRun(Communicator& comm, uint64_t count) : comm_(comm), gradient_(count), direction_(count) {
  slots_.push_back({.name = "tensor", .shape = NearSquare(count), .gradient = gradient_, .direction = direction_});
}

absl::Status TensorRun::Make(const Pipeline& pipeline, uint64_t seed, const std::optional<LinkModel>& link) {
  StrategyOptions options{.seed = seed};
  if (link && link->bits_per_second > 0) {
    options.link.bits_per_second = link->bits_per_second;
    options.link.round_trip_seconds = absl::ToDoubleSeconds(link->round_trip);
    options.link_known = true;
  }
  slots_.front().codec = pipeline.codec;
  LACONIC_ASSIGN_OR_RETURN(strategy_, MakeStrategy(pipeline, comm_, slots_, options));
  return absl::OkStatus();
}

uint64_t TensorRun::bytes_sent() const {
  Traffic total = comm_.traffic();
  strategy_->AddTraffic(total);
  return total.bytes_sent;
}

absl::Status TensorRun::Step(const std::function<absl::Status()>& between, Spent* spent) {
  BucketResult result;
  const absl::Duration waited = comm_.traffic().waiting;
  const auto begin = std::chrono::steady_clock::now();
  LACONIC_RETURN_IF_ERROR(strategy_->Run(comm_, slots_, {.step = step_++}, 1.0f, result));
  if (between) LACONIC_RETURN_IF_ERROR(between());
  strategy_->Commit(slots_);
  if (spent != nullptr) {
    *spent = {.seconds = SecondsSince(begin),
              .encode = result.encode_seconds,
              .exchange = absl::ToDoubleSeconds(comm_.traffic().waiting - waited),
              .decode = result.decode_seconds};
  }
  return absl::OkStatus();
}

}  // namespace laconic::tools
