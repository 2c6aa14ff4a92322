#include "compressors/message_runs.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <mutex>

#include "laconic/base/parallel.h"

namespace laconic::internal {

kernels::Sink MessageRuns::sink(size_t begin, size_t count) const {
  kernels::Sink sink;
  if (!residual_.empty())
    sink = {.out = residual_.subspan(first_ + begin, count), .past_cache = past_cache_, .ahead = {}};
  if (begin + count < count_) return sink;
  const size_t next = first_ + count_;
  sink.ahead.elements = std::min({count, kUsual, message_.size() - next});
  if (sink.ahead.elements == 0) return sink;
  sink.ahead.shift = std::bit_width(count / sink.ahead.elements) - 1;
  for (const std::span<const float> part : {message_.gradient, message_.momentum, message_.shift, message_.error}) {
    if (!part.empty()) sink.ahead.streams[sink.ahead.count++] = part.data() + next;
  }
  return sink;
}

float LargestMagnitude(const Message& message) {
  std::mutex mutex;
  float total = 0;
  ParallelFor(message.size(), kGrain, [&](size_t begin, size_t end) {
    MessageRuns runs(message, {});
    float largest = 0;
    for (size_t first = begin; first < end; first += MessageRuns::kUsual) {
      float run = 0;
      runs.Form(first, std::min(MessageRuns::kUsual, end - first), run);
      largest = LargerMagnitude(largest, run);
      if (!std::isfinite(largest)) break;
    }
    std::lock_guard lock(mutex);
    total = LargerMagnitude(total, largest);
  });
  return total;
}

absl::Status CheckFinite(std::string_view codec, const Message& message) {
  MessageRuns runs(message, {});
  for (size_t first = 0; first < message.size(); first += MessageRuns::kUsual) {
    const std::span<const float> run = runs.Form(first, std::min(MessageRuns::kUsual, message.size() - first));
    if (const size_t bad = kernels::FirstNonFinite(run); bad < run.size()) {
      return absl::InvalidArgumentError(
          fmt::format("{}: element {} of {} is {}", codec, first + bad, message.size(), run[bad]));
    }
  }
  return absl::OkStatus();
}

}  // namespace laconic::internal
