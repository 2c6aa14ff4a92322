// Status of gRPC and of Abseil: the same codes, the same meanings.
#pragma once

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"

namespace laconic::internal {

// Longer texts do not fit into the trailers.
inline constexpr size_t kMaxStatusTextBytes = 2048;

inline grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      std::string(status.message().substr(0, kMaxStatusTextBytes)));
}

inline absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// In the trailing metadata of RESOURCE_EXHAUSTED: when to come again.
inline constexpr char kRetryAfterKey[] = "retry-after-ms";

}  // namespace laconic::internal
