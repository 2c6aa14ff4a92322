#include "optim/link_probe.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <vector>

#include "laconic/base/status.h"
#include "laconic/comm/collectives/primitives.h"

namespace laconic {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kLongBytes = size_t{1} << 18;
constexpr int kShortCalls = 9, kLongCalls = 5;

// Seconds of the median of `calls` exchanges around the ring of ranks: a link that has been idle may pass the first ones faster
// than it will the bytes of a step (token buckets do), and a busy machine delays some.
absl::StatusOr<double> RingSeconds(Communicator& comm, std::span<std::byte> out, std::span<std::byte> in, int calls) {
  const int next = (comm.rank() + 1) % comm.size(), before = (comm.rank() + comm.size() - 1) % comm.size();
  std::vector<double> seconds;
  for (int call = 0; call < calls; ++call) {
    LACONIC_RETURN_IF_ERROR(Barrier(comm));
    ExchangeBatch& batch = comm.NewBatch();
    batch.sends.push_back({.to = next, .bytes = out});
    batch.receives.push_back({.from = before, .bytes = in});
    const Clock::time_point begin = Clock::now();
    LACONIC_RETURN_IF_ERROR(comm.Exchange(batch));
    seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
  }
  const auto median = seconds.begin() + calls / 2;
  std::nth_element(seconds.begin(), median, seconds.end());
  return *median;
}

}  // namespace

absl::StatusOr<LinkFigures> ProbeLink(Communicator& comm) {
  if (comm.size() == 1) return LinkFigures{};
  std::vector<std::byte> out(kLongBytes), in(kLongBytes);
  LACONIC_ASSIGN_OR_RETURN(const double latency,
                           RingSeconds(comm, std::span(out).first(1), std::span(in).first(1), kShortCalls));
  LACONIC_ASSIGN_OR_RETURN(const double transfer, RingSeconds(comm, out, in, kLongCalls));
  const std::array<double, 2> own = {latency, transfer};
  std::vector<std::array<double, 2>> all(comm.size());
  LACONIC_RETURN_IF_ERROR(Allgather(comm, std::as_bytes(std::span(own)), std::as_writable_bytes(std::span(all))));
  std::array<double, 2> slowest = {0, 0};
  for (const std::array<double, 2>& rank : all) {
    for (size_t i = 0; i < slowest.size(); ++i) slowest[i] = std::max(slowest[i], rank[i]);
  }
  constexpr double kShortest = 1e-7;
  const double seconds = std::max(slowest[1] - slowest[0], kShortest);
  return LinkFigures{.bits_per_second = 8 * kLongBytes / seconds,
                     .round_trip_seconds = 2 * slowest[0],
                     .efficiency = 1};  // these were bytes of payload
}

}  // namespace laconic
