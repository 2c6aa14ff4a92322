// One process at a time.
#pragma once

#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace laconic {

// Holds a file of its own, made if it is not there, until it is gone or the process dies, however it dies.
class FileLock {
 public:
  // FailedPrecondition if somebody holds it, also in this process; PermissionDenied, with path and the system's words,
  // if the file cannot be opened.
  static absl::StatusOr<FileLock> Take(const std::string& path);
  FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileLock& operator=(FileLock&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~FileLock();

 private:
  explicit FileLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace laconic
