// base/status.h for tests: ends the test, with the status, where an expression is not OK.
#pragma once

#include <gtest/gtest.h>

#include <utility>

#include "laconic/base/status.h"
#include "tests/base/matchers.h"

#define LACONIC_ASSERT_OK(expression) ASSERT_THAT(expression, ::laconic::IsOk())

// lhs = the value of `expression` (absl::StatusOr<T>); may declare a variable.
#define LACONIC_ASSERT_OK_AND_ASSIGN(lhs, expression) \
  LACONIC_ASSERT_OK_AND_ASSIGN_(LACONIC_CONCAT_(laconic_statusor_, __LINE__), lhs, expression)
#define LACONIC_ASSERT_OK_AND_ASSIGN_(statusor, lhs, expression) \
  auto statusor = (expression);                                  \
  ASSERT_THAT(statusor, ::laconic::IsOk());                      \
  lhs = *std::move(statusor)
