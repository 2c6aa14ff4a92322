// Error codes of MPI calls as Status.
#pragma once

#include <fmt/core.h>

#include <string>

#include "absl/status/status.h"
#include "comm/transport/mpi_c.h"

namespace laconic::internal {

inline std::string ErrorText(int code) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  return std::string(text, length);
}

// Internal "MPI_Isend: <text>" unless the code is MPI_SUCCESS.
inline absl::Status Checked(const char* call, int code) {
  if (code == MPI_SUCCESS) return absl::OkStatus();
  return absl::InternalError(fmt::format("{}: {}", call, ErrorText(code)));
}

}  // namespace laconic::internal
