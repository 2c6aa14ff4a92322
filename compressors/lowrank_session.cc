#include "compressors/lowrank_session.h"

#include <algorithm>
#include <cassert>

#include "compressors/checks.h"
#include "compressors/kernels/kernels.h"
#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic::internal {

LowRankSession::LowRankSession(size_t rows, size_t cols, size_t rank, const RngKey& init)
    : shape_{.rows = rows, .cols = cols, .rank = rank},
      warm_q_(rank * cols),
      p_(rank * rows),
      local_q_(rank * cols),
      mean_q_(rank * cols),
      step_rng_(init.Shared()) {
  FillNearlyNormal(CounterRng(init.Shared()), 0, warm_q_);
}

void LowRankSession::Begin(const RngKey& step_key, std::span<float> residual) {
  assert(residual.empty() || residual.size() == shape_.elements());
  residual_ = residual;
  step_rng_ = CounterRng(step_key.Shared());
  stage_ = Stage::kProduce0;
}

absl::Status LowRankSession::Produce(int round, const Message& message, std::span<float> out) {
  assert(message.size() == shape_.elements() && out.size() == RoundFloats(round));
  assert(message.plain() || !residual_.empty());
  const std::span<const float> x = residual_.empty() ? message.gradient : std::span<const float>(residual_);
  if (round == 0) {
    LACONIC_RETURN_IF_ERROR(Expect(Stage::kProduce0));
    MultiplyByFactor(shape_, message, warm_q_, residual_, out);  // Algorithm 1, line 3
    LACONIC_RETURN_IF_ERROR(CheckLowRankProduct(x, out));
    stage_ = Stage::kConsume0;
    return absl::OkStatus();
  }
  LACONIC_RETURN_IF_ERROR(Expect(Stage::kProduce1));
  MultiplyTransposeByFactor(shape_, x, p_, local_q_);  // line 6
  LACONIC_RETURN_IF_ERROR(CheckLowRankProduct(x, local_q_));
  std::copy(local_q_.begin(), local_q_.end(), out.begin());
  stage_ = Stage::kConsume1;
  return absl::OkStatus();
}

absl::Status LowRankSession::Consume(int round, std::span<const float> mean) {
  assert(mean.size() == RoundFloats(round));
  LACONIC_RETURN_IF_ERROR(Expect(round == 0 ? Stage::kConsume0 : Stage::kConsume1));
  if (const size_t bad = kernels::FirstNonFinite(mean); bad < mean.size()) {
    return absl::DataLossError(fmt::format("lowrank round {}: element {} of the mean is {}", round, bad, mean[bad]));
  }
  if (round == 0) {
    std::copy(mean.begin(), mean.end(), p_.begin());
    Orthonormalize(p_, shape_.rows, step_rng_, 0);  // line 5
    stage_ = Stage::kProduce1;
  } else {
    std::copy(mean.begin(), mean.end(), mean_q_.begin());
    stage_ = Stage::kDone;
  }
  return absl::OkStatus();
}

void LowRankSession::Commit() {
  assert(stage_ == Stage::kDone);
  stage_ = Stage::kIdle;
  const auto is_zero = [](float value) { return value == 0; };
  if (std::all_of(mean_q_.begin(), mean_q_.end(), is_zero)) return;
  std::copy(mean_q_.begin(), mean_q_.end(), warm_q_.begin());
  for (size_t start = 0; start < warm_q_.size(); start += shape_.cols) {
    const std::span<float> column = std::span(warm_q_).subspan(start, shape_.cols);
    // Blocks up to rows * rank of the step's numbers belong to Orthonormalize.
    if (std::all_of(column.begin(), column.end(), is_zero)) FillNearlyNormal(step_rng_, p_.size() + start, column);
  }
  ScaleColumns(warm_q_, shape_.cols);
}

void LowRankSession::Save(StateWriter& out) const {
  out.Floats("warm_start", warm_q_, Shape({shape_.rank, shape_.cols}));
}

absl::Status LowRankSession::Load(const StateReader& in) {
  LACONIC_ASSIGN_OR_RETURN(const std::span<const float> saved, in.Floats("warm_start"));
  if (saved.size() != warm_q_.size()) return in.Floats("warm_start", warm_q_);  // the error that names both
  return TakeOver(in);
}

absl::Status LowRankSession::TakeOver(const StateReader& in) {
  LACONIC_ASSIGN_OR_RETURN(const std::span<const float> saved, in.Floats("warm_start"));
  if (saved.size() % std::max<size_t>(shape_.cols, 1) != 0) {
    return absl::DataLossError(
        fmt::format("{}warm_start: {} elements are no columns of {}", in.prefix(), saved.size(), shape_.cols));
  }
  if (const size_t bad = kernels::FirstNonFinite(saved); bad < saved.size()) {
    return absl::DataLossError(fmt::format("{}warm_start: element {} is {}", in.prefix(), bad, saved[bad]));
  }
  std::copy_n(saved.begin(), std::min(saved.size(), warm_q_.size()), warm_q_.begin());
  stage_ = Stage::kIdle;
  return absl::OkStatus();
}

absl::Status LowRankSession::Expect(Stage stage) const {
  if (stage_ == stage) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format("lowrank session: call {} of a step where call {} was due",
                                                   static_cast<int>(stage), static_cast<int>(stage_)));
}

void LowRankSession::Reconstruct(std::span<float> mean) {
  if (residual_.empty()) return MeanReconstruction(mean);
  AddProductAndProduct(shape_, p_, local_q_, -1.0f, mean_q_, residual_, mean);
}

absl::Status CheckLowRankProduct(std::span<const float> x, std::span<const float> product) {
  if (kernels::FirstNonFinite(product) == product.size()) return absl::OkStatus();
  LACONIC_RETURN_IF_ERROR(CheckFinite("lowrank", x));
  return LowRankOverflow();
}

absl::Status LowRankOverflow() {
  return absl::InvalidArgumentError("lowrank: the values are so large that a product with its factors overflows");
}

}  // namespace laconic::internal
