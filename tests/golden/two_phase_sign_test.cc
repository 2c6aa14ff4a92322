// The two-phase 1-bit allreduce of 1-bit Adam (Tang et al. 2021, arXiv 2102.02888): ranks send signs and one scale,
// owners of D/n elements send signs and one scale of the sum, both with error feedback. Input M_i[j] = sin(0.37
// (j+1)(i+1)) + 0.3 cos(0.01 j), the same every round; n = 4, d = 1000 padded to D = 1024. What is owed is kept, so it
// telescopes:
//   sum_t out_t = T mean_i M_i - mean_i (worker error) - (owner error).
#include <array>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/golden/codecs.h"
#include "tests/golden/reference.h"

namespace laconic::golden {
namespace {

constexpr size_t kRanks = 4, kElements = 1000, kPadded = 1024, kShard = kPadded / kRanks;

// sign(0) = +1, times mean|x| (L1: the least squares scale) or the root mean square.
Codec<double> Sign(bool l1) {
  return [l1](size_t, uint64_t, std::span<double> m, std::span<double> sent) {
    double sum = 0;
    for (const double value : m) sum += l1 ? std::abs(value) : value * value;
    const double mean = sum / static_cast<double>(m.size());
    const double scale = l1 ? mean : std::sqrt(mean);
    for (size_t i = 0; i < m.size(); ++i) {
      sent[i] = m[i] >= 0 ? scale : -scale;
      m[i] -= sent[i];
    }
  };
}

template <typename T>
class SignAllreduce {
 public:
  SignAllreduce(Codec<T> worker_codec, Codec<T> owner_codec)
      : worker_codec_(std::move(worker_codec)),
        owner_codec_(std::move(owner_codec)),
        workers_(kRanks, BasicErrorControl<T>(kEf, kPadded)),
        owners_(kRanks, BasicErrorControl<T>(OwnerControl(kEf, Traits{.delta = 1.0 / kShard, .omega = {}}), kShard)) {
    for (size_t rank = 0; rank < kRanks; ++rank) {
      std::vector<T>& input = inputs_.emplace_back(kPadded, T(0));
      for (size_t j = 0; j < kElements; ++j) {
        const double row = static_cast<double>(j);
        input[j] =
            static_cast<T>(std::sin(0.37 * (row + 1) * static_cast<double>(rank + 1)) + 0.3 * std::cos(0.01 * row));
        mean_input_[j] += static_cast<double>(input[j]) / kRanks;
      }
    }
  }

  // One round; its output is added to the running sum.
  void Round(uint64_t step) {
    std::vector<T> mean(kPadded, T(0)), sent(kPadded);
    for (size_t rank = 0; rank < kRanks; ++rank) {
      FormMessage(workers_[rank], std::span<const T>(inputs_[rank]));
      worker_codec_(rank, step, workers_[rank].residual(), sent);
      workers_[rank].Commit(inputs_[rank], {});
      for (size_t j = 0; j < kPadded; ++j) mean[j] += sent[j] / T(kRanks);
    }
    for (size_t owner = 0; owner < kRanks; ++owner) {
      const std::span<const T> shard = std::span<const T>(mean).subspan(owner * kShard, kShard);
      const std::span<T> out = std::span<T>(sent).subspan(owner * kShard, kShard);
      FormMessage(owners_[owner], shard);
      owner_codec_(owner, step, owners_[owner].residual(), out);
      owners_[owner].Commit(shard, {});
    }
    for (size_t j = 0; j < kElements; ++j) sum_[j] += static_cast<double>(sent[j]);
    ++rounds_;
  }

  // |(1/T) sum out - mean M| / |mean M|.
  double RelativeError() const {
    double difference = 0, norm = 0;
    for (size_t j = 0; j < kElements; ++j) {
      difference += std::pow(sum_[j] / rounds_ - mean_input_[j], 2);
      norm += std::pow(mean_input_[j], 2);
    }
    return std::sqrt(difference / norm);
  }
  // The largest violation of the telescoping identity over elements.
  double IdentityResidual() const {
    double largest = 0;
    for (size_t j = 0; j < kElements; ++j) {
      double owed = owners_[j / kShard].error()[j % kShard];
      for (const BasicErrorControl<T>& worker : workers_) owed += static_cast<double>(worker.error()[j]) / kRanks;
      largest = std::max(largest, std::abs(sum_[j] - rounds_ * mean_input_[j] + owed));
    }
    return largest;
  }

 private:
  Codec<T> worker_codec_, owner_codec_;
  std::vector<BasicErrorControl<T>> workers_, owners_;
  std::vector<std::vector<T>> inputs_;
  std::array<double, kElements> mean_input_{}, sum_{};
  int rounds_ = 0;
};

// The numbers were printed with four or three digits.
TEST(TwoPhaseSign, L1Scale_RunningMeanConvergesAsStated) {
  SignAllreduce<double> allreduce(Sign(true), Sign(true));
  for (uint64_t t = 0; t < 1000; ++t) {
    allreduce.Round(t);
    if (t == 0) {
      EXPECT_NEAR(allreduce.RelativeError(), 0.79510, 5e-6);
    }
    if (t == 99) {
      EXPECT_NEAR(allreduce.RelativeError(), 0.05193, 5e-6);
    }
    EXPECT_LT(allreduce.IdentityResidual(), 1e-10);
  }
  EXPECT_NEAR(allreduce.RelativeError(), 0.00776, 5e-6);
}

TEST(TwoPhaseSign, RmsScale_IsWorseInOneShotAndBetterInTheLoop) {
  SignAllreduce<double> allreduce(Sign(false), Sign(false));
  for (uint64_t t = 0; t < 1000; ++t) {
    allreduce.Round(t);
    if (t == 0) {
      EXPECT_NEAR(allreduce.RelativeError(), 0.88408, 5e-6);
    }
    if (t == 99) {
      EXPECT_NEAR(allreduce.RelativeError(), 0.02117, 5e-6);
    }
  }
  EXPECT_LT(allreduce.IdentityResidual(), 1e-10);
  EXPECT_NEAR(allreduce.RelativeError(), 0.00216, 5e-6);
}

// The library's 1-bit codec is the L1 scale. In float the identity holds to the roundings of errors below 16: at most
// four of 16 * 2^-24 in each of 1000 rounds.
TEST(TwoPhaseSign, RealSignInFloat_TelescopesTheSame) {
  SignAllreduce<float> allreduce(Encoded("sign(block=0, zeros=plus)", kPadded),
                                 Encoded("sign(block=0, zeros=plus)", kShard));
  for (uint64_t t = 0; t < 1000; ++t) allreduce.Round(t);
  EXPECT_LT(allreduce.IdentityResidual(), 1000 * 4 * 16 * 0x1p-24);
  EXPECT_NEAR(allreduce.RelativeError(), 0.00776, 0.05 * 0.00776);
}

}  // namespace
}  // namespace laconic::golden
