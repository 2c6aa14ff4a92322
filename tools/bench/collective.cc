#include "tools/bench/collective.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/dense.h"
#include "laconic/comm/collectives/primitives.h"
#include "tools/bench/correctness.h"
#include "tools/bench/tensor_run.h"
#include "tools/sample_data.h"
#include "tools/statistics.h"
#include "tools/text.h"

namespace laconic::tools {
namespace {

constexpr int kLeastRepetitions = 5;
constexpr uint64_t kRoundsBytes = 1 << 20;  // error after many rounds is measured on tensors up to this size

double RelativeDistance(std::span<const float> x, std::span<const float> reference) {
  double distance = 0, norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double difference = static_cast<double>(x[i]) - reference[i];
    distance += difference * difference;
    norm += static_cast<double>(reference[i]) * reference[i];
  }
  return norm > 0 ? std::sqrt(distance / norm) : 0;
}

// One rank's part of the whole run.
class Runner {
 public:
  Runner(const CollectiveOptions& options, std::unique_ptr<Communicator> comm, std::unique_ptr<Communicator> side,
         const CollectiveSink& sink)
      : options_(options),
        comm_(std::move(comm)),
        side_(std::move(side)),
        sink_(sink),
        gradients_(options.seed, comm_->size(), options.sizes_bytes.back() / sizeof(float)),
        rounds_errors_(options.contenders.size()) {}

  absl::Status Run() {
    const std::span<const float> own = gradients_.Of(comm_->rank());
    own_.assign(own.begin(), own.end());
    if (root()) SumUpMean();
    for (uint64_t size : options_.sizes_bytes) {
      LACONIC_RETURN_IF_ERROR(MeasureMemcpy(size));
      for (size_t contender = 0; contender < options_.contenders.size(); ++contender) {
        const std::string& spec = options_.contenders[contender].spec;
        if (root()) sink_.on_progress(fmt::format("{} at {}", spec, FormatBytes(size)));
        LACONIC_RETURN_IF_ERROR(Annotate(Measure(contender, size), fmt::format("{} at {}", spec, FormatBytes(size))));
      }
    }
    return absl::OkStatus();
  }

 private:
  bool root() const { return comm_->rank() == 0; }
  std::span<const float> Own(uint64_t count) const { return std::span(own_).first(count); }
  std::span<const float> Mean(uint64_t count) const { return std::span(mean_).first(count); }

  // The true mean gradient, rounded once, without a transport.
  void SumUpMean() {
    std::vector<double> sum(gradients_.count());
    for (int rank = 0; rank < comm_->size(); ++rank) {
      const std::span<const float> gradient = gradients_.Of(rank);
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += gradient[i];
    }
    mean_.resize(sum.size());
    for (size_t i = 0; i < sum.size(); ++i) mean_[i] = static_cast<float>(sum[i] / comm_->size());
  }

  // Every rank's `spent`, the slowest first, over the unpaced communicator.
  absl::StatusOr<Spent> Slowest(const Spent& spent) {
    std::vector<Spent> all(comm_->size());
    LACONIC_RETURN_IF_ERROR(
        Allgather(*side_, std::as_bytes(std::span(&spent, 1)), std::as_writable_bytes(std::span(all))));
    return *std::max_element(all.begin(), all.end(),
                             [](const Spent& a, const Spent& b) { return a.seconds < b.seconds; });
  }

  // Repeats `once` on all ranks alike: `most` times, or fewer (at least `least`) when they take longer than `seconds`.
  absl::Status Repeat(int most, int least, double seconds, const std::function<absl::Status(Spent&)>& once,
                      std::vector<Spent>& all) {
    double total = 0;
    for (int repetition = 0; repetition < most && (repetition < least || total < seconds); ++repetition) {
      LACONIC_RETURN_IF_ERROR(Barrier(*side_));
      Spent spent;
      LACONIC_RETURN_IF_ERROR(once(spent));
      LACONIC_ASSIGN_OR_RETURN(all.emplace_back(), Slowest(spent));
      total += all.back().seconds;
    }
    return absl::OkStatus();
  }

  absl::Status MeasureMemcpy(uint64_t size) {
    std::vector<std::byte> from(size), to(size);
    auto copy = [&](Spent& spent) {
      const auto begin = std::chrono::steady_clock::now();
      std::memcpy(to.data(), from.data(), size);
      spent.seconds = SecondsSince(begin);
      return absl::OkStatus();
    };
    std::vector<Spent> all, ignored;
    LACONIC_RETURN_IF_ERROR(Repeat(options_.warmup, 1, options_.row_seconds / 4, copy, ignored));
    LACONIC_RETURN_IF_ERROR(Repeat(options_.repetitions, kLeastRepetitions, options_.row_seconds, copy, all));
    MemcpyRow row{.size_bytes = size};
    for (const Spent& spent : all) row.seconds.push_back(spent.seconds);
    if (root()) sink_.on_memcpy(row);
    return absl::OkStatus();
  }

  absl::Status Measure(size_t contender, uint64_t size) {
    const Contender& asked = options_.contenders[contender];
    const uint64_t count = size / sizeof(float);
    if (const absl::Status fits = asked.pipeline.codec->Supports(NearSquare(count)); !fits.ok()) {
      if (root()) sink_.on_skipped({asked.spec, size, std::string(fits.message())});
      return absl::OkStatus();
    }
    CollectiveRow row{.spec = asked.spec, .baseline = asked.baseline, .size_bytes = size, .count = count};
    TensorRun run(*comm_, count);
    LACONIC_RETURN_IF_ERROR(run.Make(asked.pipeline, options_.seed, options_.link));
    row.runs_as = run.runs_as();
    LACONIC_RETURN_IF_ERROR(FirstStep(run, asked, row));
    LACONIC_RETURN_IF_ERROR(MeasureTime(run, row));
    if (asked.baseline) {  // uncompressed: every round is the first
      row.rounds_size_bytes = size;
      row.error_after_rounds = row.error_one_round;
    } else {
      LACONIC_RETURN_IF_ERROR(MeasureRounds(contender, row));
    }
    row.bus_factor = BusFactor(asked);
    if (root()) {
      CompareWithBaseline(row);
      sink_.on_row(row);
    }
    return absl::OkStatus();
  }

  // The step from zero state: its error, and whether its result is right.
  absl::Status FirstStep(TensorRun& run, const Contender& asked, CollectiveRow& row) {
    const int ranks = comm_->size();
    if (options_.check && asked.pipeline.dense()) {
      LACONIC_ASSIGN_OR_RETURN(row.wrong, CheckDense(run));
    }
    std::copy_n(own_.begin(), row.count, run.gradient().begin());
    std::vector<float> expected;
    double tolerance = 0;
    LACONIC_RETURN_IF_ERROR(run.Step([&]() -> absl::Status {
      if (!options_.check || run.slot().session == nullptr) return absl::OkStatus();
      // Linear: the mean of what every rank says it sent, summed outside of the strategy.
      expected.resize(row.count);
      run.slot().session->LocalReconstruction(expected);
      LACONIC_RETURN_IF_ERROR(AllreduceMean(*side_, expected));
      float largest = 0;
      for (float value : run.gradient()) largest = std::max(largest, std::abs(value));
      std::vector<float> all(ranks);
      LACONIC_RETURN_IF_ERROR(
          Allgather(*side_, std::as_bytes(std::span(&largest, 1)), std::as_writable_bytes(std::span(all))));
      tolerance = LinearTolerance(run.slot(), ranks, *std::max_element(all.begin(), all.end()));
      return absl::OkStatus();
    }));
    if (root()) row.error_one_round = RelativeDistance(run.direction(), Mean(row.count));
    if (!options_.check || asked.pipeline.dense()) return absl::OkStatus();
    if (root() && expected.empty()) {
      LACONIC_ASSIGN_OR_RETURN(std::optional<std::vector<float>> direction,
                               FirstDirection(run.slot(), run.runs_as(), ranks, options_.seed, gradients_));
      if (direction) expected = *std::move(direction);
    }
    LACONIC_ASSIGN_OR_RETURN(row.wrong, CountWrong(*side_, run.direction(), expected, tolerance));
    return absl::OkStatus();
  }

  // Small integers, whose sums are exact in any order: the mean must be right to the bit.
  absl::StatusOr<uint64_t> CheckDense(TensorRun& run) {
    const size_t count = run.gradient().size();
    const std::vector<float> own = SmallIntegers(count, options_.seed, comm_->rank());
    std::copy(own.begin(), own.end(), run.gradient().begin());
    LACONIC_RETURN_IF_ERROR(run.Step());
    std::vector<float> expected;
    if (root()) {
      expected = own;
      for (int rank = 1; rank < comm_->size(); ++rank) {
        const std::vector<float> other = SmallIntegers(count, options_.seed, rank);
        for (size_t i = 0; i < count; ++i) expected[i] += other[i];
      }
      for (float& value : expected) value *= 1.0f / static_cast<float>(comm_->size());
    }
    return CountWrong(*side_, run.direction(), expected, 0);
  }

  absl::Status MeasureTime(TensorRun& run, CollectiveRow& row) {
    auto step = [&](Spent& spent) { return run.Step(nullptr, &spent); };
    std::vector<Spent> all, ignored;
    LACONIC_RETURN_IF_ERROR(Repeat(options_.warmup, 1, options_.row_seconds / 4, step, ignored));
    const uint64_t sent_before = run.bytes_sent();
    LACONIC_RETURN_IF_ERROR(Repeat(options_.repetitions, kLeastRepetitions, options_.row_seconds, step, all));
    const uint64_t sent = run.bytes_sent() - sent_before;
    std::vector<uint64_t> by_rank(comm_->size());
    LACONIC_RETURN_IF_ERROR(
        Allgather(*side_, std::as_bytes(std::span(&sent, 1)), std::as_writable_bytes(std::span(by_rank))));
    row.wire_bytes =
        static_cast<double>(*std::max_element(by_rank.begin(), by_rank.end())) / static_cast<double>(all.size());
    std::vector<double> encode, exchange, decode;
    for (const Spent& spent : all) {
      row.seconds.push_back(spent.seconds);
      encode.push_back(spent.encode), exchange.push_back(spent.exchange), decode.push_back(spent.decode);
    }
    row.encode_seconds = Median(encode), row.exchange_seconds = Median(exchange), row.decode_seconds = Median(decode);
    return absl::OkStatus();
  }

  // |mean over rounds of the direction - true mean| / |true mean|, the gradient staying as it is: what compensation
  // repays. On the tensor itself or, beyond kRoundsBytes, once on its first kRoundsBytes.
  absl::Status MeasureRounds(size_t contender, CollectiveRow& row) {
    std::optional<RoundsError>& known = rounds_errors_[contender];
    const uint64_t size = std::min(row.size_bytes, kRoundsBytes);
    if (!known || known->size_bytes != size) {
      const uint64_t count = size / sizeof(float);
      TensorRun run(*side_, count);
      LACONIC_RETURN_IF_ERROR(run.Make(options_.contenders[contender].pipeline, options_.seed, options_.link));
      std::copy_n(own_.begin(), count, run.gradient().begin());
      std::vector<double> sum(count);
      for (int round = 0; round < options_.rounds; ++round) {
        LACONIC_RETURN_IF_ERROR(run.Step());
        for (size_t i = 0; i < count; ++i) sum[i] += run.direction()[i];
      }
      std::vector<float> average(count);
      for (size_t i = 0; i < count; ++i) average[i] = static_cast<float>(sum[i] / options_.rounds);
      known = RoundsError{.size_bytes = size, .error = root() ? RelativeDistance(average, Mean(count)) : 0};
    }
    row.rounds_size_bytes = known->size_bytes;
    row.error_after_rounds = known->error;
    return absl::OkStatus();
  }

  // Bus bandwidth as nccl-tests have it: what a link must carry for the result, whatever the algorithm.
  double BusFactor(const Contender& asked) const {
    const double n = comm_->size();
    switch (options_.pattern) {
      case Pattern::kAllreduce:
        return 2 * (n - 1) / n;
      case Pattern::kAllgather:
        return n - 1;
      case Pattern::kPs:
        return 2 * (n - 1) / (asked.pipeline.strategy.owners > 0 ? asked.pipeline.strategy.owners : n);
    }
    return 0;
  }

  // A step on a link of R bits/s takes c + 8 w / R, with w the wire bytes and c the time here less that of the emulated
  // link: where the two lines cross.
  void CompareWithBaseline(CollectiveRow& row) {
    const double rate = options_.link ? options_.link->bits_per_second : 0;
    const double compute = std::max(0.0, row.median_seconds() - (rate > 0 ? 8 * row.wire_bytes / rate : 0));
    if (row.baseline) baseline_wire_bytes_ = row.wire_bytes, baseline_compute_ = compute;
    row.ratio = row.wire_bytes > 0 ? baseline_wire_bytes_ / row.wire_bytes : 0;
    if (row.baseline || row.wire_bytes >= baseline_wire_bytes_) return;
    const double more = compute - baseline_compute_;
    row.break_even_bits_per_second =
        more > 0 ? std::min(kAnyLink, 8 * (baseline_wire_bytes_ - row.wire_bytes) / more) : kAnyLink;
  }

  struct RoundsError {
    uint64_t size_bytes = 0;
    double error = 0;
  };

  const CollectiveOptions& options_;
  std::unique_ptr<Communicator> comm_;  // what is measured
  std::unique_ptr<Communicator> side_;  // same ranks, never paced: agreement and checks
  const CollectiveSink& sink_;
  Gradients gradients_;
  std::vector<float> own_, mean_;  // the own gradient; on rank 0, the true mean
  std::vector<std::optional<RoundsError>> rounds_errors_;
  double baseline_wire_bytes_ = 0, baseline_compute_ = 0;  // at the size at hand
};

}  // namespace

double CollectiveRow::median_seconds() const { return Median(seconds); }

double CollectiveRow::p99_seconds() const { return Percentile(seconds, 0.99); }

absl::Status RunCollective(const CollectiveOptions& options, std::unique_ptr<Transport> transport,
                           const CollectiveSink& sink) {
  LACONIC_ASSIGN_OR_RETURN(std::unique_ptr<Transport> side, transport->Duplicate());
  if (options.link) transport = MakePacedTransport(std::move(transport), *options.link);
  const CommunicatorOptions communicator{.timeout = options.timeout};
  return Runner(options, std::make_unique<Communicator>(std::move(transport), communicator),
                std::make_unique<Communicator>(std::move(side), communicator), sink)
      .Run();
}

}  // namespace laconic::tools
