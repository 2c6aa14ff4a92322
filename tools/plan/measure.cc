#include "tools/plan/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/dense.h"
#include "laconic/comm/collectives/primitives.h"
#include "tools/codec_speed.h"
#include "tools/sample_data.h"
#include "tools/statistics.h"

namespace laconic::tools {
namespace {

constexpr uint64_t kMostElements = 1 << 22;  // 16 MiB: beyond any cache together with its error and residual
constexpr size_t kLongestMessage = 32 << 20;
constexpr double kLongEnoughSeconds = 0.03;  // for a token bucket of some milliseconds not to count

// The first rows of a tensor, at most kMostElements of it.
Shape PartOf(const Shape& shape) {
  if (shape.elements() <= kMostElements) return shape;
  if (shape.cols() > kMostElements || shape.cols() == 1) return Shape::Flat(kMostElements);
  return Shape({kMostElements / shape.cols(), shape.cols()});
}

CodecFigures FiguresFrom(const Compressor& codec, const Shape& shape, const CodecSpeed& speed) {
  const double most = static_cast<double>(codec.MaxBodyBytes(shape));
  return {.encode_bytes_per_second = speed.BytesPerSecond(speed.encode_residual),
          .decode_bytes_per_second = speed.BytesPerSecond(speed.decode_add),
          .session_bytes_per_second = speed.BytesPerSecond(speed.session),
          .body_share = most > 0 ? static_cast<double>(speed.body_bytes) / most : 1,
          .relative_error = speed.relative_error};
}

// The median over repetitions of the seconds `body` takes on the slowest rank.
absl::StatusOr<double> SlowestSeconds(Communicator& comm, int repetitions, const std::function<absl::Status()>& body) {
  std::vector<double> seconds;
  for (int i = -1; i < repetitions; ++i) {
    LACONIC_RETURN_IF_ERROR(Barrier(comm));
    const auto begin = std::chrono::steady_clock::now();
    LACONIC_RETURN_IF_ERROR(body());
    if (i >= 0) seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  const double own = Median(seconds);
  std::vector<double> all(comm.size());
  LACONIC_RETURN_IF_ERROR(Allgather(comm, std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(all))));
  return *std::max_element(all.begin(), all.end());
}

// To the next rank while as much arrives from the one before.
absl::Status Shift(Communicator& comm, std::span<const std::byte> out, std::span<std::byte> in) {
  ExchangeBatch& batch = comm.NewBatch();
  batch.sends.push_back({.to = (comm.rank() + 1) % comm.size(), .bytes = out});
  batch.receives.push_back({.from = (comm.rank() + comm.size() - 1) % comm.size(), .bytes = in});
  return comm.Exchange(batch);
}

}  // namespace

absl::StatusOr<CodecFigures> CodecBench::Figures(const Compressor& codec, const Shape& shape) {
  const Shape part = PartOf(shape);
  const std::string key = fmt::format("{} {}", codec.ToString(), part.ToString());
  if (const auto found = known_.find(key); found != known_.end()) return found->second;

  std::vector<absl::StatusOr<CodecSpeed>> speeds(threads_, absl::UnknownError("not measured"));
  std::vector<std::thread> threads;
  for (int thread = 0; thread < threads_; ++thread) {
    threads.emplace_back([&, thread] {
      const std::vector<float> x = Gaussian(part.elements(), seed_, static_cast<uint32_t>(thread));
      speeds[thread] = MeasureCodec(codec, part, x, {.repetitions = 5, .seed = seed_});
    });
  }
  for (std::thread& thread : threads) thread.join();

  CodecFigures mean{.body_share = 0};
  for (const absl::StatusOr<CodecSpeed>& speed : speeds) {
    LACONIC_RETURN_IF_ERROR(speed.status());
    const CodecFigures figures = FiguresFrom(codec, part, *speed);
    const double share = 1.0 / threads_;
    mean.encode_bytes_per_second += share * figures.encode_bytes_per_second;
    mean.decode_bytes_per_second += share * figures.decode_bytes_per_second;
    mean.session_bytes_per_second += share * figures.session_bytes_per_second;
    mean.body_share += share * figures.body_share;
    mean.relative_error += share * figures.relative_error;
    if (part.elements() >= kMostElements / 4) copies_.push_back(speed->BytesPerSecond(speed->memcpy));
  }
  known_.emplace(key, mean);
  return mean;
}

absl::StatusOr<double> CodecBench::CopyBytesPerSecond() {
  if (copies_.empty()) {
    LACONIC_ASSIGN_OR_RETURN(const std::shared_ptr<const Compressor> identity,
                             CodecRegistry::BuiltIn().Create("identity"));
    LACONIC_RETURN_IF_ERROR(Figures(*identity, Shape::Flat(kMostElements)).status());
  }
  return Median(copies_);
}

absl::StatusOr<TransportFigures> MeasureTransport(Communicator& comm, bool bulk, size_t dense_bytes) {
  TransportFigures figures;
  if (comm.size() == 1) return figures;
  comm.SetPhase({.name = "measuring the link"});
  std::vector<std::byte> small(48 * comm.size());  // as a bucket's headers
  LACONIC_ASSIGN_OR_RETURN(figures.exchange_seconds, SlowestSeconds(comm, 50, [&] {
                             return Allgather(comm, std::span(small).first(48), small);
                           }));
  if (!bulk) return figures;

  std::vector<std::byte> out(1 << 20), in(1 << 20);
  for (;;) {
    LACONIC_ASSIGN_OR_RETURN(const double seconds, SlowestSeconds(comm, 5, [&] { return Shift(comm, out, in); }));
    figures.bytes_per_second = static_cast<double>(out.size()) / std::max(seconds, 1e-9);
    if (seconds >= kLongEnoughSeconds || out.size() >= kLongestMessage) break;
    out.resize(4 * out.size());
    in.resize(out.size());
  }
  std::vector<float> values(std::max<size_t>(1, std::min(dense_bytes, kLongestMessage) / sizeof(float)));
  LACONIC_ASSIGN_OR_RETURN(const double seconds, SlowestSeconds(comm, 7, [&] { return AllreduceMean(comm, values); }));
  figures.dense_bytes_per_second = static_cast<double>(4 * values.size()) / std::max(seconds, 1e-9);
  return figures;
}

}  // namespace laconic::tools
