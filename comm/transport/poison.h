// The first error of one end of a transport, kept for good.
#pragma once

#include <mutex>

#include "absl/status/status.h"

namespace laconic::internal {

// Thread-safe.
class Poison {
 public:
  absl::Status status() const {
    std::lock_guard lock(mutex_);
    return status_;
  }
  // Keeps the first error ever given and returns it.
  absl::Status Set(const absl::Status& error) {
    std::lock_guard lock(mutex_);
    if (status_.ok()) status_ = error.ok() ? absl::AbortedError("no reason given") : error;
    return status_;
  }

 private:
  mutable std::mutex mutex_;
  absl::Status status_;  // guarded by mutex_
};

}  // namespace laconic::internal
