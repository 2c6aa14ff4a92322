// Error plumbing over absl::Status: the two macros every fallible function uses, and context for errors on their way
// up.
#pragma once

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace laconic {

// Returns `status` with "<context>: " in front of its message; an OK status passes through unchanged.
absl::Status Annotate(const absl::Status& status, std::string_view context);

}  // namespace laconic

// Returns from the enclosing function if `expression` (absl::Status) is not OK.
#define LACONIC_RETURN_IF_ERROR(expression)                                   \
  do {                                                                        \
    if (absl::Status laconic_status_ = (expression); !laconic_status_.ok()) { \
      return laconic_status_;                                                 \
    }                                                                         \
  } while (false)

// Evaluates `expression` (absl::StatusOr<T>); returns its error, or moves its value into `lhs` (may declare a
// variable).
#define LACONIC_ASSIGN_OR_RETURN(lhs, expression) \
  LACONIC_ASSIGN_OR_RETURN_(LACONIC_CONCAT_(laconic_statusor_, __LINE__), lhs, expression)
#define LACONIC_ASSIGN_OR_RETURN_(statusor, lhs, expression) \
  auto statusor = (expression);                              \
  if (!statusor.ok()) return std::move(statusor).status();   \
  lhs = *std::move(statusor)
#define LACONIC_CONCAT_(a, b) LACONIC_CONCAT_INNER_(a, b)
#define LACONIC_CONCAT_INNER_(a, b) a##b
