// Text over HTTP/1.0, for Prometheus and for supervisors.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "comm/server/grpc/listener.h"

namespace laconic::internal {

// Answers GET /metrics with metrics() and GET /healthz with 200 or, if it names a problem, 503. One request a
// connection, one connection at a time, each within a second: enough for a scraper on the same machine, which is all
// that is let in. PermissionDenied for an address that is not loopback; Unavailable if it cannot be bound.
absl::StatusOr<std::unique_ptr<Listener>> ServeMetrics(const std::string& address, std::function<std::string()> metrics,
                                                       std::function<std::string()> problem);

}  // namespace laconic::internal
