#include "laconic/comm/server/limits.h"

#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>

#include "laconic/base/status.h"

namespace laconic {

absl::Status ServerLimits::Validate() const {
  const auto positive = [](const char* name, absl::Duration value) {
    return value > absl::ZeroDuration() ? absl::OkStatus()
                                        : absl::InvalidArgumentError(fmt::format("limit {} is {}: expected more than 0",
                                                                                 name, absl::FormatDuration(value)));
  };
  LACONIC_RETURN_IF_ERROR(positive("handshake_timeout", handshake_timeout));
  LACONIC_RETURN_IF_ERROR(positive("keepalive_time", keepalive_time));
  LACONIC_RETURN_IF_ERROR(positive("keepalive_timeout", keepalive_timeout));
  LACONIC_RETURN_IF_ERROR(positive("idle_timeout", idle_timeout));
  LACONIC_RETURN_IF_ERROR(positive("long_poll", long_poll));
  LACONIC_RETURN_IF_ERROR(positive("progress_grace", progress_grace));
  LACONIC_RETURN_IF_ERROR(positive("probe_interval", probe_interval));
  LACONIC_RETURN_IF_ERROR(positive("probe_timeout", probe_timeout));
  if (max_calls_per_client == 0) return absl::InvalidArgumentError("limit max_calls_per_client is 0");
  if (min_bytes_per_second == 0) return absl::InvalidArgumentError("limit min_bytes_per_second is 0");
  return absl::OkStatus();
}

absl::StatusOr<size_t> ConnectionBudget(const ServerLimits& limits) {
  rlimit descriptors = {};
  if (getrlimit(RLIMIT_NOFILE, &descriptors) != 0) return absl::InternalError("the limit of descriptors is unknown");
  if (descriptors.rlim_cur <= limits.reserved_descriptors) {
    return absl::ResourceExhaustedError(
        fmt::format("no connection fits: the limit of descriptors is {} (ulimit -n), of which {} are reserved",
                    descriptors.rlim_cur, limits.reserved_descriptors));
  }
  constexpr size_t kMost = size_t{1} << 20;  // "unlimited" is no number of connections
  const size_t budget = std::min<size_t>(descriptors.rlim_cur - limits.reserved_descriptors, kMost);
  return limits.max_connections == 0 ? budget : std::min(budget, limits.max_connections);
}

}  // namespace laconic
