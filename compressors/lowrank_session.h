// The linear face of lowrank: PowerSGD as in Vogels, Karimireddy and Jaggi 2019, Algorithm 1.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "compressors/matrix.h"
#include "laconic/compressors/compressor.h"

namespace laconic::internal {

// For the message M_i of rank i and a Q that is the same on all ranks:
//   round 0   P_i = M_i Q        mean over ranks, then P <- orth(P)
//   round 1   Q_i = M_i^T P      mean over ranks: Q_mean
//   local P Q_i^T, mean P Q_mean^T; Commit makes Q_mean the next step's Q.
//
// The first Q is nearly normal, from the init key made Shared(). Three rules keep the rank alive where Algorithm 1
// would lose it: a column of P that depends on the others is replaced by a drawn direction (Orthonormalize), a zero
// column of Q_mean by a drawn column, both from the step key and so alike on all ranks; and if all of Q_mean is zero,
// as for a zero tensor, Q stays as it is.
//
// A step with a residual moves the tensor seven times in three passes: g and e are read and M is written (round 0), M
// is read (round 1), M is read and the residual and the mean reconstruction are written.
//
// Holds 3 rank cols + rank rows floats, all from construction on. One thread at a time.
class LowRankSession : public LinearSession {
 public:
  LowRankSession(size_t rows, size_t cols, size_t rank, const RngKey& init);

  int rounds() const override { return 2; }
  size_t RoundFloats(int round) const override { return round == 0 ? p_.size() : warm_q_.size(); }
  void Begin(const RngKey& step_key, std::span<float> residual) override;
  // InvalidArgument if the message holds a NaN or an infinity (names the first index) or a product overflows.
  // FailedPrecondition when rounds are called out of order, here and in Consume.
  absl::Status Produce(int round, const Message& message, std::span<float> out) override;
  absl::Status Consume(int round, std::span<const float> mean) override;
  void LocalReconstruction(std::span<float> y) const override { Product(shape_, p_, local_q_, y); }
  void MeanReconstruction(std::span<float> y) const override { Product(shape_, p_, mean_q_, y); }
  void Reconstruct(std::span<float> mean) override;
  void Commit() override;

  // Entry "warm_start": Q, rank x cols floats.
  void Save(StateWriter& out) const override;
  absl::Status Load(const StateReader& in) override;
  // From any rank: its columns as far as there are as many here, and the drawn ones beyond.
  absl::Status TakeOver(const StateReader& in) override;

 private:
  enum class Stage { kIdle, kProduce0, kConsume0, kProduce1, kConsume1, kDone };

  absl::Status Expect(Stage stage) const;

  kernels::MatrixShape shape_;
  std::vector<float> warm_q_;                // lasts from step to step
  std::vector<float> p_, local_q_, mean_q_;  // this step's
  std::span<float> residual_;                // this step's, the message until Reconstruct; or empty
  CounterRng step_rng_;
  Stage stage_ = Stage::kIdle;
};

// `product` is x's matrix times a finite factor. InvalidArgument that names the first non-finite element of x, or says
// that the product overflowed. Costs a pass over the product only: a NaN or infinity in x always leaves one there.
absl::Status CheckLowRankProduct(std::span<const float> x, std::span<const float> product);
absl::Status LowRankOverflow();

}  // namespace laconic::internal
